"""Figures are drawn from the means of runs, and show them where they are."""

import shutil

import numpy as np
import pandas as pd
import pytest

from nacl_monai.menus import choose_loss
from nacl_monai.paper import EXHIBITS, figures, radars, read_results, write_exhibit
from nacl_monai.paper.grid import PAPER_LOSSES, main_grid
from nacl_monai.paper.results import NothingToShow, first_runs


def place(axes):
    spec = axes.get_subplotspec()
    return spec.rowspan.start, spec.colspan.start


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.fixture
def drawn(results):
    """Draws a figure of the grid; returns it and its means by the keys."""

    def draw(name, keys, **chosen):
        figure, numbers = EXHIBITS[name].content.draw(EXHIBITS[name].select(results, **chosen))
        return figure, numbers.set_index(keys)["mean"]

    return draw


@pytest.mark.parametrize(("number", "rows", "columns"), [(1, 1, 1), (3, 1, 3), (4, 2, 3)])
def test_radars_are_in_rows_of_three(number, rows, columns):
    """With two kinds, the second is below the first of the same dataset."""
    names = [f"d{k}" for k in range(number)]
    figure, grid = radars.new_radars(names, ["dice", "ece"], height=3, margin=1)

    for k, name in enumerate(names):
        row, column = 2 * (k // columns), k % columns
        assert place(grid[name, "dice"]) == (row, column)
        assert place(grid[name, "ece"]) == (row + 1, column)
    assert figure.get_figheight() == 3 * 2 * rows + 1


@pytest.fixture
def radar():
    """One that is empty."""
    _, grid = radars.new_radars(["d"], [""], height=3, margin=1)
    return grid["d", ""]


def test_lines_are_closed_over_equal_angles(radar):
    """The last point is the first."""
    radars.draw_lines(radar, ["a", "b", "c"], [([1, 2, 3], {"color": "red"})])

    angles, radii = radar.lines[0].get_data()
    np.testing.assert_allclose(radii, [1, 2, 3, 1])
    np.testing.assert_allclose(angles, [0, 2 * np.pi / 3, 4 * np.pi / 3, 0])
    assert [label.get_text() for label in radar.get_xticklabels()] == ["a", "b", "c"]
    assert radar.lines[0].get_color() == "red"


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ([0.5, 0.6, 0.7], (0.4, 0.75)),
        ([0.1, 0.5, np.nan], (0.0, 0.6)),
        ([0.5, 0.5, 0.5], (0.49, 0.505)),
        ([np.nan, np.nan, np.nan], (0.0, 1.0)),
    ],
)
def test_zoom_shows_differences(radar, values, limits):
    """A quarter of the range outside and twice that inside, but not below 0; undefined as it was."""
    radars.zoom(radar, [values])

    assert radar.get_ylim() == pytest.approx(limits)


def test_figure1_has_the_means_of_every_method(drawn):
    """DSC and ECE, each a closed line."""
    figure, means = drawn("figure1", ["dataset", "column", "method"])

    assert [axes.get_title() for axes in figure.axes] == ["ACDC", "Hippocampus"]
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["CE+DSC", "SVLS", "NACL"]
    for line, column in zip(axes.lines, ("dice", "ece_foreground"), strict=True):
        values = [means["acdc", column, name] for name in ("dice_ce", "svls", "nacl", "dice_ce")]
        np.testing.assert_allclose(line.get_ydata(), values)
    assert axes.get_ylim() == (0, 1)
    assert legend(figure) == ["DSC ↑", "ECE ↓"]


def test_figure3_joins_both_spaces(drawn, results):
    """From logits, where the dataset's name is, to softmax; one alone is a point."""
    figure, means = drawn("figure3", ["column", "method"])
    axes = figure.axes[0]

    dotted = next(line for line in axes.lines if line.get_linestyle() == ":")
    assert list(zip(*dotted.get_data(), strict=True)) == [
        (means["dice", name], means["ece_foreground", name])
        for name in ("nacl", "nacl_space=softmax")
    ]
    assert axes.texts[0].get_text() == "ACDC"
    assert axes.texts[0].xy == (means["dice", "nacl"], means["ece_foreground", "nacl"])
    assert legend(figure) == ["penalty on logits", "penalty on softmax"]
    figure, _ = figures.draw_figure3(EXHIBITS["table2"].select(results, losses=["nacl"]))
    assert [text.get_text() for text in figure.axes[0].texts] == ["ACDC", "Hippocampus"]


