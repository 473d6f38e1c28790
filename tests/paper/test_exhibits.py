"""Each table and figure is one entry: its experiments, their names, what it draws, and its tests."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from nacl_monai.menus import choose_loss, read_menu
from nacl_monai.paper import EXHIBITS, figures, radars, read_results, write_exhibit
from nacl_monai.paper.exhibits import MethodTable, Pictures, Plot, Table, proposed_and
from nacl_monai.paper.figures import loss_style
from nacl_monai.paper.grid import (
    MAIN_LOSSES,
    PAPER_DATASETS,
    PAPER_LOSSES,
    PAPER_NETWORKS,
    Experiment,
    Grid,
    Setup,
    dataset_label,
    followed,
    loss_label,
    main_grid,
    method,
    method_label,
    network_label,
    read_method,
    read_name,
    symbol,
)
from nacl_monai.paper.results import NothingToShow, first_runs
from nacl_monai.paper.trainings import unlike_name
from nacl_monai.posthoc import METHODS
from nacl_monai.reports.style import OKABE_ITO
from tests.conftest import ROOT, refused


@pytest.mark.parametrize("content", [Table("", ("dice",)), MethodTable(("dice",))])
def test_tables_say_for_how_many_epochs_was_trained(grid_copy, tmp_path, content):
    """Where that differs between the runs that are shown; the CSV has every number, to six decimals."""
    for loss, epochs in (("nacl", 40), ("svls", 100)):
        run = grid_copy / f"acdc/unet_{loss}_seed0"
        (run / "config.json").write_text(json.dumps({"max_epochs": epochs}))
        (run / "run.json").write_text('{"finished": true}')
    found = read_results([grid_copy])

    for losses, expected in (((), True), (["nacl", "dice_ce"], False)):
        chosen = EXHIBITS["table1"].select(found, losses=losses)
        for file in content.write(chosen, tmp_path / "mine"):
            there = "Trained for 40 or 100 epochs." in file.read_text()
            assert there == (expected and file.suffix != ".csv"), file
    written = pd.read_csv(tmp_path / "mine.csv")["mean"]
    np.testing.assert_allclose(written, content.summary(chosen)["mean"], atol=1e-6)


@pytest.fixture
def methods(calibrated_grid):
    """Plain and calibrated methods."""
    return EXHIBITS["after_training"].select(read_results([calibrated_grid]))


def test_table_of_methods_is_markdown_and_csv(methods, tmp_path):
    """A row per method, whatever metrics the dataset has; means alone, and all numbers as CSV."""
    table = MethodTable(("ece_all", "ece_boundary", "dice", "rank_correlation"))
    markdown, numbers = table.write(methods, tmp_path / "mine")

    assert (markdown.name, numbers.name) == ("mine.md", "mine.csv")
    lines = markdown.read_text().splitlines()
    start = lines.index("**ACDC**") + 2
    assert lines[start] == (
        "| Method | ECE over all voxels ↓ | DSC ↑ | Rank correlation of expected and true DSC ↑ |"
    )
    labels = [line.split(" | ")[0] for line in lines[start + 2 : start + 5]]
    assert labels == ["| CE+DSC", "| CE+DSC + temperature (all)", "| CE+DSC + temperature (union)"]
    written = pd.read_csv(numbers)
    np.testing.assert_allclose(written["mean"], table.summary(methods)["mean"], atol=1e-6)
    assert "paper" not in written
    ece = written[(written["metric"] == "ece_all") & (written["dataset"] == "acdc")]
    best = ece.loc[ece["mean"].idxmin()]
    row = next(line for line in lines if line.startswith(f"| {method_label(best['method'])} |"))
    assert f"| **{best['mean']:.4f}** |" in row


def test_caption_of_a_plot_says_how_its_networks_were_changed(grid_copy, tmp_path):
    """Behind what it says by itself; nothing, where all are as in the menu. Numbers are beside it."""
    run = grid_copy / "acdc/attention_unet_nacl_seed0"
    figure = Figure()
    plot = Plot(lambda _: (figure, pd.DataFrame({"method": ["nacl"], "mean": [0.5]})))

    changed = {"networks": {"attention_unet": {"_target_": "AttentionUnet", "channels": [4, 8]}}}
    for config, caption in (({}, "Means."), (changed, "Means. AttUNet with channels [4, 8].")):
        (run / "config.json").write_text(json.dumps(config))
        chosen = EXHIBITS["figure8"].select(read_results([grid_copy]), datasets=["acdc"])
        figure.supxlabel("Means.")
        files = plot.write(chosen, tmp_path / "mine")
        assert " ".join(figure.get_supxlabel().split()) == caption

    assert [file.name for file in files] == ["mine.png", "mine.svg", "mine.csv"]
    assert files[2].read_text() == "method,mean\nnacl,0.500000\n"


def test_pictures_are_drawn_for_every_dataset_from_first_runs(results, tmp_path):
    """The names of their files end in that of the dataset."""
    drawn = []

    def draw(runs):
        drawn.append([run.folder.name for run in runs])
        return {"mine_left": Figure(), "mine_right": Figure()}

    files = Pictures(draw).write(EXHIBITS["figure5"].select(results), tmp_path / "mine")

    parts = product(("left", "right"), ("acdc", "hippocampus"), ("png", "svg"))
    assert {path.name for path in files} == {"mine_{}_{}.{}".format(*part) for part in parts}
    assert drawn == [
        ["unet_dice_ce_seed0", "unet_svls_seed0", "unet_nacl_seed0"],
        ["unet_dice_ce_seed0", "unet_nacl_seed0"],
    ]


def test_no_picture_is_written_if_one_cannot_be_drawn(results, tmp_path):
    """Half a figure is worse than none."""
    drawn = iter([{"mine": Figure()}])

    with pytest.raises(StopIteration):
        Pictures(lambda _: next(drawn)).write(results, tmp_path / "mine")
    assert not list(tmp_path.iterdir())


NAMES = [f"table{k}" for k in range(1, 5)] + [f"figure{k}" for k in range(1, 12)]


def experiments(name):
    return list(EXHIBITS[name].grid().experiments(datasets=["acdc"]))


def method_names(results):
    return sorted({experiment.method.name for experiment in results.folders})


def test_every_table_and_figure_is_there_in_the_paper_s_order():
    """Four tables, eleven figures; each entry is found by its own name; there may be more."""
    assert [name for name in EXHIBITS if name in NAMES] == NAMES
    assert all(exhibit.name == name for name, exhibit in EXHIBITS.items())


def test_every_exhibit_is_a_target_of_make():
    """`make figure7` is `nacl-monai reproduce figure7`."""
    command = ["make", "--dry-run", "--no-print-directory", *EXHIBITS]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    for name in EXHIBITS:
        assert f".venv/bin/nacl-monai reproduce {name}" in printed


def test_numbers_of_experiments_are_the_paper_s():
    """Counted by hand from the paper's section 4; docs/reproduce.md has the same."""
    main = ("table1", "table2", "figure1", "figure2", "figure4", "figure5", "figure10", "figure11")
    expected = dict.fromkeys(main, 8) | dict.fromkeys(("table3", "table4", "figure3"), 2)
    expected |= {"figure6": 6 * 3, "figure7": 3 * 2, "figure8": 5 * 3, "figure9": 4 * 7}
    assert {name: len(experiments(name)) for name in NAMES} == expected
    every, without = (
        {entry for name in set(NAMES) - left_out for entry in experiments(name)}
        for left_out in (set(), {"figure8", "figure9"})
    )
    assert (len(every), len(without)) == (59, 26)

    text = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| .* \| (\d+) \|$", text, flags=re.MULTILINE)
    assert {name: int(count) for name, count in rows} == expected
    assert "59 different ones per seed, 26 without figures 8 and 9" in " ".join(text.split())


