"""Every number of the committed tables once more, from the cases alone and by code of its own."""

import csv
import math
from collections import defaultdict
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

RESULTS = Path(__file__).parents[2] / "docs" / "results"
NAMES = ("table?", "after_training", "three_d", "unet_authors", "hyperparameters", "widths")
NETWORKS = {"three_d": "unet3d", "unet_authors": "unet_authors"}
WITH_RUNS = [runs.parent for runs in RESULTS.rglob("runs")]
TABLES = sorted({path for name in NAMES for one in WITH_RUNS for path in one.rglob(f"{name}.csv")})
TESTS = sorted(RESULTS.rglob("*_tests.csv"))
HIGHER = ("dice",)
MARGIN = {"hd95": 1.0}


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def number(text):
    return float(text) if text else math.nan


def scores(table, column, methods):
    """{method: array (patients, seeds)} of the nearest runs, of the seeds that all methods have."""
    folder = next(parent for parent in table.parents if parent in WITH_RUNS)
    found = defaultdict(lambda: defaultdict(list))
    network = NETWORKS.get(table.stem.removesuffix("_tests"), "unet")
    for path in (folder / "runs").rglob("evaluation/cases.csv"):
        run, *after = path.relative_to(folder / "runs").parts[:-2]
        name, _, seed = run.removeprefix(f"{network}_").rpartition("_seed")
        name = "+".join([name, *after[1:]])  # calibrated/temperature_all
        if run.startswith(f"{network}_") and name in methods:
            for row in rows_of(path):
                found[name][int(seed), row["patient"]].append(number(row[column]))
    alone = [name for name in methods if not name.endswith("+ensemble")]
    seeds = sorted(set.intersection(*({seed for seed, _ in found[name]} for name in alone)))
    patients = sorted({patient for _, patient in found[methods[0]]})
    return {
        name: np.array(
            [[mean(found[name][s, p]) for s in (seeds if name in alone else [0])] for p in patients]
        )
        for name in methods
    }


def mean(values):
    values = [value for value in values if not math.isnan(value)]
    return sum(values) / len(values) if values else math.nan


def estimate(cells):
    """Mean, standard error and degrees of freedom; see docs/reproduce.md."""
    cells = [row for row in cells if not all(math.isnan(value) for value in row)]
    patients, seeds = [mean(row) for row in cells], [mean(col) for col in zip(*cells, strict=True)]
    parts = [(np.var(m, ddof=1) / len(m), len(m) - 1) for m in (patients, seeds) if len(m) > 1]
    total = sum(variance for variance, _ in parts)
    freedom = total**2 / sum(variance**2 / df for variance, df in parts) if total else math.inf
    return mean(patients), math.sqrt(total), freedom, patients


def interval(cells):
    center, error, freedom, _ = estimate(cells)
    half = stats.t.ppf(0.975, freedom) * error
    return center - half, center + half


def holm(values):
    corrected, highest = dict.fromkeys(values, 0.0), 0.0
    for k, key in enumerate(sorted(values, key=values.get)):
        highest = max(highest, min(1.0, values[key] * (len(values) - k)))
        corrected[key] = highest
    return corrected


def difference_p(cells):
    """By Wilcoxon's test over patients where there is one training, else by the t test of `estimate`."""
    center, error, freedom, patients = estimate(cells)
    if not np.round(patients, 6).any():  # a temperature changes no label
        return 1.0
    if cells.shape[1] == 1:
        return stats.wilcoxon(np.round(patients, 6)).pvalue
    return 2 * stats.t.sf(abs(center) / error, freedom)


@pytest.mark.parametrize("path", TABLES, ids=lambda path: str(path.relative_to(RESULTS)))
def test_means_and_intervals_agree(path):
    """Per structure, metric and method."""
    rows = rows_of(path)
    methods = list(dict.fromkeys(row["method"] for row in rows))
    for metric, structure in dict.fromkeys((row["metric"], row["structure"]) for row in rows):
        column = metric if structure == "mean" else f"{metric}_{structure}"
        cells = scores(path, column, methods)
        for row in rows:
            if (row["metric"], row["structure"]) == (metric, structure):
                low, high = interval(cells[row["method"]])
                expected = [estimate(cells[row["method"]])[0], low, high]
                written = [number(row[key]) for key in ("mean", "low", "high")]
                assert written == pytest.approx(expected, abs=2e-6), row
                assert int(row["seeds"]) == cells[row["method"]].shape[1]


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(RESULTS)))
def test_tests_and_decisions_agree(path):
    """Difference, interval, p, its correction, equivalence, effect, and what they decide."""
    groups = defaultdict(dict)
    for row in rows_of(path):
        groups[row["metric"]][row["method"]] = row
    for metric, rows in groups.items():
        cells = scores(path, metric, ["nacl", *rows])
        sign = 1 if metric in HIGHER else -1
        margin = MARGIN.get(metric, 0.01)
        p, equivalent, effect = {}, {}, {}
        for name in rows:
            difference = cells["nacl"] - cells[name]
            center, error, freedom, patients = estimate(difference)
            p[name] = difference_p(difference)
            equivalent[name] = stats.t.sf((margin - abs(center)) / error, freedom) if error else 0.0
            kept = [value for value in np.round(patients, 6) if value]
            walsh = [a + b for a, b in combinations_with_replacement(kept, 2)]
            total = sum(np.sign(walsh))  # their signs add up to Wilcoxon's signed ranks
            effect[name] = sign * total / max(len(kept) * (len(kept) + 1) / 2, 1)
            written = [number(rows[name][key]) for key in ("difference", "low", "high")]
            assert written == pytest.approx([center, *interval(difference)], abs=2e-6)
        for name, row in rows.items():
            p_holm, p_equivalent = holm(p)[name], holm(equivalent)[name]
            written = [number(row[key]) for key in ("p", "p_holm", "p_equivalent", "effect")]
            assert written == pytest.approx([p[name], p_holm, p_equivalent, effect[name]], abs=2e-6)
            slightly = "slightly " if p_equivalent < 0.05 else ""
            decision = "equivalent" if slightly else "cannot tell"
            if p_holm < 0.05:
                decision = slightly + ("better" if effect[name] > 0 else "worse")
            assert row["decision"] == decision, (metric, name)