def test_figures_of_single_runs_show_every_run(results):
    """The stems of their files say the figure, and its part."""
    runs = first_runs(results.select(main_grid()), "acdc")
    parts = {}
    for name in ("figure4", "figure5", "figure11"):
        parts |= EXHIBITS[name].content.draw(runs)

    assert list(parts) == ["figure4", "figure5", "figure11_maps", "figure11_reliability"]
    for figure in parts.values():
        titles = " ".join(axes.get_title() for axes in figure.axes)
        texts = " ".join(text.get_text() for axes in figure.axes for text in axes.texts)
        for run in runs:
            assert run.name in titles + texts


def test_runs_without_slices_have_no_maps(grid_copy):
    """Their images may not be shown; the diagrams are drawn still."""
    for maps in grid_copy.rglob("maps"):
        shutil.rmtree(maps)
    runs = first_runs(read_results([grid_copy]).select(main_grid()), "acdc")

    assert list(figures.draw_figure11(runs)) == ["figure11_reliability"]


def test_every_value_of_a_sweep_is_an_experiment():
    """One of the three is the default, which is the main tables' own; CE+DSC has nothing to sweep."""
    assert radars.sweep("dice_ce") == {}
    for loss in PAPER_LOSSES[1:]:
        ((key, values),) = radars.sweep(loss).items()
        assert choose_loss(loss).settings[key] in values
        assert len(values) == len(radars.SWEEP_STYLES)
    names = [method.name for method in radars.figure6_grid().methods]
    assert names[:3] == ["focal_gamma=1.0", "focal_gamma=2.0", "focal"]
    assert names[-3:] == ["nacl", "nacl_penalty_weight=0.2", "nacl_penalty_weight=0.3"]


def test_figure6_has_the_means_at_each_place_of_the_sweeps(drawn):
    """DSC above ECE; what was not run is a gap."""
    figure, means = drawn("figure6", ["column", "method"])

    assert [axes.get_title() for axes in figure.axes] == ["ACDC: DSC ↑", "ACDC: ECE ↓"]
    names = (
        ("svls_sigma=0.5", "nacl"),
        ("svls_sigma=1.0", "nacl_penalty_weight=0.2"),
        ("svls", ""),
    )
    for axes, column in zip(figure.axes, ("dice", "ece_foreground"), strict=True):
        assert [text.get_text() for text in axes.get_xticklabels()] == ["SVLS", "NACL"]
        for line, (svls, nacl) in zip(axes.lines, names, strict=True):
            values = [means.get((column, name), np.nan) for name in (svls, nacl, svls)]
            assert line.get_ydata() == pytest.approx(values, nan_ok=True)
    assert legend(figure) == ["HP1", "HP2", "HP3"]
    assert "SVLS σ = 0.5, 1, 2; NACL λ = 0.1, 0.2, 0.3." in " ".join(figure.get_supxlabel().split())


def test_figure7_has_the_percentages_of_svls(results):
    """Positive where NACL is better; what was not run has neither length nor number."""
    figure, table = figures.draw_figure7(EXHIBITS["figure7"].select(results))
    rows = table.set_index(["column", "sigma"])
    dice, ece = rows.loc[("dice", 1.0)], rows.loc[("ece_foreground", 1.0)]

    assert dice["percent"] == pytest.approx(100 * (dice["nacl"] / dice["svls"] - 1))
    assert ece["percent"] == pytest.approx(100 * (1 - ece["nacl"] / ece["svls"]))
    assert np.isnan(rows.loc[("ece_foreground", 3.0), "percent"])
    keys = [(column, sigma) for sigma in (1.0, 2.0, 3.0) for column in ("dice", "ece_foreground")]
    for axes, key in zip(figure.axes, keys, strict=True):
        ((bar,), (text,)) = axes.patches, axes.texts
        percent = rows.loc[key, "percent"]
        assert bar.get_width() == pytest.approx(np.nan_to_num(percent))
        assert text.get_text() == ("" if np.isnan(percent) else f"{percent:+.1f} %")
    assert figure.axes[1].get_title() == "ECE ↓, σ = 1"


