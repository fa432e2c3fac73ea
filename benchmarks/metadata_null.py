"""How often the metadata baseline claims something where there is nothing: labels and scores that know nothing of the metadata.

    python benchmarks/metadata_null.py [--trials 100]

Writes metadata_null.csv beside this file, one row per trial: whether the 95% intervals of the baseline's AUROC hold one half,
from all metadata and from sex alone, or lie above it; `added`, and its p. Metadata and images of each patient are those of NIH's
label table; labels (8% positive) and scores are simulated, and half of the variance of both is the patient's.
"""
import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd

from chexnet_nb.audit.confounders import metadata_scores, metadata_table, vs_metadata
from chexnet_nb.audit.strata import metadata
from subgroup_null import null_study, release


def trial(seed, patients=600):
    "One row of the results."
    rows, y, p = null_study(release(), [9, seed], patients, shares=[.08])
    known, who = metadata(rows), rows["Patient ID"].to_numpy()
    fitted = metadata_scores(y, known, who, seed=seed)
    table = (metadata_table(y, known[["sex"]], who, ["Label"], seed=seed),
             metadata_table(y, known, who, ["Label"], together=fitted))
    network = pd.DataFrame({"Image Index": rows["Image Index"], "Label": p[:, 0]})
    added, row = vs_metadata(y, network, known, fitted, who, flips=499, seed=seed).iloc[0], {"trial": seed}
    for name, (_, low, high) in zip(("sex", "all"), (t[["auroc", "low", "high"]].iloc[0] for t in table)):
        row |= {f"{name}_held": low <= .5 <= high, f"{name}_above": low > .5}
    return row | dict(added=added.added, added_p=added.added_p)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    with ProcessPoolExecutor(asked.workers) as pool: table = pd.DataFrame(pool.map(trial, range(asked.trials)))
    table.to_csv(Path(__file__).with_name("metadata_null.csv"), index=False, float_format="%.4g")
    print(table.drop(columns="trial").mean(), f"added_p below 0.05: {(table.added_p < .05).mean():.3f}")


if __name__ == "__main__":
    main()
