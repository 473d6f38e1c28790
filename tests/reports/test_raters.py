"""Audits of several raters side by side, as reports read them."""

import dataclasses

import numpy as np
import pytest

from nacl_monai.metrics import CalibrationMetric
from nacl_monai.reports.evaluated import by_rater, human_run, run_of_bins
from nacl_monai.reports.reliability import draw_reliability, reliability_curve
from nacl_monai.reports.selective import risk_curve

SHAPE = (6, 5, 4)


@pytest.fixture
def run():
    """Two cases of two classes, labeled by three raters."""
    rng = np.random.default_rng(0)
    metric = CalibrationMetric(regions=["all"], num_raters=3)
    for _ in range(2):
        inside = rng.random(SHAPE)
        labels = rng.random((3, *SHAPE)) < inside
        metric([np.stack([1 - inside, inside])], [labels.astype(int)])
    bins = metric.record(["a", "b"], ["background", "organ"], raters=["anna", "ben", "cara"])
    return run_of_bins(bins, "model")


def test_share_is_called_so_and_stands_alone_where_no_rater_was_kept(run):
    """As in a merged audit."""
    assert [one.name for one in by_rater(run)] == ["share of 3 raters"]
    plain = run_of_bins(dataclasses.replace(run.bins, raters=[], human=None), "model")
    assert by_rater(plain) == [plain]
    assert human_run(plain) is None


def test_raters_have_the_errors_of_their_bins(run):
    """As a model has."""
    human = human_run(run)

    np.testing.assert_array_equal(human.metrics["ece_all"], run.bins.human.ece()[:, 0])
    assert human.unit == "cases"


def test_voxels_are_counted_once(run):
    """Not once for each rater, in diagrams and curves."""
    assert reliability_curve(run, "all").voxels == 2 * np.prod(SHAPE)
    assert risk_curve(run, "all").voxels == 2 * np.prod(SHAPE)


@pytest.mark.parametrize(("name", "row"), [("top-1", 0), ("organ", 2)])
def test_human_line_has_a_point_for_each_share_of_the_others(run, name, row):
    """Half of two others, and all of them: how often a rater says the same."""
    curve = reliability_curve(run, "all", name)
    sums = run.bins.human.pooled()[0, row]
    used = sums.counts > 0

    expected = sums.confidences[used] / sums.counts[used], sums.positives[used] / sums.counts[used]
    for drawn, numbers in zip(curve.human, expected, strict=True):
        np.testing.assert_allclose(drawn, numbers)
    shares = {"top-1": [0.5, 1], "organ": [0, 0.5, 1]}[name]
    np.testing.assert_allclose(curve.human[0], shares)
    axes = draw_reliability([run], region="all", class_name=name).axes[0]
    (line,) = [line for line in axes.lines if line.get_label() == "raters"]
    np.testing.assert_allclose(line.get_ydata(), expected[1])


def test_single_rater_has_no_line(run):
    """Nor a word of raters in diagram or key."""
    plain = run_of_bins(dataclasses.replace(run.bins, raters=[], human=None), "model")
    figure = draw_reliability([plain], region="all")

    assert "raters" not in [line.get_label() for line in figure.axes[0].lines]
    assert "raters" not in [text.get_text() for text in figure.legends[0].texts]
