"""What predicting costs: the plain loop of the older reproductions against `chexnet predict`, on 1024 px radiographs from files.

    python benchmarks/prediction.py [FOLDER]

FOLDER: a folder of 1024 px PNG radiographs; without it, drawn ones (synthetic). DenseNet-121 at 224 px, 14 findings, random
weights (the time does not depend on them). Writes prediction.csv and prediction.md beside this script. Every way has a process of
its own and predicts all images three times, in turn, so that a busy machine troubles all alike; the quickest time counts. The
share of peak is the work of the network's convolutions and its linear layer (counted once) in that time over the pace of a
2048 x 2048 float32 matrix multiplication, measured in the same turns.
"""
import platform
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from measure import Apart, peak
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models, transforms

from chexnet_nb.runs.onnx import cached_onnx
from chexnet_nb.runs.inference import predictor, thread_map, predict_files
from chexnet_nb.models.chexnet import new_model, save_model
from chexnet_nb.models.base import pool_before_conv
from chexnet_nb.phantom.release import write_phantom
from chexnet_nb.data.images import find_images, read_radiograph, resize

IMAGES, ROUNDS = 480, 3
USUAL = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
                            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])


class Films(torch.utils.data.Dataset):
    "Images as the older reproductions read them."
    def __init__(self, files): self.files = files
    def __len__(self): return len(self.files)
    def __getitem__(self, i): return USUAL(Image.open(self.files[i]).convert("RGB"))


def plain(model, files):
    "The loop of the older reproductions: workers decode, the network runs in float32, NCHW, eagerly."
    with torch.no_grad():
        how = dict(batch_size=16, num_workers=2, multiprocessing_context="fork")
        for batch in torch.utils.data.DataLoader(Films(files), **how): torch.sigmoid(model(batch))


def plain_network(model, batches):
    "The same without files."
    with torch.no_grad():
        for batch in batches: torch.sigmoid(model(batch))


def answers(run, engine, images):
    "Our network alone, on images in memory."
    answer = predictor(run, engine)
    return lambda: list(thread_map(lambda i: answer(images[i:i+8]), range(0, len(images), 8)))


WAYS = {
    "plain loop, from files": lambda run, files: lambda model=theirs(): plain(model, files),
    "plain loop, network alone": lambda run, files: lambda model=theirs(), seen=batches(files): plain_network(model, seen),
    "chexnet predict, from files": lambda run, files: lambda: predict_files(run, files, progress=False),
    "chexnet predict, network alone": lambda run, files: answers(run, "torch", small(files)),
    "chexnet predict --engine onnx, from files": (
        lambda run, files: lambda: predict_files(run, files, engine="onnx", progress=False)),
    "chexnet predict --engine onnx, network alone": lambda run, files: answers(run, "onnx", small(files)),
    "decoding and resizing alone": lambda run, files: lambda: list(thread_map(read_small, files)),
}


def theirs(): return models.densenet121(num_classes=14).eval()
def read_small(file): return resize(read_radiograph(file), 224)
def small(files): return torch.from_numpy(np.stack([read_small(f) for f in files]))
def batches(files): return [torch.stack([Films(files[:16])[i] for i in range(16)])]*(len(files)//16)
def prepare(way, run, files): return nullcontext(WAYS[way](run, files))


def main(folder):
    "Measure every way in turn; write both tables."
    drawn = "" if folder else "drawn (synthetic) "
    scratch = Path(tempfile.mkdtemp())
    folder = folder or write_phantom(scratch/"films", patients=IMAGES, images_each=1, size=1024, progress=False)/"images"
    files = list(find_images(folder).values())[:IMAGES]
    save_model(new_model(pretrained=False), scratch/"run")
    cached_onnx(scratch/"run")
    ways, times, peaks = {name: Apart(prepare, name, scratch/"run", files) for name in WAYS}, {name: [] for name in WAYS}, []
    for _ in range(ROUNDS):
        peaks.append(peak())
        for name, way in ways.items():
            times[name].append(way.seconds())
            print(f"{name}: {1000*times[name][-1]/len(files):.1f} ms an image", flush=True)
    for way in ways.values(): way.end()
    write({name: min(s)/len(files) for name, s in times.items()}, max(peaks), len(files), drawn)


def operations(model):
    "Floating-point operations of an image's forward pass."
    with FlopCounterMode(display=False) as counter, torch.no_grad(): model(torch.zeros(1, 3, 224, 224))
    return counter.get_total_flops()


def write(an_image, pace, n, drawn):
    "prediction.csv and prediction.md."
    usual, own = operations(theirs()), operations(pool_before_conv(theirs()))
    first = an_image["plain loop, from files"]
    nan = float("nan")
    work = {way: usual if "plain" in way else nan if "decoding" in way else own for way in an_image}
    rows = [(way, 1000*s, 1/s, first/s if "files" in way else nan, work[way]/s/pace) for way, s in an_image.items()]
    table = pd.DataFrame(rows, columns=["way", "ms_an_image", "images_a_second", "times_the_plain_loop", "share_of_peak"])
    here = Path(__file__).parent
    table.to_csv(here/"prediction.csv", index=False, float_format="%.4g")
    ratio = [an_image[f"chexnet predict{e}, from files"]/an_image[f"chexnet predict{e}, network alone"]
             for e in ("", " --engine onnx")]
    least = [1+an_image["decoding and resizing alone"]/an_image[f"chexnet predict{e}, network alone"]
             for e in ("", " --engine onnx")]
    said = [f"| {r.way} | {r.ms_an_image:.1f} | {r.images_a_second:.1f} | "
            f"{'' if np.isnan(r.times_the_plain_loop) else f'{r.times_the_plain_loop:.2f}'} | "
            f"{'' if np.isnan(r.share_of_peak) else f'{r.share_of_peak:.0%}'} |" for r in table.itertuples()]
    text = ["# Prediction", "", f"`python benchmarks/prediction.py`: {n} {drawn}radiographs of 1024 px, DenseNet-121 at 224 px, "
            f"{torch.get_num_threads()} threads, torch {torch.__version__.split('+')[0]}, {platform.machine()}; the fastest of "
            f"{ROUNDS} rounds, each method in a separate process, on a machine possibly shared with other work. "
            f"Peak, measured in the same run: {pace/1e9:.0f} GFLOP/s of a 2048 x 2048 float32 matrix multiplication; "
            f"{usual/1e9:.2f} GFLOP per image, {own/1e9:.2f} where a transition pools before its 1x1 convolution, as "
            f"`predict` does.", "",
            "| method | ms per image | images per second | speed-up over the plain loop | share of peak |",
            "|---|---:|---:|---:|---:|", *said,
            "",
            f"From files, `predict` takes {ratio[0]:.2f} times the time of its network alone, with ONNX Runtime {ratio[1]:.2f} "
            f"times. Decoding needs the same cores: this alone accounts for {least[0]:.2f} and {least[1]:.2f} times."]
    (here/"prediction.md").write_text("\n".join(text) + "\n")
    print("\n".join(text))


if __name__ == "__main__": main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
