"""A column of ``cases.csv`` is a metric, of one structure or of all; each metric has a better end."""

import pytest

from nacl_monai.errors import InputError
from nacl_monai.metrics import REGIONS
from nacl_monai.metrics.columns import (
    AUDITED_ERRORS,
    COLLECTORS,
    DEFAULT_ERRORS,
    ERRORS,
    MAIN_METRICS,
    METRICS,
    REGION_WORDS,
    SCORES,
    metric_of,
    named_errors,
    structure_of,
)

STRUCTURES = ["RV", "left_kidney", "union", "95"]


@pytest.mark.parametrize("structure", ["", *STRUCTURES])
def test_column_is_split_into_metric_and_structure(structure):
    """Structures may hold the separator or the name of a region; the metric itself is of none."""
    for metric in METRICS:
        column = f"{metric}_{structure}" if structure else metric
        assert (metric_of(column), structure_of(column)) == (metric, structure)


@pytest.mark.parametrize("column", ["patient", "ece", "diceRV", "my_dice", ""])
def test_unknown_metric_is_refused_with_the_known_ones(column):
    """What only resembles a metric is none."""
    for split in (metric_of, structure_of):
        with pytest.raises(InputError) as caught:
            split(column)
        assert str(caught.value).startswith(f"{column}: no known metric; choose from dice, hd95, ")


def test_errors_and_distances_improve_when_they_fall():
    """Overlap and what finds errors are better high; a promise is best if it is kept."""
    better_high = [name for name, metric in METRICS.items() if metric.higher_is_better]

    aurocs = [f"error_auroc_{region}" for region in ("foreground", "union", "boundary", "all")]
    assert better_high == ["dice", "rank_correlation", *aurocs]


def test_arrow_and_direction_point_to_better_values():
    """The arrow that readers see and the sign that statistics use agree."""
    for metric in METRICS.values():
        ends = {True: (" ↑", 1), False: (" ↓", -1), None: ("", 0)}
        arrow, direction = ends[metric.higher_is_better]
        assert metric.heading == f"{metric.label}{arrow}"
        assert metric.direction == direction


def test_values_are_printed_with_the_metrics_digits():
    """Three digits; two for distances, which are larger; a sign where it is asked for."""
    assert METRICS["dice"].text(0.84567) == "0.846"
    assert METRICS["hd95"].text(12.3456) == "12.35"
    assert METRICS["ece_foreground"].text(0.01234, "+") == "+0.012"
    assert METRICS["hd95"].text(-1.5, "+") == "-1.50"


def test_labels_are_the_papers():
    """Tables and figures use the paper's names."""
    assert [METRICS[name].label for name in MAIN_METRICS] == ["DSC", "HD95", "ECE", "CECE"]


def test_main_metrics_are_known_and_shown_in_the_papers_order():
    """Overlap, distance, then calibration over the foreground."""
    assert MAIN_METRICS == ("dice", "hd95", "ece_foreground", "cece_foreground")
    assert set(MAIN_METRICS) < set(METRICS)


def test_every_error_can_be_measured_and_shown():
    """Its sums are collected; it has a column, words and digits in every known region."""
    assert {error.sums for error in ERRORS.values()} == set(COLLECTORS)
    assert set(REGION_WORDS) == set(REGIONS)
    assert set(METRICS) - set(SCORES) == {f"{name}_{r}" for name in ERRORS for r in REGIONS}
    assert METRICS["ece_all"].text(0.12345) == "0.1235"
    assert METRICS["aurc_boundary"].label == "AURC near boundaries"
    assert list(AUDITED_ERRORS) == ["ece", "cece", "confidence_gap"]


def test_defaults_are_errors_in_the_order_of_an_evaluations_columns():
    """Calibration, then scores, then selective prediction."""
    calibration = ("ece", "ace", "mce", "confidence_gap", "adaptive_ece", "cece")
    assert (*calibration, "nll", "brier", "aurc", "error_auroc") == DEFAULT_ERRORS
    assert list(named_errors(DEFAULT_ERRORS)) == list(DEFAULT_ERRORS)


@pytest.mark.parametrize("names", [[], ["ece", "ecce"], "ece"])
def test_unknown_error_is_refused_with_the_choices(names):
    """A string is not a list, though it has letters."""
    with pytest.raises(InputError, match="errors: is .*; choose a list from ece, ace"):
        named_errors(names)
