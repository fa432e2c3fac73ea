"""All 14 maps of an image: one forward pass of `cam` against 14 calls of the grad-cam package, on the same model, in one run.

Run: python benchmarks/cam.py [repeats]; writes benchmarks/cam.csv. Needs grad-cam (a development requirement).
"""
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from measure import seconds
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from chexnet_nb.cam.maps import class_activation_maps, upscale
from chexnet_nb.models.chexnet import new_model


def compare(architecture, size, repeats):
    "A row of the table: medians of interleaved repeats, and how far the maps are from equal after scaling."
    model = new_model(architecture=architecture, size=size, pretrained=False).eval()
    tail = torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), model.classifier
    plain = torch.nn.Sequential(model.features, *tail)
    gradcam, x = GradCAM(plain, [plain[1]]), torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    ours = lambda: upscale(class_activation_maps(model, x)[1], size)[0].numpy()
    theirs = lambda: np.array([gradcam(x, [ClassifierOutputTarget(c)])[0] for c in range(len(model.findings))])
    unit = lambda m: (m - m.min())/(m.max() - m.min() + 1e-7)
    grid = class_activation_maps(model, x)[1][0].clamp(min=0)
    scaled = upscale(torch.stack([unit(m) for m in grid]), size).numpy()
    difference = max(np.abs(unit(a) - b).max() for a, b in zip(scaled, theirs()))
    times = np.array([(seconds(ours), seconds(theirs)) for _ in range(repeats)])
    one, fourteen = np.median(times, 0)
    return dict(architecture=architecture, pixels=size, threads=torch.get_num_threads(), repeats=repeats, ours_ms=1000*one,
                gradcam_ms=1000*fourteen, times_faster=fourteen/one, least_times_faster=(times[:, 1]/times[:, 0]).min(),
                largest_difference=difference)


if __name__ == "__main__":
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    table = pd.DataFrame([compare("densenet121", 224, repeats), compare("densenet_demo", 112, repeats)])
    table.to_csv(Path(__file__).with_suffix(".csv"), index=False, float_format="%.4g")
    print(table.to_string(index=False, float_format="{:.4g}".format))
