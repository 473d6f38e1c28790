"""The verdict says what the tests say, and no more."""

import shutil

import pandas as pd
import pytest

from nacl_monai.paper import EXHIBITS, read_results, verdict
from nacl_monai.paper.verdicts import _listed


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


def test_sentences_say_what_the_tests_say(say):
    """Six patients, all for NACL in ECE and against it in DSC, p = 2/2⁶ < 5 %."""
    six = [0.01 * k for k in range(1, 7)]
    text = say(
        {"dice": 0.7, "ece_foreground": 0.05, "hd95": 2.0},
        {
            "dice": [0.8 + x for x in six],
            "ece_foreground": [0.1 + x for x in six],
            "hd95": [2 + x * (-1) ** k for k, x in enumerate(six)],
        },
    )

    assert text == (
        "On Hippocampus, NACL's ECE is 0.050, best of 2: better than CE+DSC. Its DSC is 0.700, second "
        "of 2: worse than CE+DSC. The data: 6 test patients, one training per method, so another "
        "training may differ."
    )


def test_undecided_is_said(say):
    """Scores that scatter can't tell; equal ones are as good."""
    text = say(
        {"dice": 0.7, "ece_foreground": 0.05},
        {"dice": 0.7, "ece_foreground": [0.5, 0.0, 0.3, 0.0, 0.3, 0.0]},
    )

    assert "best of 2: not told apart from CE+DSC." in text
    assert "Its DSC is 0.700, best of 2: as good as CE+DSC." in text


def test_verdict_is_three_short_sentences(results):
    """At most 30 words each."""
    for dataset in results.datasets:
        sentences = verdict(EXHIBITS["table1"].select(results), dataset).rstrip(".").split(". ")

        assert len(sentences) <= 3
        assert all(len(sentence.split()) <= 30 for sentence in sentences)


@pytest.mark.parametrize(
    ("names", "others", "words"),
    [
        (["svls"], 1, "SVLS"),
        (["svls", "mbls"], 7, "SVLS and MbLS"),
        (["svls", "mbls", "ecp"], 7, "3 methods"),
        (["svls", "mbls"], 2, "every other method"),
    ],
)
def test_few_methods_are_named_and_many_are_counted(names, others, words):
    """More than two are a number."""
    assert _listed(names, others) == words


def test_no_verdict_without_nacl(grid):
    """Where NACL was not run there is nothing to say about it."""
    results = EXHIBITS["table1"].select(read_results([grid]), losses=["dice_ce"])

    assert verdict(results, "acdc").endswith("there is no run of NACL to judge.")


def test_method_alone_has_nothing_beside_it(grid):
    """It has a score and no other method to be better than."""
    results = EXHIBITS["table1"].select(read_results([grid]), losses=["nacl"])

    assert "with nothing beside it" in verdict(results, "acdc")


def test_method_without_a_common_seed_is_named_and_not_among_the_others(grid_copy):
    """SVLS has seed 0 alone: NACL of seed 1 is compared with CE+DSC, which are not all."""
    shutil.rmtree(grid_copy / "acdc" / "unet_nacl_seed0")
    text = verdict(EXHIBITS["table1"].select(read_results([grid_copy])), "acdc")

    assert "every other method" not in text
    assert text.count("CE+DSC, not compared with SVLS.") == 2


def test_other_seeds_have_nothing_to_compare(grid_copy):
    """NACL has a place by the mean, but nobody is better or worse."""
    for name in ("unet_nacl_seed1", "unet_dice_ce_seed0"):
        shutil.rmtree(grid_copy / "acdc" / name)
    found = EXHIBITS["table1"].select(read_results([grid_copy]), losses=["dice_ce", "nacl"])

    assert "and nothing beside it was trained with the same seed" in verdict(found, "acdc")
