"""The comparison of penalties takes what it is of, and nothing beside it."""

import shutil
from itertools import product

import numpy as np
import pandas as pd
import pytest
import scipy
import torch
from statsmodels.stats.multitest import multipletests

from nacl_monai.errors import InputError
from nacl_monai.evaluations.statistics import cells_of, difference
from nacl_monai.metrics.bins import CalibrationBins
from nacl_monai.metrics.decisions import Decisions
from nacl_monai.metrics.pooled import pooled_error
from nacl_monai.metrics.record import Record
from studies.penalty import leading
from studies.penalty.comparison import (
    MEANS,
    TESTED,
    collected,
    compared,
    evaluations,
    joined,
    written,
)
from studies.penalty.pairs import tested as pairs_of
from studies.penalty.pairs import text
from tests.studies import test_committed


def test_runs_of_another_network_are_not_mixed_in(tmp_path):
    """Their names end alike, and their seeds would count as seeds of this one."""
    for network in ("unet", "unet3d", "unet_authors"):
        folder = tmp_path / f"{network}_nacl_seed0/evaluation"
        folder.mkdir(parents=True)
        (folder / "cases.csv").touch()

    for network in ("unet", "unet3d"):
        folder = tmp_path / f"{network}_nacl_seed0/evaluation"
        assert list(evaluations(tmp_path, network)) == [("nacl", 0, folder)]


def test_evaluation_of_other_weights_is_refused(grid, tmp_path):
    """A training that went on has other weights than its calibrators, until they are fitted again."""
    run = tmp_path / "unet_nacl_seed1"
    shutil.copytree(grid / "acdc" / run.name, run)
    (run / "model.pt").write_bytes(b"trained on")

    with pytest.raises(InputError, match="seed1/.*is of another model.pt than the run's; evaluate"):
        collected(tmp_path)


def test_methods_with_fewer_trainings_are_not_tested():
    """A pair has the seeds of both, so one training of a loss would leave one of all others."""
    trained = [("nacl_mixed", 3), ("svls", 3), ("focal", 1)]
    cells = [
        {"method": name, "seed": seed, "patient": patient, "dataset": "acdc"}
        for name, seeds in trained
        for seed, patient in product(range(seeds), range(8))
    ]
    scores = {name: 0.1 + 0.01 * pd.Series(range(len(cells))) for name in TESTED}
    found = dict(compared(pd.DataFrame(cells).assign(**scores), {}))

    assert set(found) == {"others"}
    assert set(found["others"].tests["method"]) == {"svls"}
    assert set(found["others"].tests["trainings"]) == {3}


def records(rng, methods, seeds=3, people=20):
    """Evaluations of two cases of each person: bins near the prediction, and two structures."""
    names = [f"p{k:02}_{side}" for k in range(people) for side in "lr"]
    difficult = np.repeat(rng.normal(0, 0.02, people), 2)[:, None]
    found = {}
    for method, gap in methods.items():
        for seed in range(seeds):
            counts = rng.integers(50, 150, (len(names), 6))
            means = np.linspace(0.5, 0.95, 6)
            accuracy = means - gap - difficult + rng.normal(0, 0.01, (len(names), 1))
            hits = rng.binomial(counts, accuracy.clip(0, 1))
            sums = [counts, hits, counts * means]
            bins = CalibrationBins(*(torch.as_tensor(part)[:, None, None] for part in sums))
            labeled = torch.as_tensor(rng.uniform(50, 150, (len(names), 2)))
            missed = labeled * torch.as_tensor(rng.beta(2, 20 / (1 + 10 * gap), labeled.shape))
            rest = [labeled * torch.as_tensor(rng.uniform(0.8, 1, labeled.shape)) for _ in range(6)]
            volumes = Decisions(rest[0], labeled, *rest[1:5], missed, rest[5])
            found[method, seed] = Record(
                *(names, ["near"], ["top-1"], bins),
                patients=[name[:3] for name in names],
                decisions=volumes,
                definition={"decisions": {"structures": ["a", "b"]}},
            )
    return found


