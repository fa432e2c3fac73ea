"""Seconds until an answer, as ratios to `import torch` in the same run: one film, its maps, a table, the help.

    python benchmarks/latency.py [--repeats 3] [--images 22433] [--n-boot 10000]

Everything is synthetic: a phantom, a network of random weights, simulated predictions. Each command is started anew; the
shortest of several turns counts, taken in turn with `import torch`, so that other work on the machine meets all alike.
"""
import argparse
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
from measure import seconds

ROOT = Path(__file__).parents[1]
PYTHON = [sys.executable, "-c"]
COMMAND = [sys.executable, "-m", "chexnet_nb"]
ALLOWED = {"predict": 1.7, "cam": 1.7, "evaluate": 2.5, "compare": 2.5} # Ratios to `import torch`


def start(argv):
    "A process that must succeed."
    subprocess.run(list(map(str, argv)), cwd=ROOT, check=True, capture_output=True)


def inputs(folder, images):
    "A run, a film and two predictions tables."
    from chexnet_nb.data.labels import read_labels
    from chexnet_nb.metrics.predictions import simulate_predictions
    from chexnet_nb.models.chexnet import new_model, save_model
    from chexnet_nb.phantom.release import write_phantom
    film = next((write_phantom(folder/"data", patients=1, size=1024, progress=False)/"images").glob("*.png"))
    save_model(new_model(pretrained=False).eval(), folder/"run")
    rows = read_labels().tail(images)
    for seed in (0, 1): simulate_predictions(rows, seed=seed).to_csv(folder/f"{seed}.csv", index=False)
    return film


def measure(folder, film, repeats, n_boot):
    "Command -> the shortest of its turns, in seconds."
    commands = {
        "import torch": lambda out: [*PYTHON, "import torch"],
        "predict": lambda out: [*COMMAND, "predict", folder/"run", film, "--out", f"{out}.csv"],
        "cam": lambda out: [*COMMAND, "cam", folder/"run", film, "--out", out],
        "evaluate": lambda out: [*COMMAND, "evaluate", folder/"0.csv", "--synthetic", "--n-boot", n_boot, "--out", out],
        "compare": lambda out: [*COMMAND, "compare", folder/"0.csv", folder/"1.csv", "--synthetic", "--out", out],
        "help": lambda out: [*COMMAND, "--help"], "help predict": lambda out: [*COMMAND, "help", "predict"]}
    turns = {name: [] for name in commands}
    for turn in range(repeats):
        for name, argv in commands.items():
            words = argv(folder/f"{name}{turn}".replace(" ", "-"))
            turns[name].append(seconds(lambda: start(words)))
    return {name: min(found) for name, found in turns.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, default in (("repeats", 3), ("images", 22_433), ("n-boot", 10_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        film = inputs(Path(folder), options.images)
        found = measure(Path(folder), film, options.repeats, options.n_boot)
    table = pd.DataFrame(dict(seconds=found))
    table["ratio"], table["allowed"] = table.seconds/found["import torch"], pd.Series(ALLOWED)
    print(f"{platform.machine()}, {options.images:,} images, {options.n_boot:,} samples, best of {options.repeats}")
    print(table.round(2).to_string())


if __name__ == "__main__": main()
