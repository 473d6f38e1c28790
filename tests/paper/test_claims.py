"""Each claim is judged by the decisions of its comparisons, and by nothing else."""

import re
from typing import ClassVar

import pandas as pd
import pytest

from nacl_monai.paper import EXHIBITS
from nacl_monai.paper.claims import (
    CANNOT_TELL,
    FAILS,
    HOLDS,
    NO_RUN,
    NOT_TESTED,
    Claim,
    claims,
    claims_to_markdown,
    judge_claims,
    judge_comparisons,
)
from nacl_monai.paper.grid import method, read_method
from nacl_monai.reports import paired_tests, patient_scores

RIVALS = ["dice_ce", "focal", "svls"]


def comparisons(*decisions, differences=None, trainings=3):
    """Paired tests of NACL against as many others."""
    differences = differences or [0.01 * k for k in range(len(decisions))]
    return pd.DataFrame(
        {
            "reference": "nacl",
            "other": RIVALS[: len(decisions)],
            "difference": differences,
            "low": [value - 0.01 for value in differences],
            "high": [value + 0.01 for value in differences],
            "patients": 20,
            "trainings": trainings,
            "decision": decisions,
        }
    )


def against(*rivals):
    return (("nacl", rivals),)


def verdict(*decisions, exhibit="table2", trainings=3, rivals=3, **options):
    pairs = against(*RIVALS[:rivals])
    claim = Claim("4.2", "better", exhibit, ("ece_foreground",), pairs, **options)
    return judge_comparisons(claim, comparisons(*decisions, trainings=trainings), -1)["verdict"]


@pytest.mark.parametrize(
    ("decisions", "expected"),
    [
        (("better", "slightly better", "better"), HOLDS),
        (("better", "cannot tell", "better"), CANNOT_TELL),
        (("better", "too few patients", "better"), CANNOT_TELL),
        (("better", "equivalent", "better"), FAILS),
        (("better", "worse", "cannot tell"), FAILS),
        (("better", "slightly worse", "better"), FAILS),
    ],
)
def test_claim_to_be_better_needs_every_comparison(decisions, expected):
    """One that is decided otherwise is enough against it; one that is undecided leaves it open."""
    assert verdict(*decisions) == expected


def test_second_best_may_lose_once():
    """Against one rival, not against two."""
    assert verdict("better", "worse", "better", exceptions=1) == HOLDS
    assert verdict("better", "cannot tell", "better", exceptions=1) == HOLDS
    assert verdict("better", "worse", "cannot tell", exceptions=1) == CANNOT_TELL
    assert verdict("better", "worse", "equivalent", exceptions=1) == FAILS


def test_rival_without_a_run_is_undecided():
    """Every rival that the claim names counts, so that few runs prove nothing."""
    assert verdict("better", "better") == CANNOT_TELL
    assert verdict("worse", exceptions=1) == CANNOT_TELL
    assert verdict("cannot tell", exceptions=1) == CANNOT_TELL
    assert verdict("better", "better", exceptions=1) == HOLDS
    assert verdict("worse") == FAILS
    claim = Claim("", "", "table2", pairs=against(*RIVALS))
    row = judge_comparisons(claim, comparisons("better"), -1)
    assert (row["for"], row["against"], row["undecided"]) == (1, 0, 2)


def test_no_loss_is_shown_by_equivalence_and_not_by_a_missing_difference():
    """Else small data would prove it."""
    claim = next(claim for claim in claims() if "no loss" in claim.text)

    for decision, expected in (
        ("equivalent", HOLDS),
        ("slightly worse", HOLDS),
        ("cannot tell", CANNOT_TELL),
        ("worse", FAILS),
    ):
        assert judge_comparisons(claim, comparisons(decision), 1)["verdict"] == expected


@pytest.mark.parametrize("decision", ["better", "worse", "equivalent"])
def test_ablation_that_was_trained_once_decides_nothing(decision):
    """Another training may say the opposite; the main tables speak of their weights."""
    assert verdict(decision, exhibit="table4", trainings=1, rivals=1) == CANNOT_TELL
    assert verdict(decision, exhibit="table4", trainings=2, rivals=1) != CANNOT_TELL
    assert verdict(decision, exhibit="table2", trainings=1, rivals=1) != CANNOT_TELL