RECORDS = records(np.random.default_rng(0), {"nacl_mixed": 0.02, "nacl": 0.05})
CELLS = [
    {"case": case, "patient": patient, "dataset": "acdc", "method": method, "seed": seed}
    for (method, seed), record in RECORDS.items()
    for case, patient in zip(record.cases, record.patients, strict=True)
]
SCORES = np.random.default_rng(1).random((len(MEANS), len(CELLS))).round(6)
CASES = pd.DataFrame(CELLS).assign(**dict(zip(MEANS, SCORES, strict=True)))


def test_numbers_of_kept_bins_are_those_of_the_evaluation():
    """And they are the mean of what stands for the scores of people."""
    arrays = leading.packed(RECORDS)
    numbers = leading.numbers(arrays).set_index(["method", "seed"])

    for key, record in RECORDS.items():
        for name in leading.POOLED:
            assert numbers.loc[key, name] == pytest.approx(record.pooled_numbers[name].value)
    for name in leading.LEADING:
        means = leading.scores(arrays, name).groupby("seed").mean()
        for method, seed in RECORDS:
            assert means.loc[seed, method] == pytest.approx(numbers.loc[(method, seed), name])


def test_spread_of_pseudo_values_is_the_jackknife_s():
    """(P − 1) / P times the squared distances of the numbers without one person, by a loop."""
    record = RECORDS["nacl", 1]
    scores = leading.scores(leading.packed(RECORDS), "ece_near")["nacl"].xs(1, level="seed")
    without = []
    for person in scores.index:
        kept = [owner != person for owner in record.patients]
        remaining = [owner for owner, keep in zip(record.patients, kept, strict=True) if keep]
        without.append(pooled_error(record.sums[torch.tensor(kept), 0], remaining, resamples=1).raw)
    apart = np.array(without) - np.mean(without)

    assert scores.var(ddof=1) / 20 == pytest.approx((apart**2).sum() * 19 / 20)


def test_numbers_that_lead_are_tested_and_made_again(tmp_path):
    """From what is written, by code of its own; the difference is that of what is shown."""
    arrays = leading.packed(RECORDS)
    list(written(CASES, arrays, pd.DataFrame(), tmp_path))

    tests = pd.read_csv(tmp_path / "tests.csv").set_index(["family", "metric"])
    numbers = pd.read_csv(tmp_path / "numbers.csv").groupby("method").mean()
    for name in leading.LEADING:
        gap = numbers.loc["nacl_mixed", name] - numbers.loc["nacl", name]
        assert tests.loc[("as trained", name), "difference"] == pytest.approx(gap, abs=2e-6)
    assert tests.loc[("as trained", "ece_near"), "decision"] == "better"
    assert tests.loc[("as trained", "contour_misses"), "decision"] == "lower"
    assert "† " not in (tmp_path / "comparison.md").read_text(encoding="utf-8")
    test_committed.test_penalty_s_means_agree(tmp_path)
    test_committed.test_penalty_s_tests_agree(tmp_path)
    test_committed.test_penalty_s_table_and_tests_are_made_again(tmp_path, tmp_path / "again")


def test_methods_that_are_added_give_the_tables_of_all_at_once(tmp_path):
    """Two in turn; of other cases or numbers, or twice, a method is refused, so that none is lost."""
    whole, turns = tmp_path / "whole", tmp_path / "turns"
    list(written(CASES, leading.packed(RECORDS), pd.DataFrame(), whole))
    for method in ("nacl_mixed", "nacl"):
        cases = CASES[CASES["method"] == method]
        arrays = leading.packed({key: part for key, part in RECORDS.items() if key[0] == method})
        if method == "nacl":
            with pytest.raises(InputError, match=r"turns: is of other cases; evaluate the runs on"):
                joined(cases[cases["patient"] != "p00"], arrays, turns)
            with pytest.raises(InputError, match=r"turns: has other numbers than these runs;"):
                joined(cases, {**arrays, "promised": arrays["counts"]}, turns)
            (turns / "evaluated.csv").touch()
            with pytest.raises(InputError, match=r"turns: has other numbers than these runs;"):
                joined(cases, arrays, turns)
            (turns / "evaluated.csv").unlink()
            cases, arrays = joined(cases, arrays, turns)
            with pytest.raises(InputError, match=r"turns: has nacl_mixed; leave its runs out"):
                joined(cases, arrays, turns)
        list(written(cases, arrays, pd.DataFrame(), turns))

    for file in whole.iterdir():
        assert (turns / file.name).read_bytes() == file.read_bytes(), file.name


