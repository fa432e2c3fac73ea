"""How often each kind of 95% interval holds the truth: few positives and many, images independent or several a patient.

    python benchmarks/coverage.py [--trials 500] [--only auroc,share,calibration,raters]

Writes coverage.csv beside this file, a row an interval and case. Everything is simulated; a coverage of 0.95 from 500 trials has
a standard error of 0.01; readers have 2,000. The true value of a mean F1, a kappa, and a difference with a fitted threshold is
the mean of the estimates over the trials. `mark` says what a row is: within 0.93 and 0.97, conservative, too narrow, or not
shown (fewer than ten patients).
"""
import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from scipy import special, stats

from chexnet_nb.readers.kappa import fleiss_kappa
from chexnet_nb.metrics.calibration import recalibration, reliability
from chexnet_nb.metrics.intervals import (
    MIN_PATIENTS, auroc_delong, auroc_ci, average_precision_estimate, f1_ci, paired_difference, proportion_ci,
    unpaired_difference)
from chexnet_nb.metrics.bootstrap import (
    Bootstrap, auroc, average_precision, expanded_interval, interval, point_estimate, sensitivity)
from chexnet_nb.readers.f1 import (
    ThresholdData, differences_table, f1_table, majority_positives, network_thresholds, rater_samples,
    threshold_samples)
from chexnet_nb.readers.panel import Panel

IMAGES, SAMPLES, FINDINGS = 600, 400, 6
POSITIVES, AUROCS = (1, 2, 5, 10, 20, 50), (.7, .85, .95)
HERE = Path(__file__).parent


