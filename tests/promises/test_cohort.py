"""New cases together: mean Dice by a line, and whether they are like those who calibrated."""

import json
from itertools import combinations

import numpy as np
import pytest
from mapie.exchangeability_testing import PValuePermutationTest
from scipy import stats
from scipy.ndimage import distance_transform_edt

from nacl_monai.cli import main
from nacl_monai.promises.cases import curves_of_arrays
from nacl_monai.promises.cohort import known_of, mean_dice, permutation_test, statistics
from tests.predictions.conftest import Study
from tests.promises.test_commands import PATIENTS, blobs, run
from tests.same import same_bits

SPACING = (2.0, 1.0, 1.0)


def largest_z(both, number):
    """The test statistic of the last rows, as a slow loop."""
    found = []
    for values in both.T:
        column = [(values < value).sum() for value in values]
        z = [(value - np.mean(column)) / np.std(column) for value in column]
        found.append(abs(sum(z[-number:]) / number))
    return max(found)


def test_p_value_is_the_share_of_all_divisions():
    rng = np.random.default_rng(0)
    old, new = rng.normal(size=(6, 3)), rng.normal(0.8, size=(4, 3))
    both = np.concatenate([old, new])
    asked = largest_z(both, 4)
    chosen = [list(part) for part in combinations(range(10), 4)]
    parts = ([np.delete(both, part, 0), both[part]] for part in chosen)
    divisions = [largest_z(np.concatenate(part), 4) for part in parts]
    exact = np.mean(np.array(divisions) >= asked - 1e-9)

    # Chance, of drawn permutations.
    assert permutation_test(old, new)[0] == pytest.approx(exact, abs=0.015)


def test_p_value_is_mapies_on_equal_scores():
    rng = np.random.default_rng(1)
    old, new = rng.normal(size=40), rng.normal(0.6, size=10)
    test = PValuePermutationTest(random_state=0, num_permutations=4000, warn=False)
    test.test_statistic = lambda scores: abs(scores[-10:].mean() - scores[:-10].mean())
    test._compute_non_conformity_scores = lambda scores, _: scores
    theirs = test.run(stats.rankdata(np.concatenate([old, new])), None).p_values[-1]

    ours, most = permutation_test(old[:, None], new[:, None])

    # Four standard errors.
    assert ours == pytest.approx(theirs, abs=4 * np.sqrt(theirs * (1 - theirs) / 4000))
    assert most == 0


@pytest.mark.parametrize("new", [1, 5, 20])
def test_p_values_of_exchangeable_patients_are_uniform(new):
    """Of skewed statistics that go together, in 500 divisions."""
    rng = np.random.default_rng(new)
    mixing = rng.normal(size=(6, 6))
    p_values = []
    for seed in range(500):
        drawn = np.exp(rng.normal(size=(19 + new, 6)) @ mixing / 4)
        p_values.append(permutation_test(drawn[new:], drawn[:new], draws=99, seed=seed)[0])

    if new > 1:  # the rank of a single one is one of twenty
        assert stats.kstest(p_values, "uniform").pvalue > 1e-3
    for level in (0.01, 0.05, 0.1):
        often = stats.binomtest(sum(np.array(p_values) <= level), 500, level, "greater")
        assert often.pvalue > 1e-3


def test_what_moved_is_named():
    rng = np.random.default_rng(2)
    old, new = rng.normal(size=(30, 4)), rng.normal(size=(10, 4))
    new[:, 2] += 3

    assert permutation_test(old, new) == (1e-4, 2)


def test_a_statistic_that_is_the_same_for_all_says_nothing():
    assert permutation_test(np.ones((8, 1)), np.ones((3, 1)))[0] == 1


@pytest.mark.parametrize("new", [1, 20])
def test_interval_of_mean_dice_has_its_coverage(new):
    """Of a true line with normal noise, also far from the patients who calibrated."""
    rng, inside = np.random.default_rng(new), 0
    for _ in range(2000):
        x, later = rng.normal(0.8, 0.03, 12), rng.normal(0.75, 0.03, new)
        dice, true = (0.3 + 0.5 * part + rng.normal(0, 0.03, len(part)) for part in (x, later))
        found = mean_dice(dice, x, later)
        inside += found.low <= true.mean() <= found.high

    assert stats.binomtest(inside, 2000, 0.95).pvalue > 1e-3


def test_mean_dice_is_that_of_linear_algebra():
    rng = np.random.default_rng(3)
    x, new = rng.uniform(0.6, 0.9, 15), rng.uniform(0.5, 0.9, 4)
    dice = x * 0.8 + rng.normal(0, 0.05, 15)
    design, at = np.stack([np.ones(15), x], 1), np.array([1, new.mean()])
    line, (squares,), *_ = np.linalg.lstsq(design, dice, rcond=None)
    variance = squares / 13 * (1 / 4 + at @ np.linalg.inv(design.T @ design) @ at)
    half = stats.t.ppf(0.975, 13) * np.sqrt(variance)

    found = mean_dice(dice, x, new)

    assert found == pytest.approx((at @ line, at @ line - half, at @ line + half))