@pytest.mark.parametrize(
    "path", sorted(RESULTS.rglob("figure2.csv")), ids=lambda path: str(path.relative_to(RESULTS))
)
def test_ranks_agree(path):
    """Ranks of means, and of every patient and training; per metric and over the metrics."""
    rows = rows_of(path)
    methods = list(dict.fromkeys(row["method"] for row in rows))
    structures = [row["structure"] for row in rows_of(path.with_name("table1.csv"))]
    names = {
        metric: [f"{metric}_{name}" for name in dict.fromkeys(structures) if name != "mean"]
        for metric in ("dice", "hd95")
    } | {metric: [metric] for metric in ("ece_foreground", "cece_foreground")}
    ranks = {"sum-rank": {}, "mean-case-rank": {}}
    for metric, columns in names.items():
        by_means, by_cells = [], []
        for column in columns:
            cells = np.stack([x.ravel() for x in scores(path, column, methods).values()])
            cells = np.round(-cells if metric in HIGHER else cells, 6)
            by_means.append(stats.rankdata(np.nanmean(cells, axis=1)))
            whole = cells[:, ~np.isnan(cells).any(axis=0)]
            by_cells.append(np.mean([stats.rankdata(cell) for cell in whole.T], axis=0))
        ranks["sum-rank"][metric] = np.mean(by_means, axis=0)
        ranks["mean-case-rank"][metric] = np.mean(by_cells, axis=0)
    for of_rule in ranks.values():
        of_rule["global"] = np.mean(list(of_rule.values()), axis=0)
    for row in rows:
        expected = ranks[row["rule"]][row["metric"]][methods.index(row["method"])]
        assert number(row["rank"]) == pytest.approx(expected, abs=2e-6), row


@pytest.mark.parametrize(
    "path", sorted(RESULTS.rglob("claims.csv")), ids=lambda path: str(path.relative_to(RESULTS))
)
def test_verdicts_of_claims_agree(path):
    """Better than each of the paper's six rivals, trained or not, and than the controls."""
    decided = 0
    for row in rows_of(path):
        if row["claim"].startswith("better calibrated") and row["other"]:
            rivals = ["dice_ce", "focal", "ecp", "label_smoothing", "svls", "mbls"]
            if row["source"] == "control":
                rivals = ["dice_ce" if "CE+DSC" in row["claim"] else "cross_entropy"]
            if row["claim"].endswith("with a temperature"):
                rivals = [f"{rivals[0]}+temperature_{region}" for region in ("all", "union")]
            runs = [run.name.partition("_")[2] for run in path.with_name("runs").iterdir()]
            trained = [name for name in rivals if f"{name.partition('+')[0]}_seed0" in runs]
            cells = scores(path, row["metric"], ["nacl", *trained])
            p, equivalent, gaps = {}, {}, {}
            for name in trained:
                difference = cells["nacl"] - cells[name]
                center, error, freedom, _ = estimate(difference)
                gaps[name], p[name] = center, difference_p(difference)
                equivalent[name] = stats.t.sf((0.01 - abs(center)) / error, freedom)
            better = sum(holm(p)[name] < 0.05 and gaps[name] < 0 for name in trained)
            against = sum(
                (holm(p)[name] < 0.05 and gaps[name] > 0)
                or (holm(p)[name] >= 0.05 and holm(equivalent)[name] < 0.05)
                for name in trained
            )
            verdict = "does not hold" if against else "cannot tell"
            verdict = "holds" if better == len(rivals) else verdict
            assert (row["verdict"], number(row["for"]), number(row["against"])) == (
                *(verdict, better, against),
            )
            decided += 1
    assert decided