@pytest.mark.parametrize(
    ("name", "datasets", "methods"),
    [
        ("table1", ["acdc", "hippocampus"], ["dice_ce", "nacl", "svls"]),
        ("table3", ["acdc"], ["nacl", "nacl_prior=gaussian"]),
        ("table4", ["acdc"], ["nacl", "nacl_penalty=l2"]),
        ("figure3", ["acdc"], ["nacl", "nacl_space=softmax"]),
        ("figure7", ["acdc"], ["nacl_prior=gaussian", "svls", "svls_sigma=1.0"]),
        ("figure8", ["acdc"], ["nacl", "svls"]),
        ("figure9", ["acdc"], ["dice_ce", "nacl", "svls"]),
    ],
)
def test_ablation_has_only_datasets_on_which_something_was_varied(results, name, datasets, methods):
    """A table has its methods, on the datasets that say something about them."""
    chosen = EXHIBITS[name].select(results)

    assert chosen.datasets == datasets
    assert method_names(chosen) == methods


def test_every_calibrator_follows_the_three_losses_that_are_compared():
    """None is left out."""
    after = ["", "+temperature_all", "+temperature_union"]
    after += [f"+{name}_all" for name in METHODS if name != "temperature"]
    names = [entry.name for entry in EXHIBITS["posthoc"].grid().methods]

    assert names == [f"{loss}{a}" for loss in ("cross_entropy", "dice_ce", "nacl") for a in after]


