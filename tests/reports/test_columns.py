"""A column of ``cases.csv`` is a metric, of one structure or of all; each metric has a better end."""

import pytest

from nacl_monai.errors import InputError
from nacl_monai.metrics.columns import MAIN_METRICS, METRICS, metric_of, structure_of

STRUCTURES = ["RV", "left_kidney", "union", "95"]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_column_is_split_into_metric_and_structure(metric, structure):
    """Structures may hold the separator or the name of a region."""
    column = f"{metric}_{structure}"

    assert (metric_of(column), structure_of(column)) == (metric, structure)


@pytest.mark.parametrize("metric", METRICS)
def test_bare_metric_has_no_structure(metric):
    """The mean over structures is the metric itself."""
    assert (metric_of(metric), structure_of(metric)) == (metric, "")


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

    assert better_high == [*("dice", "error_auroc_union", "error_auroc_all", "rank_correlation")]


@pytest.mark.parametrize("name", METRICS)
def test_arrow_and_direction_point_to_better_values(name):
    """The arrow that readers see and the sign that statistics use agree."""
    metric = METRICS[name]
    arrow, direction = {True: (" ↑", 1), False: (" ↓", -1), None: ("", 0)}[metric.higher_is_better]

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