def test_figure8_has_a_point_of_every_network_and_loss(drawn):
    """Networks that were run, in the paper's order; losses side by side."""
    figure, means = drawn("figure8", ["column", "method", "network"])

    for axes, column in zip(figure.axes, ("dice", "ece_foreground"), strict=True):
        assert [text.get_text() for text in axes.get_xticklabels()] == ["UNet", "AttUNet"]
        for k, (loss, points) in enumerate(zip(("svls", "nacl"), axes.containers, strict=True)):
            line = points.lines[0]
            np.testing.assert_allclose(line.get_xdata(), np.arange(2) + (k - 0.5) * 0.4)
            values = [
                means.get((column, loss, name), np.nan) for name in ("unet", "attention_unet")
            ]
            assert list(line.get_ydata()) == pytest.approx(values, nan_ok=True)
            assert line.get_color() == figures.loss_style(loss)["color"]


def test_figure9_has_a_line_of_every_loss_over_the_fractions(drawn):
    """In percent; a loss that was run on all patients alone is a point."""
    figure, means = drawn("figure9", ["column", "method", "fraction"])

    for axes, column in zip(figure.axes, ("dice", "ece_foreground"), strict=True):
        lines = dict(zip(("dice_ce", "svls", "nacl"), axes.lines, strict=True))
        np.testing.assert_allclose(lines["nacl"].get_xdata(), [50, 100])
        values = [means[column, "nacl", fraction] for fraction in (0.5, 1.0)]
        np.testing.assert_allclose(lines["nacl"].get_ydata(), values)
        np.testing.assert_allclose(lines["svls"].get_xdata(), [100])
        assert list(axes.get_xticks()) == [50, 100]
        for loss, line in lines.items():
            assert line.get_marker() == figures.loss_style(loss)["marker"]


@pytest.mark.parametrize(
    ("datasets", "places"),
    [(["acdc"], [(0, 0), (0, 1)]), (["acdc", "hippocampus"], [(0, 0), (1, 0), (0, 1), (1, 1)])],
)
def test_figure10_has_a_pair_of_panels_per_dataset(drawn, datasets, places):
    """Side by side for one dataset alone, else below each other; none is left over."""
    figure, means = drawn("figure10", ["dataset", "column", "method"], datasets=datasets)
    panels = {place(axes): axes for axes in figure.axes}

    labels = {"ece_union": "ECE ↓", "cece_union": "CECE ↓"}
    keys = [(name, error) for name in datasets for error in labels]
    for (dataset, error), where in zip(keys, places, strict=True):
        axes = panels[where]
        losses = [m for m in ("dice_ce", "svls", "nacl") if (dataset, error, m) in means]
        assert axes.get_ylabel() == labels[error]
        assert axes.axison
        for loss, points in zip(losses, axes.containers, strict=True):
            ((x,), (y,)) = points.lines[0].get_data()
            assert (x, y) == (means[dataset, "dice", loss], means[dataset, error, loss])
            assert points.lines[0].get_color() == figures.loss_style(loss)["color"]


def without(grid, errors, runs):
    for name in runs:
        file = grid / "hippocampus" / name / "evaluation/cases.csv"
        pd.read_csv(file, dtype={"case": str}).drop(columns=errors).to_csv(file, index=False)
    return EXHIBITS["figure10"].select(read_results([grid]), datasets=["hippocampus"])


def test_error_that_no_run_has_leaves_its_panel_out(grid_copy):
    """The other is drawn."""
    results = without(grid_copy, ["cece_union"], ["unet_nacl_seed0", "unet_dice_ce_seed0"])
    figure, means = figures.draw_figure10(results)

    assert [axes.axison for axes in figure.axes] == [True, False]
    assert set(means["column"]) == {"dice", "ece_union"}


def test_nothing_to_draw_is_one_line(grid_copy, tmp_path):
    """Nothing is written."""
    errors = ["ece_union", "cece_union"]
    without(grid_copy, errors, ["unet_nacl_seed0", "unet_dice_ce_seed0"])

    with pytest.raises(NothingToShow, match="^figure10: no run has ece_union or cece_union; eval"):
        write_exhibit("figure10", [grid_copy], tmp_path / "out", datasets=["hippocampus"])
    assert not (tmp_path / "out").exists()
