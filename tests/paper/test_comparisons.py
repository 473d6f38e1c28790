"""Paired tests of methods, their table, their picture and their words."""

import shutil

import pandas as pd
import pytest
from matplotlib.colors import to_hex

from nacl_monai.paper import EXHIBITS, compare_methods, read_results
from nacl_monai.paper.comparisons import STYLES, Comparison, comparison_to_markdown, draw_forest
from nacl_monai.reports import paired_tests

CALIBRATION = ["ece_foreground", "cece_foreground"]


def row(**values):
    """A test of the DSC on ACDC."""
    row = {"dataset": "acdc", "metric": "dice", "method": "dice_ce", "patients": 20, "trainings": 1}
    row |= {"difference": 0.01, "low": 0.002, "high": 0.02, "p": 0.01, "p_holm": 0.02}
    return row | {"p_equivalent": 0.5, "effect": 0.5, "decision": "better"} | values


def test_reference_is_tested_against_each_other_method(results):
    """Per dataset and metric."""
    chosen = EXHIBITS["table2"].select(results)
    tests = compare_methods(chosen, CALIBRATION, "nacl").tests

    assert tests.groupby(["dataset", "metric"], sort=False)["method"].agg(list).to_dict() == {
        ("acdc", "ece_foreground"): ["dice_ce", "svls"],
        ("acdc", "cece_foreground"): ["dice_ce", "svls"],
        ("hippocampus", "ece_foreground"): ["dice_ce"],
        ("hippocampus", "cece_foreground"): ["dice_ce"],
    }


def test_every_training_is_compared_with_the_ensemble(calibrated_grid):
    """Which is one result of all seeds; the note says so, where there is one."""
    runs = [f"unet_nacl_seed{seed}" for seed in (0, 1)] + ["unet_nacl_seed0/calibrated/ensemble"]
    tables = [
        pd.read_csv(calibrated_grid / "acdc" / run / "evaluation/cases.csv").groupby("patient")
        for run in runs
    ]
    *trainings, ensemble = (table["ece_foreground"].mean() for table in tables)
    chosen = EXHIBITS["after_training"].select(read_results([calibrated_grid]), losses=["nacl"])
    comparison = compare_methods(chosen, ["ece_foreground"], "nacl")

    found = comparison.tests.set_index("method").loc["nacl+ensemble"]
    expected = sum((training - ensemble).mean() for training in trainings) / 2
    assert found["difference"] == pytest.approx(expected, abs=1e-12)
    assert found["trainings"] == 2
    note = "An ensemble is one result of all trainings, with which each of them is compared."
    assert note in comparison_to_markdown(comparison)
    assert note not in comparison_to_markdown(Comparison("nacl", pd.DataFrame([row()])))


def test_method_alone_has_no_test(results):
    """Neither has a dataset without the reference."""
    chosen = EXHIBITS["table2"].select(results, losses=["nacl"])
    assert compare_methods(chosen, ["ece_foreground"], "nacl").tests.empty

    chosen = EXHIBITS["table2"].select(results, losses=["dice_ce", "svls"])
    assert compare_methods(chosen, ["ece_foreground"], "nacl").tests.empty


def test_method_without_a_seed_in_common_is_named(grid_copy):
    """It has a mean in the table, and no pairs to test."""
    shutil.move(grid_copy / "acdc/unet_svls_seed0", grid_copy / "acdc/unet_svls_seed2")
    chosen = EXHIBITS["table2"].select(read_results([grid_copy]), datasets=["acdc"])

    comparison = compare_methods(chosen, CALIBRATION, "nacl")

    assert set(comparison.tests["method"]) == {"dice_ce"}
    text = comparison_to_markdown(comparison)
    assert "Not compared, for want of a seed in common with NACL: SVLS." in text
    assert "for want" not in comparison_to_markdown(Comparison("nacl", comparison.tests))


def test_significant_is_bold():
    """Below 5 % after Holm's correction, and not at 5 %; very small is said to be so."""
    rows = [row(p_holm=0.0499), row(p_holm=0.05), row(p=0.0001, p_holm=0.0009), row(p_holm=0.001)]
    lines = comparison_to_markdown(Comparison("svls", pd.DataFrame(rows))).splitlines()

    assert "| SVLS against |" in lines[0]
    assert "Difference: SVLS minus the other" in lines[-1]
    cells = [[cell.strip() for cell in line.split("|")[6:8]] for line in lines[2:6]]
    assert cells == [
        ["0.010", "**0.050**"],
        ["0.010", "0.050"],
        ["< 0.001", "**< 0.001**"],
        ["0.010", "**0.001**"],
    ]