def test_patients_without_a_prediction_are_in_no_line():
    x = np.array([0.0, 0.7, 0.8, 0.9, 0.85])

    assert mean_dice(np.r_[1, x[1:]], x, np.array([0.0, 0.8])).value == pytest.approx(0.8)
    assert mean_dice(x[1:], x[1:], np.zeros(2)) is None
    assert mean_dice(x[:3], x[:3], np.ones(2)) is None


def test_statistics_are_those_of_voxels_and_know_no_label():
    """Each against a sum over voxels; no label changes them, and they are 0 of what is not predicted."""
    rng = np.random.default_rng(4)
    inside = np.zeros((2, 9, 10, 11), np.float32)
    inside[0, 2:7, 3:8, 2:9] = 0.6
    inside[0] += rng.uniform(0, 0.3, inside[0].shape).astype(np.float32)
    inside[1] = 0.1
    probs = np.stack([1 - inside, inside], 1)
    labels = rng.integers(0, 2, (2, *inside.shape))
    found, again = (
        statistics(curves_of_arrays(probs, label, spacing=SPACING, channels_as_given=True))
        for label in labels
    )

    p = inside[0].astype(float)
    predicted = p > 0.5
    away = distance_transform_edt(~predicted, SPACING)
    near, size = away <= 3, predicted.sum()
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    expected = {
        "expected Dice": 2 * p[predicted].sum() / (size + p[near].sum()),
        "volume": np.log(size * 2 / 1000),
        "probability inside": p[predicted].mean(),
        "probability near": p[near & ~predicted].sum() / size,
        "probability far away": p[~near].sum() / size,
        "entropy near": entropy[near].mean(),
        "surface": ((away > 0) & (away <= 1)).sum() / size ** (2 / 3),
    }
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert found[name][0, 0] == pytest.approx(value, rel=5e-3), name  # fine bins
        assert found[name][1, 0] == 0
        same_bits(found[name], again[name], "the same volume twice")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a promise by twenty patients."""
    old = Study(tmp_path_factory.mktemp("old"), blobs(0, 40))
    args = ["promise", old.nnunet(), old.labels, *PATIENTS, "--no-pictures"]
    return run(old.root / "promise", *args)


def triage(folder, root, study, capsys, *args):
    """Exit code, what is printed and the page."""
    command = ["triage", folder, study.nnunet(), *PATIENTS, *args, "--no-pictures", "--output"]
    code = main([*map(str, [*command, root / "triage"])])
    return code, capsys.readouterr(), root / "triage/page.html"


def test_triage_ends_with_what_it_knows_of_all_cases(folder, tmp_path, capsys):
    study = Study(tmp_path, blobs(40, 12))
    code, (out, _), page = triage(folder, tmp_path, study, capsys, "--alarm")

    mean, alike = out.splitlines()[-2:]
    assert code == 0
    assert mean.startswith("These 12 cases of 6 patients: mean Dice 0.")
    assert mean.endswith("if they are like those who calibrated, and images are unchanged.")
    assert alike.startswith("No sign that they differ from those who calibrated (p = 0.")
    assert f"<p>{mean}</p><p>{alike}</p>" in page.read_text(encoding="utf-8")


def test_alarm_has_its_exit_code_and_says_what_moved(folder, tmp_path, capsys):
    """Of probabilities that are far less sure than those who calibrated; all files are there."""
    drawn = blobs(40, 12).items()
    unsure = {f"q{name}": (p**0.3 / (p**0.3).sum(0), label) for name, (p, label) in drawn}
    study = Study(tmp_path, unsure)
    code, (out, error), page = triage(folder, tmp_path, study, capsys, "--alarm")
    silent, _, _ = triage(folder, tmp_path, study, capsys)

    assert (code, silent) == (3, 0)
    last = out.splitlines()[-1]
    assert last.startswith("They differ from those who calibrated (p = 0.000")
    assert "moved most, from" in last
    assert "moved most" in error
    assert "p = 0.000" in error
    assert page.is_file()


def test_promise_keeps_no_name_with_its_statistics(folder):
    record = json.loads((folder / "promise.json").read_text())

    assert record["cohort"].keys() == record["definition"]["structures"].keys()
    for of_structure in record["cohort"].values():
        assert {len(values) for values in of_structure.values()} == {20}


def test_statistics_are_means_over_the_cases_of_a_patient():
    probs, labels = zip(*blobs(0, 4).values(), strict=True)
    patients = ["a", "b", "a", "b"]
    curves = curves_of_arrays(probs, labels, cases=list("wxyz"), patients=patients)

    means = known_of(curves, labeled=True)["class_1"]

    dice = curves.dice[:, 0]
    assert means["Dice"] == pytest.approx([dice[[0, 2]].mean(), dice[[1, 3]].mean()], abs=1e-6)