def test_main_runs_behind_temperatures_are_no_ablation(calibrated_grid):
    """Only where a hyper-parameter was varied are they beside it."""
    results, exhibit = read_results([calibrated_grid]), EXHIBITS["hyperparameters"]
    chosen = exhibit.select(results, losses=["nacl"])
    assert {"nacl", "nacl+temperature_all", "nacl_penalty_weight=0.2"} <= set(method_names(chosen))

    line = refused(partial(exhibit.select, seeds=[1]), results)  # of which nothing was varied
    assert line == "hyperparameters: none of its runs exists; run `make hyperparameters`"


@pytest.mark.parametrize(
    ("name", "runs", "methods"),
    [
        ("three_d",
         {"unet_nacl_seed0": "unet3d_nacl_seed0",
          "unet_svls_seed0": "unet3d_ml1ace_ignore_empty_classes=False_seed0"},
         ["ml1ace_ignore_empty_classes=False", "nacl"]),
        ("widths",
         {"unet_nacl_prior=gaussian_seed0": "unet_nacl_prior=blur_sigma=2.0_kernel_size=19_seed0"},
         ["nacl", "nacl_prior=blur_kernel_size=19_sigma=2.0"]),
    ],
)  # fmt: skip
def test_runs_that_the_paper_lacks_have_an_exhibit_of_their_own(
    grid_copy, tmp_path, name, runs, methods
):
    """It has a table and tests of these runs, and no other exhibit has them."""
    line = refused(EXHIBITS[name].select, read_results([grid_copy]))
    assert line.startswith(f"{name}: none of its runs exists")
    for source, own in runs.items():
        (grid_copy / "acdc" / source).rename(grid_copy / "acdc" / own)

    results = read_results([grid_copy])
    assert EXHIBITS[name].select(results).datasets == ["acdc"]
    write_exhibit(name, [grid_copy], tmp_path / "shown")
    files = (tmp_path / f"shown/{stem}.csv" for stem in (name, f"{name}_tests"))
    table, tests = map(pd.read_csv, files)
    assert sorted(set(table["method"])) == methods
    assert set(tests["metric"]) == {"dice", "ece_foreground", "ece_union", "nll_all"}
    for other in NAMES:
        shown = results.select(EXHIBITS[other].grid()).folders.values()
        assert not any(folder.name in runs.values() for folder in shown)


