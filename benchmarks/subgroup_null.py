"""How often the subgroup table names a gap where there is none: calibrated scores that know nothing of the metadata.

    python benchmarks/subgroup_null.py [--trials 100]

Writes subgroup_null.csv beside this file, one row per trial: images, tests, the fewest images of a tested cell and the fewest
positives of a tested sensitivity, the smallest corrected p, gaps named after Holm's correction, and joint intervals without 0.
View, age, sex and the images of each patient are those of NIH's label table, so some cells hold few images; labels and scores are
simulated. They are alike between images of one patient: half of the variance of both is the patient's.
"""
import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import special, stats

from chexnet_nb.audit.strata import metadata
from chexnet_nb.audit.subgroups import subgroup_masks, subgroup_table
from chexnet_nb.data.labels import FINDINGS, label_matrix, read_labels
from chexnet_nb.metrics.thresholds import cross_fit

release = cache(read_labels)
SPREAD = 1.5 # Of the scores' log odds: an AUROC of about 0.85


def level_of(share):
    "Mean log odds at which normally spread log odds give a share of positives."
    at, (nodes, weights) = np.linspace(-14, 4, 400), np.polynomial.hermite_e.hermegauss(40)
    return np.interp(share, special.expit(at[:, None] + SPREAD * nodes) @ weights / weights.sum(), at)


def null_study(rows, seed, patients, shares=None):
    "Label rows of some patients, and labels and calibrated scores, as many positive as given, that do not depend on the rows."
    rng, shares = np.random.default_rng(seed), label_matrix(rows).mean(0) if shares is None else np.array(shares)
    chosen = rng.choice(rows["Patient ID"].unique(), patients, replace=False)
    rows = rows[rows["Patient ID"].isin(chosen)].reset_index(drop=True)
    who = pd.factorize(rows["Patient ID"])[0]
    def noise(): return np.sqrt(.5) * (rng.normal(size=(patients, len(shares)))[who] + rng.normal(size=(len(who), len(shares))))
    p = special.expit(level_of(shares) + SPREAD * noise())
    return rows, (stats.norm.cdf(noise()) < p).astype(np.uint8), p


def null_table(seed, patients, by=("sex", "age", "view"), findings=FINDINGS):
    "The subgroup table of one trial."
    rows, y, p = null_study(release(), seed, patients)
    inside, who = [FINDINGS.index(f) for f in findings], rows["Patient ID"].to_numpy()
    y, scores = y[:, inside], pd.DataFrame(p[:, inside], columns=list(findings))
    scores.insert(0, "Image Index", rows["Image Index"])
    return subgroup_table(y, scores, cross_fit(y, scores, who), subgroup_masks(metadata(rows), by), who, seed=seed)


def trial(seed):
    "One row of the results."
    table = null_table(seed, 1450)
    tested = table[table.p.notna()]
    return dict(trial=seed, images=table[table.by == "sex"].drop_duplicates("cell").images.sum(), tests=len(tested),
                smallest_cell=tested.images.min(), fewest_positives=tested.positives[tested.measure == "sensitivity"].min(),
                smallest_p=tested.p_adjusted.min(), named=(tested.p_adjusted < .05).sum(),
                joint=((tested.gap_joint_low > 0) | (tested.gap_joint_high < 0)).sum())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    with ProcessPoolExecutor(asked.workers) as pool:
        rows = []
        for row in pool.map(trial, range(asked.trials)):
            rows.append(row)
            print(row, flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(Path(__file__).with_name("subgroup_null.csv"), index=False, float_format="%.4g")
    print(f"{(table.named > 0).sum()} of {len(table)} trials named a gap, {(table.joint > 0).sum()} by the joint intervals")


if __name__ == "__main__":
    main()
