"""Figure 8: networks along the axis, a point per loss."""

import numpy as np
import pytest

from nacl_monai.paper import EXHIBITS, figure8
from nacl_monai.paper.names import loss_style


def test_point_of_every_network_and_loss(results):
    """Networks that were run, in the paper's order; losses side by side."""
    figure, means = figure8.draw(EXHIBITS["figure8"].select(results))
    by_key = means.set_index(["column", "method", "network"])["mean"]

    for axes, column in zip(figure.axes, ("dice", "ece_foreground"), strict=True):
        assert [text.get_text() for text in axes.get_xticklabels()] == ["UNet", "AttUNet"]
        for k, (loss, points) in enumerate(zip(("svls", "nacl"), axes.containers, strict=True)):
            line = points.lines[0]
            np.testing.assert_allclose(line.get_xdata(), np.arange(2) + (k - 0.5) * 0.4)
            values = [
                by_key.get((column, loss, name), np.nan) for name in ("unet", "attention_unet")
            ]
            assert list(line.get_ydata()) == pytest.approx(values, nan_ok=True)
            assert line.get_color() == loss_style(loss)["color"]
