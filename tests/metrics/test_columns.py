"""A column of ``cases.csv`` is a metric, of one structure or of all; each metric has a better end."""

import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.metrics import REGIONS
from nacl_monai.metrics.columns import (
    AUDITED_ERRORS,
    ERRORS,
    METRICS,
    REGION_WORDS,
    SCORES,
    columns_of,
    metric_of,
    named_errors,
    structure_of,
)
from nacl_monai.runs import KNOWN_REGIONS
from tests.conftest import refused
from tests.metrics.oracles import measured

STRUCTURES = ["RV", "left_kidney", "union", "95"]


@pytest.mark.parametrize("structure", ["", *STRUCTURES])
def test_column_is_split_into_metric_and_structure(structure):
    """Structures may hold the separator or the name of a region; the metric itself is of none."""
    for metric in METRICS:
        column = f"{metric}_{structure}" if structure else metric
        assert (metric_of(column), structure_of(column)) == (metric, structure)


def test_columns_of_a_region_are_not_those_of_one_whose_name_is_longer():
    """`predicted_boundary` is no structure of `predicted`."""
    columns = ["ece_predicted_boundary", "ece_predicted", "ece_predicted_RV"]

    assert columns_of("ece_predicted", columns) == ["ece_predicted", "ece_predicted_RV"]
    assert columns_of("ece_predicted_boundary", columns) == ["ece_predicted_boundary"]


@pytest.mark.parametrize("column", ["patient", "ece", "diceRV", "my_dice", ""])
def test_unknown_metric_is_refused_with_the_known_ones(column):
    """What only resembles a metric is none."""
    for split in (metric_of, structure_of):
        assert refused(split, column).startswith(
            f"{column}: no known metric; choose from dice, hd95, "
        )


def test_errors_and_distances_improve_when_they_fall():
    """Overlap and what finds errors are better high; a promise is best if it is kept."""
    better_high = [name for name, metric in METRICS.items() if metric.higher_is_better]

    aurocs = [f"error_auroc_{region}" for region in REGION_WORDS]
    assert better_high == ["dice", "rank_correlation", "worst_found", *aurocs]


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


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_is_measured_and_has_a_column(name):
    """From one entry: its sums are collected, its value is in its range, and its words are known."""
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(1, 3, 6, 5, 4, generator=generator).softmax(1)
    labels = torch.randint(3, (1, 1, 6, 5, 4), generator=generator)

    metric = measured(probs, labels, errors=[name], regions=["union"])

    ((column, value),) = metric.columns().items()
    assert column == f"{name}_union"
    assert ERRORS[name].low <= value.item() <= ERRORS[name].high
    assert METRICS[column].label == f"{ERRORS[name].label} over prediction ∪ label"
    recorded = metric.record(["a"], ["0", "1", "2"]).columns([column])
    assert not recorded or recorded[column].equal(value)


def test_every_error_has_words_in_every_known_region():
    """And fewer or more digits over all voxels."""
    assert set(KNOWN_REGIONS) == set(REGION_WORDS) == set(REGIONS)
    assert set(METRICS) - set(SCORES) == {f"{name}_{r}" for name in ERRORS for r in REGIONS}
    assert METRICS["ece_all"].text(0.12345) == "0.1235"
    assert METRICS["aurc_boundary"].label == "AURC near boundaries"


def test_audit_shows_errors_with_a_better_end_first():
    """Then those without one."""
    directions = [error.direction for error in AUDITED_ERRORS.values()]

    assert directions == sorted(directions)


def test_errors_keep_the_order_in_which_they_are_asked_for():
    """The columns of a region are in that order."""
    assert list(named_errors(["nll", "cece", "ece"])) == ["nll", "cece", "ece"]


@pytest.mark.parametrize("names", [[], ["ece", "ecce"], "ece"])
def test_unknown_error_is_refused_with_the_choices(names):
    """A string is not a list, though it has letters."""
    with pytest.raises(InputError, match="errors: is .*; choose a list from ece, ace"):
        named_errors(names)
