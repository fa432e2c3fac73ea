"""Seconds until an answer, as ratios to `import torch` in the same run: one film, its maps, tables, readers, the help.

    python benchmarks/latency.py [--repeats 3] [--images 22433] [--n-boot 10000]

Everything is synthetic: a phantom, a network of random weights, simulated predictions. Each command is started anew; the
shortest of several turns counts, taken in turn with `import torch`, so that other work on the machine meets all alike. Ratios of
processor time say what the commands cost where others compete for the processors. Writes latency.md beside this file.
"""
import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
from measure import seconds

HERE = Path(__file__).parent
ROOT = Path(__file__).parents[1]
PYTHON = [sys.executable, "-c"]
COMMAND = [sys.executable, "-m", "chexnet_nb"]
ALLOWED = {"predict": 1.7, "cam": 1.7, "evaluate": 2.5, "compare": 2.5, "radiologists": 3} # Ratios to `import torch`


def costs(argv):
    "Wall time and processor time of a process that must succeed, its kernel included."
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = seconds(lambda: subprocess.run(list(map(str, argv)), cwd=ROOT, check=True, capture_output=True))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime+after.ru_stime-before.ru_utime-before.ru_stime


def processor():
    "What the processor calls itself, and how many there are."
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown processor")
    return f"{os.cpu_count()} processors ({name})"


def inputs(folder, images):
    "A run, a film, two predictions tables, and five readers of 188 of their images."
    from chexnet_nb.data.labels import FINDINGS, label_matrix, read_labels
    from chexnet_nb.metrics.predictions import simulate_predictions
    from chexnet_nb.models.chexnet import new_model, save_model
    from chexnet_nb.phantom.release import write_phantom
    from chexnet_nb.readers.panel import simulate_readers
    film = next((write_phantom(folder/"data", patients=1, size=1024, progress=False)/"images").glob("*.png"))
    save_model(new_model(pretrained=False).eval(), folder/"run")
    rows = read_labels().tail(images)
    for seed in (0, 1): simulate_predictions(rows, seed=seed).to_csv(folder/f"{seed}.csv", index=False)
    read, skills = rows.tail(188), ([.6, .65, .7, .75, .8], [.97, .96, .95, .94, .93])
    readers = simulate_readers(read["Image Index"], label_matrix(read), FINDINGS, *skills)
    readers.to_csv(folder/"readers.csv", index=False)
    return film


def measure(folder, film, repeats, n_boot):
    "Wall and processor time of each command, in seconds, the shortest of its turns."
    commands = {
        "import torch": lambda out: [*PYTHON, "import torch"],
        "predict": lambda out: [*COMMAND, "predict", folder/"run", film, "--out", f"{out}.csv"],
        "cam": lambda out: [*COMMAND, "cam", folder/"run", film, "--out", out],
        "evaluate": lambda out: [*COMMAND, "evaluate", folder/"0.csv", "--synthetic", "--n-boot", n_boot, "--out", out],
        "compare": lambda out: [*COMMAND, "compare", folder/"0.csv", folder/"1.csv", "--synthetic", "--out", out],
        "radiologists": lambda out: [*COMMAND, "radiologists", folder/"readers.csv", "--predictions", folder/"0.csv",
                                     "--synthetic", "--n-boot", n_boot, "--out", out],
        "help": lambda out: [*COMMAND, "--help"], "help evaluate": lambda out: [*COMMAND, "help", "evaluate"]}
    turns = {name: [] for name in commands}
    for turn in range(repeats):
        for name, argv in commands.items():
            words = argv(folder/f"{name}{turn}".replace(" ", "-"))
            turns[name].append(costs(words))
    return pd.DataFrame({name: map(min, zip(*found)) for name, found in turns.items()}, ["wall", "processor"]).T


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, default in (("repeats", 3), ("images", 22_433), ("n-boot", 10_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        film = inputs(Path(folder), options.images)
        found = measure(Path(folder), film, options.repeats, options.n_boot)
    ratios = found/found.loc["import torch"]
    allowed = pd.Series(ALLOWED).reindex(found.index).map(lambda v: "" if pd.isna(v) else f"{v:g}")
    rows = [f"| {name} | {found.wall[name]:.2f} s | {ratios.wall[name]:.2f} | {ratios.processor[name]:.2f} | {allowed[name]} |"
            for name in found.index]
    load = f"load {os.getloadavg()[1]:.0f} at the end" if hasattr(os, "getloadavg") else "load unknown"
    text = (f"# Waiting\n\n`python benchmarks/latency.py`: {options.images:,} images, {options.n_boot:,} samples where any "
            f"are drawn, {processor()}, {load}, the shortest of {options.repeats} turns. All input is synthetic. "
            "Where more runs than there are processors, wall times say little: compare the ratios of processor time.\n\n"
            "| command | wall | ratio to `import torch` | ratio of processor time | aim |\n|---|---:|---:|---:|---:|\n")
    (HERE/"latency.md").write_text(text + "\n".join(rows) + "\n")
    print(text + "\n".join(rows))


if __name__ == "__main__": main()
