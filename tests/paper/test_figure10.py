"""Figure 10: DSC against two errors over prediction ∪ label."""

import pandas as pd
import pytest

from nacl_monai.paper import EXHIBITS, figure10, read_results, write_exhibit
from nacl_monai.paper.names import loss_style
from nacl_monai.paper.results import NothingToShow


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


def without(grid, errors, runs):
    for name in runs:
        file = grid / "hippocampus" / name / "evaluation/cases.csv"
        pd.read_csv(file, dtype={"case": str}).drop(columns=errors).to_csv(file, index=False)
    return EXHIBITS["figure10"].select(read_results([grid]), datasets=["hippocampus"])


def test_error_that_no_run_has_leaves_its_panel_out(grid_copy, tmp_path):
    """The other is drawn, and tested."""
    results = without(grid_copy, ["cece_union"], ["unet_nacl_seed0", "unet_dice_ce_seed0"])
    figure, means = figure10.draw(results)

    assert [axes.axison for axes in figure.axes] == [True, False]
    assert set(means["column"]) == {"dice", "ece_union"}
    write_exhibit("figure10", [grid_copy], tmp_path, datasets=["hippocampus"])
    tests = pd.read_csv(tmp_path / "figure10_tests.csv")
    assert tests["metric"].unique().tolist() == ["ece_union"]


def test_method_without_an_error_has_no_point(grid_copy):
    """The others have theirs."""
    results = without(grid_copy, ["ece_union", "cece_union"], ["unet_dice_ce_seed0"])
    figure, means = figure10.draw(results)
    drawn = means.dropna(subset="mean")

    assert drawn[drawn["column"] == "ece_union"]["method"].tolist() == ["nacl"]
    assert all(axes.axison for axes in figure.axes)


def test_nothing_to_draw_is_one_line(grid_copy, tmp_path):
    """Nothing is written."""
    errors = ["ece_union", "cece_union"]
    without(grid_copy, errors, ["unet_nacl_seed0", "unet_dice_ce_seed0"])

    with pytest.raises(NothingToShow, match="^figure10: no run has ece_union or cece_union; eval"):
        write_exhibit("figure10", [grid_copy], tmp_path / "out", datasets=["hippocampus"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("datasets", "shape"), [(1, (1, 2)), (3, (2, 3)), (6, (4, 4))])
def test_rows_hold_four_datasets(datasets, shape):
    """Every panel has its own place."""
    figure, panels = figure10._new_panels([f"d{k}" for k in range(datasets)])
    spec = figure.axes[0].get_subplotspec().get_gridspec()

    assert (spec.nrows, spec.ncols) == shape
    assert len(set(panels.values())) == 2 * datasets