@pytest.mark.usefixtures("toy_menu")
def test_run_of_another_loss_is_found_but_shown_nowhere(grid_copy):
    """It neither appears in a table nor breaks one: the menu may hold more than the paper."""
    shown = [setup for name in NAMES for setup in EXHIBITS[name].grid().setups]
    assert not any("toy" in setup.network + setup.method.name for setup in shown)
    run = grid_copy / "acdc" / "unet_svls_seed0"
    run.rename(run.with_name("unet_toy_seed0"))
    results = read_results([grid_copy])

    assert "toy" in method_names(results)
    assert method_names(EXHIBITS["table1"].select(results)) == ["dice_ce", "nacl"]


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
    svls = ("svls_sigma=0.5", "svls_sigma=1.0", "svls")
    nacl = ("nacl", "nacl_penalty_weight=0.2", "")
    for axes, column in zip(figure.axes, ("dice", "ece_foreground"), strict=True):
        assert [text.get_text() for text in axes.get_xticklabels()] == ["SVLS", "NACL"]
        for line, *names in zip(axes.lines, svls, nacl, svls, strict=True):
            values = [means.get((column, name), np.nan) for name in names]
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
            names = ("unet", "attention_unet")
            values = [means.get((column, loss, name), np.nan) for name in names]
            assert list(line.get_ydata()) == pytest.approx(values, nan_ok=True)
            assert line.get_color() == figures.loss_style(loss)["color"]


def test_figure9_has_a_line_of_every_loss_over_the_fractions(drawn):
    """In percent; a loss that was run on all patients alone is a point."""
    figure, means = drawn("figure9", ["column", "method", "fraction"])

    for axes, column in zip(figure.axes, ("dice", "ece_foreground"), strict=True):
        lines = dict(zip(("dice_ce", "svls", "nacl"), axes.lines, strict=True))
        values = [means[column, "nacl", fraction] for fraction in (0.5, 1.0)]
        np.testing.assert_allclose(lines["nacl"].get_data(), [[50, 100], values])
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


@given(
    loss=st.sampled_from(MAIN_LOSSES),
    network=st.sampled_from(PAPER_NETWORKS),
    value=st.floats(0.01, 99).map(lambda value: round(value, 3)),
    fraction=st.sampled_from([0.25, 0.5, 1.0]),
    fold=st.none() | st.integers(0, 6),
    seed=st.integers(0, 10**6),
)
def test_name_of_any_experiment_is_read_back(loss, network, value, fraction, fold, seed):
    """A name says everything about an experiment but its dataset, also of those in no table."""
    defaults = choose_loss(loss).settings
    keys = [key for key, default in defaults.items() if isinstance(default, float)]
    chosen = method(loss, **dict.fromkeys(keys[-1:], value))
    experiment = Experiment("acdc", Setup(chosen, network, fraction), fold, seed)

    assert read_name("acdc", experiment.name) == experiment
    assert read_method(chosen.name) == chosen


def test_what_follows_a_training_is_in_the_method_s_name_but_not_in_the_run_s():
    """It is another method, of the same training, in a folder within the run's."""
    calibrated = replace(method("nacl", prior="gaussian"), after=("temperature_union",))
    experiment = Experiment("acdc", Setup(calibrated), seed=2)

    assert calibrated.name == "nacl_prior=gaussian+temperature_union"
    assert read_method(calibrated.name) == calibrated
    assert experiment.name == "unet_nacl_prior=gaussian_seed2"
    folder = experiment.folder(Path("run")).evaluation.path
    assert folder == Path("run/calibrated/temperature_union/evaluation")
    plain = Experiment("acdc", Setup(method("nacl")))
    assert plain.folder(Path("run")).path == Path("run")


def test_ensemble_is_one_experiment_of_all_seeds():
    """It is found in the folder of the first; a single seed has none."""
    grid = Grid((replace(method("nacl"), after=("ensemble",)),))

    (found,) = grid.experiments(datasets=["acdc"], seeds=(2, 0, 1))
    assert (found.seed, found.method.joins_seeds) == (2, True)
    assert found.folder(Path("run")).path == Path("run/calibrated/ensemble")
    assert not list(grid.experiments(datasets=["acdc"], seeds=(2,)))
    folds = list(grid.experiments(datasets=["mrbrains"], seeds=(0, 1)))
    assert [entry.fold for entry in folds] == list(range(len(folds)))
    assert {entry.seed for entry in folds} == {0}