@pytest.mark.parametrize(("direction", "least"), [(1, "focal"), (-1, "svls")])
def test_least_favorable_comparison_is_shown(direction, least):
    """The lowest difference where high is good, the highest where low is good."""
    tests = comparisons("better", "worse", "better", differences=[0.0, -0.02, 0.03])
    row = judge_comparisons(Claim("", "", "table2", pairs=against(*RIVALS)), tests, direction)

    assert row["other"] == least
    assert row["low"] < row["difference"] < row["high"]
    assert (row["for"], row["against"], row["undecided"]) == (2, 1, 0)


@pytest.fixture(scope="module")
def judged(results):
    """The claims about the synthetic grid; read, never changed."""
    return judge_claims(results)


def test_every_claim_has_a_row(judged):
    """With runs, without runs, and those that no test decides; all names are of the menu."""
    assert list(dict.fromkeys(judged["claim"])) == list(
        dict.fromkeys(claim.text for claim in claims())
    )
    for claim in claims():
        assert not claim.exhibit or claim.exhibit in EXHIBITS
        for reference, others in claim.pairs:
            for name in (reference, *others):
                assert read_method(name).name == name
    rows = judged[judged["claim"] == "sharper uncertainty at edges (figure 11)"]
    assert rows["verdict"].tolist() == [NOT_TESTED]


def test_claim_without_runs_says_so(results):
    """An ablation that was not run is not decided."""
    chosen = EXHIBITS["table2"].select(results)
    judged = judge_claims(chosen).set_index("claim")

    assert judged.loc["L1 is better calibrated than L2", "verdict"] == NO_RUN


def test_tests_are_those_of_the_runs(results, judged):
    """The family of a correction is the claim's own rivals."""
    rows = judged.set_index(["claim", "dataset", "metric"])
    row = rows.loc[("better calibrated than every rival", "acdc", "ece_foreground")]
    chosen = EXHIBITS["table2"].select(results, losses=["nacl", "dice_ce", "svls"])
    tests = paired_tests(
        patient_scores(chosen.cases("acdc"), "ece_foreground"), "nacl", "ece_foreground"
    )

    worst = tests.loc[tests["difference"].idxmax()]
    assert row["difference"] == pytest.approx(worst["difference"])
    assert row["other"] == worst.name
    assert row["for"] == tests["decision"].isin(["better", "slightly better"]).sum()


class Chosen:
    """What judging asks of runs: one training of every method, 6 patients and their DSC."""

    folders: ClassVar = {"one": "run"}
    datasets: ClassVar = ["acdc"]

    def __init__(self, scores):
        self.scores = scores

    def select(self, *_, **__):
        return self

    def cases(self, _):
        frames = [
            pd.DataFrame({"method": name, "patient": range(6), "dice": dice})
            for name, dice in self.scores.items()
        ]
        return pd.concat(frames, ignore_index=True).assign(seed=0, network="unet", fraction=1.0)


def test_comparisons_with_several_references_are_one_family():
    """All 6 patients of one sign are p = 2 / 2⁶ = 0.03, and three times that is above 5 %."""
    mixed = [0.2, -0.2, 0.2, -0.2, 0.2, -0.2]
    gaps = {1: [-0.1, -0.11, -0.12, -0.13, -0.14, -0.15], 2: mixed, 3: mixed}

    def judged(sigmas):
        scores = {}
        for sigma in sigmas:
            scores[method("svls", sigma=float(sigma)).name] = [0.5] * 6
            name = method("nacl", prior="gaussian", sigma=float(sigma)).name
            scores[name] = [0.5 + gap for gap in gaps[sigma]]
        table = judge_claims(Chosen(scores))
        return table[table["claim"] == "better than SVLS with the same σ"].iloc[0]

    alone, together = judged([1]), judged([1, 2, 3])
    assert (alone["against"], alone["undecided"]) == (1, 2)
    assert (together["against"], together["undecided"]) == (0, 3)


def test_networks_and_fractions_are_judged_apart(results, judged):
    """A row for each that has runs."""
    for text, exhibit in (("whatever the network", "figure8"), ("fewer patients", "figure9")):
        rows = judged[judged["claim"].str.contains(text) & judged["setting"].notna()]
        experiments = EXHIBITS[exhibit].select(results).folders
        setups = {(e.setup.network, e.setup.fraction) for e in experiments}
        assert 0 < rows["setting"].nunique() <= len(setups)


def test_table_has_a_line_per_row_and_the_margins(judged):
    """In words; nothing is NaN."""
    lines = claims_to_markdown(judged).splitlines()

    assert len([line for line in lines if line.startswith("|")]) == 2 + len(judged)
    assert not re.search(r"\bnan\b", "\n".join(lines))
    assert "0.01 of ECE" in lines[-1]
