"""Figure 7: by how many percent NACL beats SVLS with the same σ."""

import numpy as np
import pandas as pd
import pytest

from nacl_monai.paper import EXHIBITS, figure7


def test_percent_is_of_svls(reproduced):
    """Positive where NACL is better, from the figure's own means; empty where there is no run."""
    table = pd.read_csv(reproduced / "figure7.csv").set_index(["column", "sigma"])
    dice, ece = table.loc[("dice", 1.0)], table.loc[("ece_foreground", 1.0)]

    assert dice["percent"] == pytest.approx(100 * (dice["nacl"] / dice["svls"] - 1), abs=1e-3)
    assert ece["percent"] == pytest.approx(100 * (1 - ece["nacl"] / ece["svls"]), abs=1e-3)
    assert np.isnan(table.loc[("ece_foreground", 3.0), "percent"])


def test_both_losses_have_every_sigma():
    """Defaults are those of the main tables: σ = 2 of SVLS, 1 of the Gaussian prior."""
    assert [method.name for method in figure7.grid().methods] == [
        "svls_sigma=1.0",
        "nacl_prior=gaussian",
        "svls",
        "nacl_prior=gaussian_sigma=2.0",
        "svls_sigma=3.0",
        "nacl_prior=gaussian_sigma=3.0",
    ]


def test_bars_are_the_percentages(results):
    """A row of panels per σ; what was not run has neither length nor number."""
    figure, table = figure7.draw(EXHIBITS["figure7"].select(results))
    percent = table.set_index(["sigma", "column"])["percent"]

    keys = [(sigma, column) for sigma in (1.0, 2.0, 3.0) for column in ("dice", "ece_foreground")]
    for axes, key in zip(figure.axes, keys, strict=True):
        ((bar,), (text,)) = axes.patches, axes.texts
        assert bar.get_width() == pytest.approx(np.nan_to_num(percent[key]))
        assert text.get_text() == ("" if np.isnan(percent[key]) else f"{percent[key]:+.1f} %")
    assert figure.axes[1].get_title() == "ECE ↓, σ = 1"
