"""How often the interval of a drop contains 0 where there is none: two hospitals at which a network is equally good.

    python benchmarks/external_null.py [--trials 1000]

Writes external_null.csv beside this file, one row per trial: whether the 95% interval of the drop (`audit.external`) contains 0,
for each finding and for their mean. Each hospital has the label rows of 375 random patients of NIH's table; the probabilities are
simulated, with an AUROC of 0.80 at both.
"""
import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from chexnet_nb.audit.external import common_findings
from chexnet_nb.data.labels import read_labels
from chexnet_nb.metrics.predictions import join_truth, simulate_predictions
from chexnet_nb.metrics.tables import unpaired_table

FINDINGS, PATIENTS, AUROC = ["Atelectasis", "Effusion", "Mass", "Nodule"], 375, .8
known = cache(read_labels)


def hospitals(seed):
    "Two hospitals of other patients, and the same network."
    rows = known()
    patients = np.random.default_rng([7, seed]).permutation(rows["Patient ID"].unique())
    parts = [rows[rows["Patient ID"].isin(patients[i*PATIENTS:(i+1)*PATIENTS])] for i in range(2)]
    return common_findings({name: join_truth(simulate_predictions(part, FINDINGS, auroc=AUROC, seed=2*seed+i), part)
                            for i, (name, part) in enumerate(zip(("home", "away"), parts))})


def trial(seed):
    "One row of the results; none for a finding with too few patients for an interval."
    both = hospitals(seed).values()
    drops = unpaired_table(*(tuple(getattr(h, part) for h in both) for part in ("labels", "predictions", "patients")))
    inside = ((drops.low <= 0) & (0 <= drops.high)).astype(object).where(drops.low.notna(), None)
    return {"trial": seed} | dict(zip(drops.finding, inside))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    with ProcessPoolExecutor(asked.workers) as pool: table = pd.DataFrame(pool.map(trial, range(asked.trials), chunksize=20))
    table.to_csv(Path(__file__).with_name("external_null.csv"), index=False)
    print(table.drop(columns="trial").agg(["mean", "count"]))


if __name__ == "__main__":
    main()
