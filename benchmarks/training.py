"""A training step of DenseNet-121 at 224 px: the plain loop of the older reproductions against `training`, compiled or not.

    python benchmarks/training.py [REPEATS [1]]

Writes training.csv and training.md beside this script. Every kind has a process of its own and does one step a round, so that a
busy machine troubles all alike; the figure is the median of REPEATS rounds. With 1, compiled too (torch.compile: many minutes on
a CPU). The limit is the machine's own matrix multiplication, in the same run.
"""
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from measure import Apart, peak
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import densenet121

from chexnet_nb.models.chexnet import new_model
from chexnet_nb.models.base import to_input
from chexnet_nb.training.optimiser import new_optimiser
from chexnet_nb.models.recipe import Recipe
from chexnet_nb.training.fit import LitCheXNet
from chexnet_nb.core.parallel import memory_kept

BATCH, SIZE = 16, 224


def batch():
    "Images and labels."
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (BATCH, SIZE, SIZE), dtype=torch.uint8, generator=rng)
    return images, (torch.rand(BATCH, 14, generator=rng) < .05).float()


@contextmanager
def plain():
    "A step as the reproductions of 2017 and 2018 wrote it: torchvision's network, sigmoid and BCELoss, NCHW."
    images, labels = batch()
    model = densenet121()
    model.classifier = nn.Sequential(nn.Linear(1024, 14), nn.Sigmoid())
    adam, loss = torch.optim.Adam(model.parameters(), 1e-3), nn.BCELoss()
    x = to_input(images).contiguous()

    def step():
        adam.zero_grad()
        loss(model(x), labels).backward()
        adam.step()
    yield warm(step)


@contextmanager
def ours(compiled=False):
    "A step of `training`: from bytes, channels last, its memory kept."
    images, labels = batch()
    model = new_model(pretrained=False).to(memory_format=torch.channels_last)
    recipe = Recipe(compile=compiled)
    training, adam = LitCheXNet(model, recipe), new_optimiser(model, recipe)

    def step():
        adam.zero_grad()
        training.loss(images, labels).backward()
        adam.step()
    with memory_kept(): yield warm(step)


def warm(step):
    "A step that was done twice."
    step(), step()
    return step


def main(repeats=9, compiled=0):
    kinds = {"plain loop": Apart(plain), "chexnet_nb": Apart(ours)}
    if compiled: kinds["chexnet_nb, compiled"] = Apart(ours, True)
    times = pd.DataFrame([{name: kind.seconds() for name, kind in kinds.items()} for _ in range(repeats)])
    for kind in kinds.values(): kind.end()
    with plain() as step, FlopCounterMode(display=False) as counter: step()
    limit, flops = peak(), counter.get_total_flops()
    table = pd.DataFrame(dict(step=list(kinds), seconds=times.median().to_numpy()))
    table["images_per_second"] = BATCH/table.seconds
    table["times_plain"] = (times["plain loop"].to_numpy()[:, None]/times.to_numpy()).T.tolist()
    table["times_plain"] = table["times_plain"].map(np.median)
    table["share_of_peak"] = flops/table.seconds/limit
    table.to_csv(Path(__file__).with_suffix(".csv"), index=False, float_format="%.4g")
    said = table.round(3).astype(str)
    rows = "\n".join("| " + " | ".join(row) + " |" for row in [list(said), ["---"]*len(said.columns), *said.to_numpy().tolist()])
    Path(__file__).with_suffix(".md").write_text(f"""# A training step

DenseNet-121, {SIZE} px, {BATCH} images per step, float32, {torch.get_num_threads()} threads, torch {torch.__version__}; medians
of {repeats} rounds, each kind in a separate process; `times_plain` is the median of the rounds' ratios. A step is
{flops/1e9:,.0f} GFLOP; `share_of_peak` is of the {limit/1e9:,.0f} GFLOP/s that a matrix multiplication reached in the same run.
Other runs reach other peaks, as the machine is shared: compare the rows of one table.

{rows}
""", encoding="utf-8")
    print(table.to_string(index=False, float_format="{:.4g}".format))


if __name__ == "__main__": main(*map(int, sys.argv[1:]))
