"""Points with their intervals, one look per loss."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nacl_monai.paper import EXHIBITS
from nacl_monai.paper.names import loss_style
from nacl_monai.paper.scatter import add_loss_legend, draw_point, losses_of


def test_point_has_intervals_in_both_directions():
    """It is where the means are."""
    means = pd.DataFrame(
        {"column": ["dice", "ece"], "mean": [0.8, 0.1], "low": [0.7, 0.08], "high": [0.85, 0.15]}
    )
    axes = Figure().subplots()

    assert draw_point(axes, means, "dice", "ece", marker="o") == (0.8, 0.1)
    across, up = (bars.get_segments()[0] for bars in axes.containers[0].lines[2])
    np.testing.assert_allclose(across, [[0.7, 0.1], [0.85, 0.1]])
    np.testing.assert_allclose(up, [[0.8, 0.08], [0.8, 0.15]])


def test_legend_has_the_losses_in_their_look():
    """Labels, colors and markers are the menu's."""
    figure = Figure()
    add_loss_legend(figure, ["svls", "nacl"], linestyle="-")

    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["SVLS", "NACL"]
    for loss, line in zip(("svls", "nacl"), figure.legends[0].get_lines(), strict=True):
        style = loss_style(loss)
        assert (line.get_color(), line.get_marker()) == (style["color"], style["marker"])
        assert line.get_linestyle() == "-"


def test_each_loss_counts_once(results):
    """Figure 7 has two values of SVLS's hyper-parameter."""
    assert losses_of(EXHIBITS["figure7"].select(results)) == ["svls", "nacl"]
