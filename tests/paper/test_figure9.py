"""Figure 9: scores over the share of the training patients."""

import numpy as np

from nacl_monai.paper import EXHIBITS, figure9
from nacl_monai.paper.names import loss_style


def test_line_of_every_loss_rises_with_the_fraction(results):
    """In percent; a loss that was run on all patients alone is a point."""
    figure, means = figure9.draw(EXHIBITS["figure9"].select(results))
    by_key = means.set_index(["column", "method", "fraction"])["mean"]

    for axes, column in zip(figure.axes, ("dice", "ece_foreground"), strict=True):
        lines = dict(zip(("dice_ce", "svls", "nacl"), axes.lines, strict=True))
        np.testing.assert_allclose(lines["nacl"].get_xdata(), [50, 100])
        values = [by_key[column, "nacl", fraction] for fraction in (0.5, 1.0)]
        np.testing.assert_allclose(lines["nacl"].get_ydata(), values)
        np.testing.assert_allclose(lines["svls"].get_xdata(), [100])
        assert list(axes.get_xticks()) == [50, 100]
        for loss, line in lines.items():
            assert line.get_marker() == loss_style(loss)["marker"]
