"""The verdict says what the tests say, and no more."""

import pandas as pd
import pytest

from nacl_monai.paper import EXHIBITS, read_results, verdict


def rewrite(grid, name, **values):
    """Gives a run other means; what they follow from goes."""
    path = grid / "hippocampus" / name / "evaluation" / "cases.csv"
    table = pd.read_csv(path, dtype={"case": str, "patient": str}).assign(**values)
    structures = table.filter(regex="^(dice|hd95)_").columns
    table.assign(patient=table["case"]).drop(columns=structures).to_csv(path, index=False)
    path.with_name("bins.npz").unlink()


@pytest.fixture
def say(grid_copy):
    """The verdict on two methods of which the metrics are given."""

    def write(nacl, dice_ce):
        rewrite(grid_copy, "unet_nacl_seed0", **nacl)
        rewrite(grid_copy, "unet_dice_ce_seed0", **dice_ce)
        return verdict(EXHIBITS["table1"].select(read_results([grid_copy])), "hippocampus")

    return write


def test_sentence_says_what_the_tests_say(say):
    """Six patients, all for NACL in ECE and against it in DSC, p = 2/2⁶ < 5 %; the rest is undecided."""
    six = [0.01 * k for k in range(1, 7)]
    text = say(
        {
            "dice": 0.7,
            "ece_foreground": 0.05,
            "cece_foreground": 0.1,
            "ece_union": 0.3,
            "hd95": 2.0,
        },
        {
            "dice": [0.8 + x for x in six],
            "ece_foreground": [0.1 + x for x in six],
            "cece_foreground": 0.1,
            "ece_union": [0.2 + x for x in six],
            "hd95": [2 + x * (-1) ** k for k, x in enumerate(six)],
        },
    )

    assert text.startswith(
        "On Hippocampus (6 test patients, 1 training per method), "
        "NACL's ECE of 0.050 is the best of 2: better than CE+DSC; "
        "its CECE of 0.100 is the best of 2: not told apart from CE+DSC; "
        "its ECE over prediction ∪ label of 0.300 is second of 2: worse than CE+DSC; "
        "its DSC of 0.700 is second of 2: worse than CE+DSC; its HD95 of 2.00 is"
    )
    assert text.endswith("not told apart from CE+DSC.")
    assert text.count(". ") == 0


def test_no_verdict_without_nacl(grid):
    """Where NACL was not run there is nothing to say about it."""
    results = EXHIBITS["table1"].select(read_results([grid]), losses=["dice_ce"])

    assert verdict(results, "acdc").endswith("there is no run of NACL to judge.")


def test_method_alone_has_nothing_beside_it(grid):
    """It has a score and no other method to be better than."""
    results = EXHIBITS["table1"].select(read_results([grid]), losses=["nacl"])

    assert "has nothing beside it" in verdict(results, "acdc")
