"""Figure 1: a radar per dataset, a spoke per method."""

import numpy as np

from nacl_monai.paper import EXHIBITS, figure1


def test_lines_are_the_means(results):
    """DSC and ECE of every method, each closed."""
    figure, means = figure1.draw(EXHIBITS["figure1"].select(results))
    by_key = means.set_index(["dataset", "column", "method"])["mean"]

    assert [axes.get_title() for axes in figure.axes] == ["ACDC", "Hippocampus"]
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["CE+DSC", "SVLS", "NACL"]
    for line, column in zip(axes.lines, ("dice", "ece_foreground"), strict=True):
        values = [by_key["acdc", column, name] for name in ("dice_ce", "svls", "nacl", "dice_ce")]
        np.testing.assert_allclose(line.get_ydata(), values)
    assert axes.get_ylim() == (0, 1)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["DSC ↑", "ECE ↓"]
