"""How fast the statistics are: 10,000 bootstrap samples of 14 AUROCs over 22,433 images, and the radiologist table.

    python benchmarks/bootstrap.py

Simulated predictions on 22,433 rows of the real label table (so patients and prevalences are real), simulated readers.
Prints a table and writes bootstrap.csv and bootstrap.md beside this file. scikit-learn in a loop is estimated from 20 of its
samples.
"""
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from chexnet_nb.data.labels import FINDINGS, label_matrix, read_labels
from chexnet_nb.metrics.tables import auroc_table
from chexnet_nb.metrics.predictions import simulate_predictions
from chexnet_nb.readers.f1 import (
    PROTOCOLS, differences_table, f1_table, threshold_data, majority_positives, rater_samples,
    threshold_samples, units_of)
from chexnet_nb.readers.panel import make_panel, simulate_readers

IMAGES, SAMPLES, RUNS, BLOCK = 22_433, 10_000, 3, 32
HERE = Path(__file__).parent


def case():
    "Predictions, labels and patients of the benchmark."
    table = read_labels().tail(IMAGES)
    return simulate_predictions(table, auroc=.84, seed=0), label_matrix(table), table["Patient ID"].to_numpy()


def seconds(call, runs=RUNS):
    "Median wall time of a call, and median core-seconds (the second says little of other work on the machine)."
    times = []
    for _ in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return np.median(times, axis=0)


def sklearn_loop(labels, predictions, samples=20):
    "Seconds that SAMPLES resamples take with scikit-learn in a loop, estimated from a few."
    from sklearn.metrics import roc_auc_score
    rng, scores = np.random.default_rng(0), predictions[list(FINDINGS)].to_numpy()

    def loop():
        for _ in range(samples):
            again = rng.integers(0, len(labels), len(labels))
            for i in range(len(FINDINGS)):
                roc_auc_score(labels[again, i], scores[again, i])

    return seconds(loop, 1) * SAMPLES / samples


def limit():
    "Seconds to read every count once a finding (float32, cache-sized blocks, one dot product each), on one core; the bytes."
    counts = np.random.default_rng(0).poisson(1, (IMAGES, BLOCK)).astype(np.float32)
    ones, blocks = np.ones(IMAGES, np.float32), -(-SAMPLES // BLOCK)
    once = seconds(lambda: [ones @ counts for _ in range(len(FINDINGS) * 10)])[1]
    return once * blocks / 10, 4 * IMAGES * SAMPLES * len(FINDINGS)


def drawing():
    "Seconds to draw the images of every sample, on one core: the random numbers alone."
    rng = np.random.default_rng(0)
    draw = lambda: [rng.integers(0, IMAGES, IMAGES * BLOCK, dtype=np.int32) for _ in range(10)]
    return seconds(draw)[1] * SAMPLES / BLOCK / 10


def peak_mb():
    "Peak memory of a process of its own that computes the table, in MB; ru_maxrss is in kilobytes on Linux."
    code = ("import resource, runpy, sys; b = runpy.run_path(sys.argv[1], run_name='child'); "
            "p, y, g = b['case'](); b['auroc_table'](y, p, method='percentile'); "
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)")
    return int(subprocess.run([sys.executable, "-c", code, __file__], capture_output=True, text=True, check=True).stdout) / 1024


def readers_panel():
    "Five simulated readers and a network on 188 images, 14 findings."
    table = read_labels().tail(188)
    skills = [.6, .65, .7, .75, .8], [.97, .96, .95, .94, .93]
    readers = simulate_readers(table["Image Index"], label_matrix(table), FINDINGS, *skills)
    return make_panel(readers, simulate_predictions(table), dict.fromkeys(FINDINGS, .2))


def tables_of_raters(panel):
    "F1s and differences of a panel, whole patients drawn."
    unit = units_of(panel)
    samples, positives = rater_samples(panel, unit, SAMPLES), majority_positives(panel, unit)
    f1_table(panel, samples, positives)
    differences_table(panel, samples, positives)


def main():
    predictions, labels, patients = case()
    panel = readers_panel()
    images = seconds(lambda: auroc_table(labels, predictions, method="percentile"))
    loop = sklearn_loop(labels, predictions)
    clustered = seconds(lambda: auroc_table(labels, predictions, patients, method="percentile"))
    closed = seconds(lambda: auroc_table(labels, predictions, patients))
    raters = seconds(lambda: tables_of_raters(panel))
    fitting = threshold_data(predictions, read_labels().tail(IMAGES), panel.images, panel.findings)
    refitted = seconds(lambda: threshold_samples(fitting, SAMPLES))
    (reading, size), drawn = limit(), drawing()
    rows = [("scikit-learn in a loop, estimated from 20 samples", *loop, "s"), ("this engine, images drawn", *images, "s"),
            ("faster than the loop", *loop / images, "x"), ("this engine, patients drawn", *clustered, "s"),
            ("patients drawn / images drawn", *clustered / images, "x"),
            ("closed intervals instead (the default), patients clustered", *closed, "s"),
            (f"thresholds of 14 findings fitted anew in each sample, {len(fitting.labels):,} images", *refitted, "s"),
            (f"radiologist tables: 14 findings, 6 raters, {SAMPLES:,} samples, {len(PROTOCOLS)} protocols", *raters, "s"),
            ("drawing the images of every sample, nothing else", np.nan, drawn, "s"),
            (f"reading the {size / 1e9:.1f} GB of counts, nothing else", np.nan, reading, "s"),
            ("peak memory, images drawn", peak_mb(), np.nan, "MB")]
    table = pd.DataFrame(rows, columns=["what", "wall", "core", "unit"])
    table.to_csv(HERE / "bootstrap.csv", index=False, float_format="%.4g")
    def cell(v, unit): return "" if np.isnan(v) else f"{v:,.{2 if v < 100 else 0}f} {unit}"
    lines = [f"| {what} | {cell(wall, unit)} | {cell(core, unit)} |" for what, wall, core, unit in rows]
    text = (f"# Statistics\n\n`python benchmarks/bootstrap.py`: {SAMPLES:,} samples of {len(FINDINGS)} AUROCs over "
            f"{IMAGES:,} images, simulated predictions on real "
            f"label rows; medians of {RUNS} runs, {os.cpu_count()} processors, possibly shared with other work "
            "(core-seconds count only the time used).\n\n"
            "| what | wall | core-seconds |\n|---|---:|---:|\n" + "\n".join(lines)
            + f"\n\nThe limit: every sample's {IMAGES:,} images must be drawn, and every count read once per finding. "
            f"These two alone take {drawn + reading:.2f} core-seconds; "
            f"the engine takes {images[1]:.2f}, {images[1] / (drawn + reading):.1f} times the limit.\n")
    (HERE / "bootstrap.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