@pytest.mark.slow
def test_intervals_of_differences_near_the_prediction_cover():
    """Two methods that are alike on average, 20 people, three trainings, 300 simulations."""
    rng, covered = np.random.default_rng(2), []
    for _ in range(300):
        arrays = leading.packed(records(rng, {"a": 0.05, "b": 0.05}))
        scores = leading.scores(arrays, "ece_near")
        low, high = difference(*(cells_of(scores[name]) for name in "ab")).interval()
        covered.append(low <= 0 <= high)

    assert np.mean(covered) >= 0.93 - 0.045


def test_all_pairs_are_one_family_of_tests_by_hand():
    """Of the committed files: two losses by formulas, a contour by leaving out each person in a loop."""
    folder = test_committed.RESULTS / "hippocampus/distance"
    cases, arrays = pd.read_csv(folder / "cases.csv"), dict(np.load(folder / "leading.npz"))
    found = pd.read_csv(folder / "pairs.csv").set_index(["number", "method", "other"])
    pairs = [("nll_all", "nacl", "svls"), ("contour_offset", "nacl", "svls")]

    for number, *losses in pairs:
        tables = [by_hand(cases, arrays, f"{loss}+distance_all", number) for loss in losses]
        row = found.loc[(number, *(f"{loss}+distance_all" for loss in losses))]
        differences = tables[0].mean(1) - tables[1].mean(1)
        parts = [differences.var(ddof=1) / len(differences)]
        parts += [table.mean(0).var(ddof=1) / table.shape[1] for table in tables]
        freedom = sum(parts) ** 2 / sum(
            part**2 / n for part, n in zip(parts, (len(differences) - 1, 2, 2), strict=True)
        )
        t = differences.mean() / np.sqrt(sum(parts))
        assert row["difference"] == pytest.approx(differences.mean(), abs=1e-6)  # six decimals
        assert row["p"] == pytest.approx(2 * scipy.stats.t.sf(abs(t), freedom), abs=1e-6)
    for _, family in found.groupby(level="number"):
        assert len(family) == 10
        expected = multipletests(family["p"], method="holm")[1]
        np.testing.assert_allclose(family["p_holm"], expected, atol=1e-5)
    assert found.loc[("nll_all", "nacl+distance_all", "svls+distance_all"), "lower_in"] == 1


@pytest.mark.parametrize("dataset", ["hippocampus", "acdc"])
def test_committed_pairs_are_made_again(dataset):
    folder = test_committed.RESULTS / dataset / "distance"
    cases, arrays = pd.read_csv(folder / "cases.csv"), dict(np.load(folder / "leading.npz"))
    found = pd.read_csv(folder / "pairs.csv").set_index(["number", "method", "other"])

    again = pairs_of(cases, arrays).set_index(found.index.names)
    numbers = ["difference", "low", "high", "p", "p_holm", "share"]
    np.testing.assert_allclose(again[numbers], found[numbers], atol=2e-6)
    assert text(found.reset_index()) == (folder / "pairs.md").read_text(encoding="utf-8")


def by_hand(cases, arrays, method, number):
    """Scores of people (rows) and trainings."""
    if number in cases:
        table = cases[cases["method"] == method]
        return table.groupby(["patient", "seed"])[number].mean().unstack().to_numpy()
    people, columns = np.unique(arrays["patients"]), []
    for k in np.flatnonzero(arrays["methods"] == method):
        predicted = arrays["predicted"][k] > 0
        missed, labeled = (np.where(predicted, arrays[n][k], 0) for n in ("missed", "labeled"))

        def offset(chosen, missed=missed, labeled=labeled):
            return abs((missed[chosen].sum(0) / labeled[chosen].sum(0)).mean() - 0.05)

        whole = offset(np.full(len(missed), True))
        without = [offset(arrays["patients"] != name) for name in people]
        pseudo = len(people) * whole - (len(people) - 1) * np.array(without)
        columns.append(pseudo - pseudo.mean() + whole)
    return np.stack(columns, 1)
