"""Figure 6: three values of every loss's hyper-parameter."""

import numpy as np
import pytest

from nacl_monai.menus import choose_loss
from nacl_monai.paper import EXHIBITS, figure6
from nacl_monai.paper.grid import PAPER_LOSSES


def test_default_is_a_value_of_every_sweep():
    """So the main tables' training is one of the three; CE+DSC has nothing to sweep."""
    assert figure6.sweep("dice_ce") == {}
    for loss in PAPER_LOSSES[1:]:
        ((key, values),) = figure6.sweep(loss).items()
        assert choose_loss(loss).settings[key] in values
        assert len(values) == len(figure6.STYLES)


def test_every_value_is_an_experiment():
    """Those at the default are the main tables' own."""
    names = [method.name for method in figure6.grid().methods]

    assert names[:3] == ["focal_gamma=1.0", "focal_gamma=2.0", "focal"]
    assert names[-3:] == ["nacl", "nacl_penalty_weight=0.2", "nacl_penalty_weight=0.3"]


def test_lines_are_the_means_at_each_place_of_the_sweeps(results):
    """DSC above ECE; what was not run is a gap."""
    figure, means = figure6.draw(EXHIBITS["figure6"].select(results))
    by_key = means.set_index(["column", "method"])["mean"]

    assert [axes.get_title() for axes in figure.axes] == ["ACDC: DSC ↑", "ACDC: ECE ↓"]
    names = (
        ("svls_sigma=0.5", "nacl"),
        ("svls_sigma=1.0", "nacl_penalty_weight=0.2"),
        ("svls", ""),
    )
    for axes, column in zip(figure.axes, ("dice", "ece_foreground"), strict=True):
        assert [text.get_text() for text in axes.get_xticklabels()] == ["SVLS", "NACL"]
        for line, (svls, nacl) in zip(axes.lines, names, strict=True):
            values = [by_key.get((column, name), np.nan) for name in (svls, nacl, svls)]
            assert line.get_ydata() == pytest.approx(values, nan_ok=True)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["HP1", "HP2", "HP3"]
    assert "SVLS σ = 0.5, 1, 2; NACL λ = 0.1, 0.2, 0.3." in " ".join(figure.get_supxlabel().split())
