"""Time and memory as work grows: images of one table, tables set beside each other, images that many readers read.

    python benchmarks/sizes.py [--n-boot 10000]

Everything is synthetic: the release's labels, repeated under other names where more images are wanted, simulated predictions and
readers. Each command is a process of its own, run once; memory is the largest that it or its kernel held. Writes sizes.csv and
sizes.md beside this file.
"""
import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from latency import processor

HERE = Path(__file__).parent
SIZES = (22_433, 112_120, 300_000, 1_000_000)


START = """import os, subprocess, sys, time # A small process starts the command: memory is counted from its starter's on
start = time.perf_counter()
process = subprocess.Popen([sys.executable, "-m", "chexnet_nb", *sys.argv[1:]], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
print(time.perf_counter()-start, used.ru_maxrss/2**20)
sys.exit(status != 0)"""

def cost(words):
    "Wall time in seconds, and memory in GB, of a `chexnet` command that must succeed."
    done = subprocess.run([sys.executable, "-c", START, *map(str, words)], capture_output=True, text=True)
    if done.returncode: sys.exit(done.stderr)
    return map(float, done.stdout.split())


def labels(folder, images):
    "A 0/1 label table with patients, of as many images as wanted."
    from chexnet_nb.data.labels import FINDINGS, label_matrix, read_labels
    rows = read_labels()
    turn, row = np.divmod(np.arange(images), len(rows))
    table = pd.DataFrame(label_matrix(rows)[row].astype(int), columns=FINDINGS)
    table.insert(0, "Patient ID", turn*100_000 + rows["Patient ID"].astype(int).to_numpy()[row])
    table.insert(0, "Image Index", [f"{t}_{name}" for t, name in zip(turn, rows["Image Index"].to_numpy()[row])])
    table.to_csv(folder/f"labels{images}.csv", index=False)
    return table, folder/f"labels{images}.csv"


def predictions(folder, table, seed=0):
    "A file of simulated predictions."
    from chexnet_nb.metrics.predictions import simulate_predictions
    file = folder/f"{len(table)}-{seed}.csv"
    simulate_predictions(table, seed=seed).to_csv(file, index=False)
    return file


def readers(folder, table, each, people):
    "A file of readers, `each` of them for every image, and predictions for those images and for as many again."
    from chexnet_nb.data.labels import FINDINGS, label_matrix
    from chexnet_nb.readers.panel import simulate_readers
    half = table.head(len(table)//2)
    hits, rights = np.linspace(.6, .8, people), np.linspace(.97, .93, people)
    found = simulate_readers(half["Image Index"], label_matrix(half), FINDINGS, hits, rights)
    order = np.argsort(np.random.default_rng(0).random((len(half), people)), 1)[:, :each] # Who reads which
    taken = {(f"simulated {r+1}", half["Image Index"].iloc[i]) for i, some in enumerate(order) for r in some}
    found = found[[key in taken for key in zip(found.reader, found["Image Index"])]]
    found.to_csv(folder/f"readers{len(table)}-{people}.csv", index=False)
    return folder/f"readers{len(table)}-{people}.csv"


def work(folder, n_boot):
    "(command, how much, words) of each row."
    for images in SIZES:
        table, file = labels(folder, images)
        given = ["--labels", file, "--synthetic", "--n-boot", n_boot, "--out", folder/f"evaluate{images}"]
        yield "evaluate", f"{images:,} images", ["evaluate", predictions(folder, table), *given]
    table, file = labels(folder, SIZES[0])
    for tables in (2, 6, 12):
        files = [predictions(folder, table, seed) for seed in range(tables)]
        yield "compare", f"{tables} tables of {SIZES[0]:,} images", [
            "compare", *files, "--labels", file, "--synthetic", "--out", folder/f"compare{tables}"]
    for images, each, people in ((376, 5, 5), (30_000, 3, 17), (30_000, 17, 17)):
        table, file = labels(folder, images)
        given = ["--labels", file, "--predictions", predictions(folder, table), "--synthetic", "--n-boot", n_boot]
        yield "radiologists", f"{people} readers, {each} for each of {images//2:,} images", [
            "radiologists", readers(folder, table, each, people), *given, "--out", folder/f"readers{images}-{each}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n-boot", type=int, default=10_000)
    n_boot, rows = parser.parse_args().n_boot, []
    with tempfile.TemporaryDirectory() as folder:
        for command, size, words in work(Path(folder), n_boot):
            rows.append((command, size, *(round(v, 2) for v in cost(words))))
            print(*rows[-1], flush=True)
    table = pd.DataFrame(rows, columns=["command", "size", "seconds", "gigabytes"])
    table.to_csv(HERE/"sizes.csv", index=False)
    lines = [f"| `{r.command}` | {r.size} | {r.seconds:.1f} s | {r.gigabytes:.2f} GB |" for r in table.itertuples()]
    (HERE/"sizes.md").write_text(
        f"# As work grows\n\n`python benchmarks/sizes.py`: {n_boot:,} samples where any are drawn, {processor()}, each command "
        f"once, in a process of its own; the page is part of it. All input is synthetic.\n\n| command | input | time | memory |\n"
        "|---|---|---:|---:|\n" + "\n".join(lines) + "\n")


if __name__ == "__main__": main()