def study(rng, positives, clustered, columns, spread=1., shared_labels=False):
    "Labels, noise (images, columns), patients: two of three images are positive in one with the finding, or each is a patient."
    size = 3 if clustered else 1
    who = np.arange(IMAGES) // size
    def noise(n): return np.sqrt(.6) * rng.normal(size=(n, 1)) + np.sqrt(.4) * rng.normal(size=(n, columns))
    drawn = np.sqrt(.5) * noise(who.max() + 1)[who] + np.sqrt(.5) * noise(IMAGES) if clustered else noise(IMAGES)
    labels = np.zeros((IMAGES, columns), bool)
    for c in range(columns):
        sick = rng.permutation(who.max() + 1)[:-(-positives // 2) if clustered else positives]
        of_sick = (sick[:, None] * size + np.arange(min(size, 2))).ravel()[:positives]
        labels[of_sick, c] = True
    if shared_labels: labels[:] = labels[:, :1]
    return labels, np.where(labels, spread * drawn, drawn), who


def patients_with(positives, clustered): return -(-positives // 2) if clustered else positives


def holds(ends, truth): return np.nan if np.isnan(ends).any() else bool(ends[0] <= truth <= ends[1])


def auroc_trial(rng, positives, true, clustered, spread=1.):
    "AUROCs: one, a mean, a difference of two, of means, on other images; average precision."
    apart = np.sqrt(1 + spread**2) * stats.norm.ppf(true)
    labels, noise, who = study(rng, positives, clustered, FINDINGS, spread)
    scores, groups = noise + apart * labels, who if clustered else None
    areas = [auroc_delong(y, s, groups) for y, s in zip(labels.T, scores.T)]
    found = {("AUROC", "delong"): holds(auroc_ci(areas[0]), true),
             ("mean of 6 AUROCs", "delong"): holds(auroc_ci(*areas), true)}
    metrics = [auroc(y, s) for y, s in zip(labels.T, scores.T)] + [average_precision(labels[:, 0], scores[:, 0])]
    samples = np.vstack(Bootstrap(IMAGES, groups, SAMPLES, int(rng.integers(2**31)), threads=1).run(metrics))
    ends = interval(np.vstack([samples[0], samples[:FINDINGS].mean(0), samples[-1]]))[["low", "high"]].to_numpy()
    found["AUROC", "percentile"], found["mean of 6 AUROCs", "percentile"] = holds(ends[0], true), holds(ends[1], true)
    precision = population_precision(apart, positives / IMAGES, spread)
    found["average precision", "percentile"] = holds(ends[2], precision)
    ends = average_precision_estimate(labels[:, 0], scores[:, 0], groups).ends(.95)
    found["average precision", "delta, logit t"] = holds(ends, precision)
    return found | difference_trial(rng, positives, true, clustered, spread)


def difference_trial(rng, positives, true, clustered, spread):
    "Two models of the same AUROC: on the same images, one finding and the mean of six; and on other images."
    apart = np.sqrt(1 + spread**2) * stats.norm.ppf(true)
    labels, noise, who = study(rng, positives, clustered, 2, spread, shared_labels=True)
    groups = who if clustered else None
    first, second = (auroc_delong(labels[:, 0], (noise + apart * labels)[:, c], groups) for c in (0, 1))
    paired = paired_difference([first], [second])
    both, scores, here = np.tile(labels[:, 0], 2), None, np.arange(2 * IMAGES) < IMAGES
    elsewhere, other, _ = study(rng, positives, clustered, 1, spread)
    both = np.concatenate([labels[:, 0], elsewhere[:, 0]])
    scores = np.concatenate([noise[:, 0], other[:, 0]]) + apart * both
    people = np.concatenate([who, who + 10**6])
    apart_pair = unpaired_difference(*([auroc_delong(both, scores, people, side)] for side in (here, ~here)))
    return {("difference of AUROCs, same images", "delong"): holds((paired.low, paired.high), 0),
            ("difference of AUROCs, other images", "square-and-add"): holds((apart_pair.low, apart_pair.high), 0)}


def population_precision(apart, prevalence, spread):
    "Average precision without sampling: precision integrated over the positives' scores."
    at = np.linspace(-9, 12, 4001)
    hits, false = stats.norm.sf((at - apart) / spread), stats.norm.sf(at)
    precision = prevalence * hits / np.maximum(prevalence * hits + (1 - prevalence) * false, 1e-300)
    return float(np.sum(precision * stats.norm.pdf((at - apart) / spread) / spread) * (at[1] - at[0]))


def share_trial(rng, positives, true, clustered):
    "Sensitivity, specificity and F1 at a fixed threshold, given the true sensitivity and how many positives on average."
    labels, noise, who = study(rng, max(1, rng.poisson(positives)), clustered, 1)
    y, groups, threshold = labels[:, 0], who if clustered else None, 1.6
    calls = noise[:, 0] + (threshold + stats.norm.ppf(true)) * y >= threshold
    false = stats.norm.sf(threshold)
    f1 = 2 * positives * true / (positives * (1 + true) + (IMAGES - positives) * false)
    samples = Bootstrap(IMAGES, groups, SAMPLES, int(rng.integers(2**31)), threads=1).run([sensitivity(y, calls)])[0]
    ends = interval(samples)[["low", "high"]].to_numpy()[0]
    return {("sensitivity", "exact"): holds(proportion_ci(calls, y, groups), true),
            ("F1", "exact"): holds(f1_ci(y, calls, groups), f1),
            ("specificity", "exact"): holds(proportion_ci(~calls, ~y, groups), 1 - false),
            ("share of boxes hit", "percentile"): holds(ends, true)}


def calibration_trial(rng, positives, apart, clustered):
    "Slope, intercept and points of a reliability diagram of calibrated probabilities, as many expected positives as given."
    who = np.arange(IMAGES) // 3 if clustered else np.arange(IMAGES)
    def noise(): return np.sqrt(.5) * rng.normal(size=who.max() + 1)[who] + np.sqrt(.5) * rng.normal(size=IMAGES)
    grid = special.expit(level_of(positives / IMAGES, apart) + apart * noise())
    y = (stats.norm.cdf(noise()) < grid).astype(np.uint8)
    groups = who if clustered else None
    slope, intercept = recalibration(y, grid, groups)
    points = reliability(y, grid, bins=5, groups=groups)
    middle = points.iloc[2]
    return {("calibration slope", "sandwich t"): holds(slope[1:], 1),
            ("calibration intercept", "sandwich t"): holds(intercept[1:], 0),
            ("point of a reliability diagram", "exact"): holds((middle.low, middle.high), middle.predicted)}


def level_of(prevalence, apart):
    "Mean log odds at which calibrated, normally spread log odds give a prevalence."
    at = np.linspace(-14, 4, 400)
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    means = special.expit(at[:, None] + apart * nodes) @ weights / weights.sum()
    return float(np.interp(prevalence, means, at))


def raters(rng, readers, clustered, share, vary=0.):
    "Calls of raters of one skill, the network last, and patients; `vary`: readers differ, the network is their mean."
    patients, images = (118, 188) if clustered else (188, 188)
    who = np.sort(np.append(np.arange(patients), rng.integers(0, patients, images - patients)))
    def noise(): return np.sqrt(.5) * rng.normal(size=patients)[who] + np.sqrt(.5) * rng.normal(size=images)
    sick = noise() > stats.norm.isf(share)
    skill = np.append(vary * rng.normal(size=readers), 0)[:, None]
    means = np.where(sick, stats.norm.ppf(.7) + skill, stats.norm.ppf(.05) - skill) + np.sqrt(.5) * noise()
    return (means + np.sqrt(.5) * rng.normal(size=(readers + 1, images)) > 0).astype(float), who, sick


def panel_of(calls, scores=None):
    "A panel of one finding."
    images = list(range(calls.shape[1]))
    return Panel(images, [*map(str, range(len(calls) - 1)), "network"], ["Mass"], calls[:, :, None], [], scores)


def rater_trial(rng, positives, readers, clustered, vary=0.):
    "Differences of F1 of equals, a mean F1, a kappa; with readers who differ, the difference for others like them."
    calls, who, _ = raters(rng, int(readers), clustered, positives / 188 * 1.05, vary)
    panel, seed = panel_of(calls), int(rng.integers(2**31))
    found = majority_positives(panel, who)
    samples = rater_samples(panel, who, 600, seed)
    gaps = differences_table(panel, samples, found).set_index("protocol")
    if vary:
        name = ("difference of F1, readers like these", "Obuchowski-Rockette")
        return {name: tuple(gaps.loc["paper", ["difference", "low_readers", "high_readers"]])}
    result = {(f"difference of F1, {p}", "expanded"): (0, *gaps.loc[p, ["low", "high"]]) for p in ("paper", "majority")}
    for method in ("expanded", "percentile"):
        table = f1_table(panel, samples, found, method=method).set_index(["protocol", "rater"])
        result["F1 of a rater, paper", method] = tuple(table.loc[("paper", "network"), ["f1", "low", "high"]])
    result["difference of F1, paper", "percentile"] = (0, *table.loc[("paper", "difference"), ["low", "high"]])
    kappa = Bootstrap(calls.shape[1], who, 600, seed, threads=1).run([fleiss_kappa(calls[:-1])])[0]
    ends = expanded_interval(kappa, found.units[0])[0] if found.images[0] >= MIN_PATIENTS else [np.nan] * 2
    return result | {("Fleiss' kappa", "expanded"): (point_estimate(fleiss_kappa(calls[:-1]))[0], *ends)}


def threshold_trial(rng, positives, apart, clustered):
    "The difference of F1 at a threshold that was fitted on 2,000 other images: chosen anew in each sample, or fixed."
    calls, who, sick = raters(rng, 5, clustered, positives / 188 * 1.05)
    y = rng.random(2000) < positives / 188
    panel = panel_of(calls, special.expit(apart * sick + rng.normal(size=188) - 2)[:, None])
    said = pd.DataFrame({"Image Index": range(2000), "Mass": special.expit(apart * y + rng.normal(size=2000) - 2)})
    fitting = ThresholdData(said, y[:, None], np.arange(2000))
    at = network_thresholds(fitting)["Mass"]
    panel.calls[-1, :, 0] = panel.scores[:, 0] >= at
    found, seed, result = majority_positives(panel, who), int(rng.integers(2**31)), {}
    for name, thresholds in (("chosen anew", threshold_samples(fitting, 400, seed)), ("fixed", None)):
        gaps = differences_table(panel, rater_samples(panel, who, 400, seed, thresholds=thresholds), found).set_index("protocol")
        told = tuple(gaps.loc["paper", ["difference", "low", "high"]])
        result[f"difference of F1, fitted threshold {name}", "expanded"] = told
    return result


def cases(only):
    "Every case: group, trial function, positives, truth, clustered, further arguments."
    rows = []
    for clustered in (False, True):
        for m in POSITIVES:
            if "auroc" in only:
                rows += [("auroc", auroc_trial, m, a, clustered, {}) for a in AUROCS]
                wide = AUROCS if m >= 10 else ()
                rows += [("auroc, positives 1.5 times as spread", auroc_trial, m, a, clustered, {"spread": 1.5}) for a in wide]
            if "share" in only: rows += [("share", share_trial, m, s, clustered, {}) for s in (.6, .9)]
            if "calibration" in only and m >= 5:
                rows += [("calibration", calibration_trial, m, s, clustered, {}) for s in (.8, 1.5)]
            if "raters" in only and m >= 10:
                rows += [(f"raters, {r} radiologists", rater_trial, m, r, clustered, {}) for r in (4, 5)]
                rows += [("raters, 5 radiologists of unequal skill", rater_trial, m, 5, clustered, {"vary": .2})]
                rows += [("thresholds, network with an AUROC of 0.92", threshold_trial, m, 2., clustered, {})]
    return rows


def known_truth(held):
    "Whether intervals hold the truth, where trials gave (estimate or truth, low, high): the mean of the first."
    result = {}
    for name, values in held.items():
        value, low, high = np.array(list(values), float).T
        shown = ~np.isnan(low)
        truth = value[shown].mean()
        result[name] = np.where(shown, (low <= truth) & (truth <= high), np.nan)
    return pd.DataFrame(result)


def run(job):
    "Coverage of one case: rows of the table."
    (group, function, positives, truth, clustered, more), trials = job
    if group.startswith("raters"): trials *= 4
    seed = [positives, int(1000 * truth), clustered, len(group)]
    trial = lambda i: function(np.random.default_rng([*seed, i]), positives, truth, clustered, **more)
    held = pd.DataFrame([trial(i) for i in range(trials)])
    if group.startswith(("raters", "thresholds")): held = known_truth(held)
    rows = []
    for name in held:
        known = held[name].dropna().astype(float)
        always = name[1] == "exact" or name[0] == "share of boxes hit" or group[:2] in ("ra", "th")
        shown = always or patients_with(positives, clustered) >= MIN_PATIENTS
        several = "1.6 a patient" if group[:2] in ("ra", "th") else "three a patient"
        rows.append(dict(interval=name[0], method=name[1], case=group.partition(", ")[2],
                         images=several if clustered else "one a patient",
                         positives=positives, truth=np.nan if group[:2] in ("ra", "th") else truth, trials=trials,
                         undefined=trials - len(known),
                         coverage=known.mean() if len(known) > trials / 4 else np.nan, shown=shown))
    return rows


def mark(row):
    "What a row is, in words."
    if not row["shown"]: return f"not shown: fewer than {MIN_PATIENTS} patients with a positive"
    if np.isnan(row["coverage"]): return "no interval"
    if .93 <= row["coverage"] <= .97: return "holds"
    if row["coverage"] > .97:
        return "exact: at least 95% by construction" if row["method"] == "exact" else "conservative: wider than needed"
    return "percentiles, too narrow" if row["method"] == "percentile" else "too narrow here"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--only", default="auroc,share,calibration,raters")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    began, rows, jobs = time.time(), [], [(c, asked.trials) for c in cases(asked.only.split(","))]
    with ProcessPoolExecutor(asked.workers) as pool:
        for i, part in enumerate(pool.map(run, jobs), 1):
            rows += part
            print(f"{i}/{len(jobs)} {time.time()-began:.0f} s {jobs[i-1][0][0]} {jobs[i-1][0][2:5]}", flush=True)
    table = pd.DataFrame(rows)
    table["mark"] = [mark(row) for row in table.to_dict("records")]
    order = ["interval", "method", "case", "images", "truth", "positives"]
    table = table.drop(columns="shown").sort_values(order, kind="stable")
    table.to_csv(HERE / "coverage.csv", index=False, float_format="%.3f")
    print(table.groupby(["interval", "method", "mark"]).coverage.agg(["size", "min", "max"]).to_string())


if __name__ == "__main__":
    main()
