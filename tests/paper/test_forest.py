"""The picture of the paired tests shows each difference where it is."""

import pandas as pd
import pytest
from matplotlib.colors import to_hex

from nacl_monai.paper.comparisons import Comparison
from nacl_monai.paper.forest import STYLES, draw_forest

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