@pytest.mark.parametrize(
    ("loss", "settings", "name"),
    [
        *((loss, choose_loss(loss).settings, loss) for loss in MAIN_LOSSES),
        # Whole numbers are decimal ones where the default is.
        ("focal", {"gamma": 3}, "focal"),
        ("focal", {"gamma": 2}, "focal_gamma=2.0"),
        # The order is the menu's; what the menu lacks follows in alphabetical order.
        ("nacl", {"sigma": 2.0, "prior": "gaussian"}, "nacl_prior=gaussian_sigma=2.0"),
        ("nacl", {"zeta": 1, "alpha": 2, "sigma": 2}, "nacl_sigma=2.0_alpha=2_zeta=1"),
        ("nacl", {"include_center": False}, "nacl_include_center=False"),
    ],
)
def test_name_of_a_method_says_what_is_not_at_its_default(loss, settings, name):
    """The defaults of the menu are what a training does without the setting."""
    assert method(loss, **settings).name == name
    assert read_method(name) == method(loss, **settings)


def test_setting_that_is_yes_or_no_is_with_or_without():
    assert method_label("ml1ace_ignore_empty_classes=False") == "mL1-ACE (without skipping)"
    assert method_label("nacl_include_center=True") == "NACL (with include_center)"


def test_record_with_a_withdrawn_word_means_what_it_meant():
    """Whoever has such a run of the default of then must rename it, since it is another one now."""
    config = {"losses": {"ml1ace": {"include_absent": True}}, "loss": "@losses::ml1ace"}
    then, now = (
        read_name("hippocampus", f"unet_ml1ace{setting}_seed0")
        for setting in ("_ignore_empty_classes=False", "")
    )

    assert unlike_name(then, config) == []
    assert unlike_name(now, config) == ["ignore_empty_classes (True, now False)"]


def test_overrides_are_what_the_variables_of_make_do_not_say():
    """Settings of the loss carry its name; those of the training do not."""
    name = "attention_unet_nacl_prior=gaussian_train_fraction=0.5_fold=2_seed1"

    assert read_name("mrbrains", name).overrides == [
        *("--losses::nacl::prior", "gaussian"),
        *("--train_fraction", "0.5"),
        *("--fold", "2"),
    ]


LOSSES = ", ".join(read_menu("losses"))
KINDS = "not the name of an experiment; train_fraction must be a number and fold a whole one"


@pytest.mark.parametrize(
    ("call", "name", "message"),
    [
        (method, "nalc", f"no such loss; choose from: {LOSSES}"),
        (loss_label, "mine", f"no such loss; choose from: {LOSSES}"),
        (
            lambda name: [*main_grid().experiments(datasets=[name])],
            "acd",
            "no such dataset; choose",
        ),
        (partial(read_name, "acdc"), "probe", "not the name of a run; "),
        (partial(read_name, "acdc"), "unet_nacl_train_fraction=half_seed0", KINDS),
        (partial(read_name, "acdc"), "unet_nacl_fold=1.5_seed0", KINDS),
    ],
)
def test_name_that_is_none_is_refused(call, name, message):
    """In one line, with the choices."""
    assert refused(call, name).startswith(f"{name}: {message}")


def test_data_and_networks_of_one_s_own_need_no_label():
    """Their names are their labels."""
    assert (dataset_label("mine"), network_label("mine")) == ("mine", "mine")


def test_main_grid_has_six_datasets_and_eight_losses():
    """The paper's losses and plain cross-entropy; seven folds of MRBrainS."""
    table = list(main_grid().experiments())

    assert {experiment.dataset for experiment in table} == set(PAPER_DATASETS)
    assert {experiment.method.loss for experiment in table} == {"cross_entropy", *PAPER_LOSSES}
    assert {experiment.fold for experiment in table} == {None, *range(7)}
    assert len(set(table)) == len(table) == 5 * 8 + 7 * 8