@pytest.mark.parametrize(
    ("metric", "heading", "difference"), [("dice", "DSC ↑", "+0.010"), ("hd95", "HD95 ↓", "+0.01")]
)
def test_differences_have_a_sign_and_the_metric_s_digits(metric, heading, difference):
    """So have the ends of their interval."""
    text = comparison_to_markdown(Comparison("nacl", pd.DataFrame([row(metric=metric)])))

    assert f"| ACDC | {heading} | CE+DSC | {difference} | [+0.00" in text
    assert text.splitlines()[2].endswith("| 0.500 | +0.50 | better |")


def test_what_a_single_patient_cannot_say_is_a_dash():
    """Neither an interval nor a p, whatever was measured in it."""
    index = pd.MultiIndex.from_product([["p0"], [0, 1]], names=["patient", "seed"])
    scores = pd.DataFrame({"nacl": [0.8, 0.82], "dice_ce": [0.79, 0.8]}, index)
    tests = paired_tests(scores, "nacl", "dice").reset_index()
    text = comparison_to_markdown(
        Comparison("nacl", tests.assign(dataset="acdc", metric="dice"))
    ).splitlines()[2]

    assert text.startswith("| ACDC | DSC ↑ | CE+DSC | +0.015 | – | – |")
    assert "nan" not in text


def test_notes_say_what_was_sampled_and_what_the_family_is():
    """One training says nothing of another; the margins are those of the metrics that are shown."""
    rows = [row(), row(dataset="hippocampus", metric="hd95", patients=34, trainings=3)]
    text = comparison_to_markdown(Comparison("nacl", pd.DataFrame(rows)))

    assert "ACDC: 20 patients, one training per method; Wilcoxon's signed-rank test" in text
    assert "which say nothing about another training." in text
    assert (
        "Hippocampus: 34 patients, 3 trainings per method; t tests and intervals over both." in text
    )
    assert "Holm's correction is for the other methods of one dataset and metric" in text
    assert "bold: below 0.05." in text
    assert "closer than what matters (0.01 of DSC, 1 of HD95)" in text


OTHERS = {"dice_ce": "CE+DSC", "svls": "SVLS", "mbls": "MbLS"}


@pytest.fixture
def comparison():
    """NACL against three methods on two datasets, one of which lacks a method."""
    rows = [
        (dataset, metric, other, difference, decision)
        for dataset in ("acdc", "hippocampus")
        for metric in ("dice", "hd95")
        for other, difference, decision in (
            ("dice_ce", 0.02, "better"),
            ("svls", -0.03, "slightly worse"),
            ("mbls", 0.001, "cannot tell"),
        )
        if (dataset, other) != ("hippocampus", "svls")
    ]
    tests = pd.DataFrame(rows, columns=["dataset", "metric", "method", "difference", "decision"])
    tests["low"], tests["high"] = tests["difference"] - 0.004, tests["difference"] + 0.006
    return Comparison("nacl", tests)


def test_each_dataset_is_a_panel_and_each_method_a_line(comparison):
    """Marks at the difference, lines over the interval, in the same order in every panel."""
    left, right = draw_forest(comparison, "dice").axes

    assert [axes.get_title() for axes in (left, right)] == ["ACDC", "Hippocampus"]
    assert [label.get_text() for label in left.get_yticklabels()] == list(OTHERS.values())
    marks = [line for line in left.lines if len(line.get_xdata()) == 1]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in marks] == [
        (0.02, 0),
        (-0.03, -1),
        (0.001, -2),
    ]
    intervals = [part.get_segments()[0][:, 0].tolist() for part in left.collections]
    assert intervals[0] == pytest.approx([0.016, 0.026])
    assert len([line for line in right.lines if len(line.get_xdata()) == 1]) == 2


def test_color_and_marker_say_what_is_decided(comparison):
    """A slight difference is a difference; what is undecided is gray."""
    axes = draw_forest(comparison, "dice").axes[0]
    marks = [line for line in axes.lines if len(line.get_xdata()) == 1]

    for line, kind in zip(marks, ("better", "worse", "not decided"), strict=True):
        assert line.get_marker() == STYLES[kind]["marker"]
        assert to_hex(line.get_color()) == to_hex(STYLES[kind]["color"])


@pytest.mark.parametrize(
    ("metric", "margin", "side"), [("dice", 0.01, "right"), ("hd95", 1, "left")]
)
def test_margin_is_shaded_and_named(comparison, metric, margin, side):
    """It is the metric's; the caption says where better is."""
    figure = draw_forest(comparison, metric)
    axes = figure.axes[0]
    box = axes.transData.inverted().transform_bbox(axes.patches[0].get_window_extent())

    assert (box.x0, box.x1) == pytest.approx((-margin, margin))
    assert f"less than {margin:g}" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert f"further {side} is better for NACL" in " ".join(figure.get_supxlabel().split())
