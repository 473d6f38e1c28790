"""Figure 10: DSC against two errors over prediction ∪ label."""

import pytest

from nacl_monai.paper import EXHIBITS, figure10
from nacl_monai.paper.names import loss_style


@pytest.mark.parametrize(
    ("datasets", "places"),
    [
        (["acdc"], [(0, 0), (0, 1)]),
        (["acdc", "hippocampus"], [(0, 0), (1, 0), (0, 1), (1, 1)]),
    ],
)
def test_panels_of_a_dataset_are_a_pair(results, datasets, places):
    """Side by side for one dataset alone, else below each other; none is left over."""
    figure, means = figure10.draw(EXHIBITS["figure10"].select(results, datasets=datasets))
    by_key = means.set_index(["dataset", "column", "method"])["mean"]
    panels = {
        (axes.get_subplotspec().rowspan.start, axes.get_subplotspec().colspan.start): axes
        for axes in figure.axes
    }

    keys = [(name, error) for name in datasets for error in ("ece_union", "cece_union")]
    for (dataset, error), place in zip(keys, places, strict=True):
        axes, losses = (
            panels[place],
            [m for m in ("dice_ce", "svls", "nacl") if (dataset, error, m) in by_key],
        )
        assert axes.get_ylabel() == {"ece_union": "ECE ↓", "cece_union": "CECE ↓"}[error]
        assert axes.axison
        for loss, points in zip(losses, axes.containers, strict=True):
            ((x,), (y,)) = points.lines[0].get_data()
            assert (x, y) == (by_key[dataset, "dice", loss], by_key[dataset, error, loss])
            assert points.lines[0].get_color() == loss_style(loss)["color"]


@pytest.mark.parametrize(("datasets", "shape"), [(1, (1, 2)), (3, (2, 3)), (6, (4, 4))])
def test_rows_hold_four_datasets(datasets, shape):
    """Every panel has its own place."""
    figure, panels = figure10._new_panels([f"d{k}" for k in range(datasets)])
    spec = figure.axes[0].get_subplotspec().get_gridspec()

    assert (spec.nrows, spec.ncols) == shape
    assert len(set(panels.values())) == 2 * datasets