def test_datasets_losses_networks_and_seeds_narrow_a_grid():
    """Data that the paper lacks may be named."""
    grid = Grid((method("svls"), method("nacl")), networks=PAPER_NETWORKS)
    narrowed = {"datasets": ["hippocampus"], "losses": ["nacl"], "networks": ["transunet"]}

    chosen = list(grid.experiments(**narrowed, seeds=(0, 1)))

    assert {entry.dataset for entry in chosen} == {"hippocampus"}
    assert [entry.name for entry in chosen] == ["transunet_nacl_seed0", "transunet_nacl_seed1"]


def test_ablation_narrowed_to_runs_of_the_main_tables_is_empty():
    """It would show nothing that they do not; the main tables may be narrowed to anything."""
    ablation = Grid((method("nacl"),), networks=PAPER_NETWORKS)

    assert not list(ablation.experiments(networks=["unet"]))
    assert list(ablation.experiments(networks=["unet", "transunet"]))
    assert list(main_grid().experiments(losses=["nacl"]))


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("cross_entropy", "CE"),
        ("nacl", "NACL"),
        ("focal_gamma=2.0", "FL (γ = 2)"),
        ("svls_sigma=0.5", "SVLS (σ = 0.5)"),
        ("mbls_margin=3.0", "MbLS (m = 3)"),
        ("nacl_penalty_weight=0.2", "NACL (λ = 0.2)"),
        ("nacl_prior=gaussian", "NACL (Gaussian prior)"),
        ("nacl_prior=gaussian_sigma=2.0", "NACL (Gaussian prior, σ = 2)"),
        ("nacl_penalty=l2", "NACL (L2)"),
        ("nacl_space=softmax", "NACL (on softmax)"),
        ("nacl_zeta=7", "NACL (zeta = 7)"),
        ("nacl+temperature_union", "NACL + temperature (union)"),
        ("svls_sigma=1.0+temperature_all", "SVLS (σ = 1) + temperature (all)"),
    ],
)
def test_label_of_a_method_says_what_is_not_at_its_default(name, label):
    """Symbols are those of the loss; values that speak for themselves are alone, as are calibrators."""
    assert method_label(name) == label


def test_losses_of_the_main_tables_look_different():
    """No two losses share a color or a marker."""
    styles = [loss_style(loss) for loss in MAIN_LOSSES]

    for key in ("color", "marker"):
        assert len({style[key] for style in styles}) == len(MAIN_LOSSES)


@pytest.mark.parametrize(
    ("label", "names", "expected"),
    [
        (dataset_label, PAPER_DATASETS, "ACDC FLARE BraTS PROSTATE KiTS MRBrainS"),
        (network_label, PAPER_NETWORKS, "UNet AttUNet TransUNet UNet++ nnUNet"),
        (loss_label, MAIN_LOSSES, "CE CE+DSC FL ECP LS SVLS MbLS NACL"),
    ],
)
def test_labels_are_the_paper_s(label, names, expected):
    """Read by eye from the paper, in its order."""
    assert [label(name) for name in names] == expected.split()


@pytest.mark.usefixtures("toy_menu")
def test_loss_of_the_menu_alone_has_name_label_color_marker_and_symbol():
    """So has a network; a loss without description has the plainest."""
    experiment = read_name("acdc", "unet_toy_strength=3_seed1")

    assert experiment.method == method("toy", strength=3.0)
    assert experiment.name == "unet_toy_strength=3.0_seed1"
    assert method_label("toy_strength=3.0") == "Toy (s = 3)"
    assert loss_style("toy") == {"color": OKABE_ITO["green"], "marker": "h"}
    assert symbol("toy", "strength") == "s"
    assert symbol("toy", "other") == "other"
    assert network_label("toynet") == "ToyNet"
    assert (loss_label("plain"), loss_style("plain")["color"]) == ("plain", OKABE_ITO["black"])


def test_any_grid_is_followed():
    """Its methods keep their settings and their order."""
    methods = followed(proposed_and(penalty="l2"), ("vector_all",)).methods
    names = [method.name for method in methods]
    assert names == ["nacl", "nacl+vector_all", "nacl_penalty=l2", "nacl_penalty=l2+vector_all"]
