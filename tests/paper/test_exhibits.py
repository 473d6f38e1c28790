"""Each table and figure is one entry: its experiments, its files and its tests."""

import json
import re
import subprocess
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from nacl_monai.errors import InputError
from nacl_monai.paper import EXHIBITS, read_results, write_exhibit
from nacl_monai.paper.exhibits import MethodTable, Pictures, Plot, Table
from nacl_monai.paper.grid import method_label


@pytest.mark.parametrize("content", [Table("", ("dice",)), MethodTable(("dice",))])
def test_tables_say_for_how_many_epochs_was_trained(grid_copy, tmp_path, content):
    """Where that differs between the runs that are shown."""
    for loss, epochs in (("nacl", 40), ("svls", 100)):
        run = grid_copy / f"acdc/unet_{loss}_seed0"
        (run / "config.json").write_text(json.dumps({"max_epochs": epochs}))
        (run / "run.json").write_text('{"finished": true}')
    found = read_results([grid_copy])

    for losses, said in (((), True), (["nacl", "dice_ce"], False)):
        chosen = EXHIBITS["table1"].select(found, losses=losses)
        for file in content.write(chosen, tmp_path / "mine"):
            there = "Trained for 40 or 100 epochs." in file.read_text()
            assert there == (said and file.suffix != ".csv"), file


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
    summary = table.summary(methods)
    np.testing.assert_allclose(written["mean"], summary["mean"], atol=1e-6)
    assert "paper" not in written
    ece = written[(written["metric"] == "ece_all") & (written["dataset"] == "acdc")]
    best = ece.loc[ece["mean"].idxmin()]
    (row,) = [line for line in lines if line.startswith(f"| {method_label(best['method'])} |")][:1]
    assert f"| **{best['mean']:.4f}** |" in row


def test_caption_of_a_plot_says_how_its_networks_were_changed(grid_copy, tmp_path):
    """Behind what it says by itself; nothing, where all are as in the menu."""
    config = {"networks": {"attention_unet": {"_target_": "AttentionUnet", "channels": [4, 8]}}}
    run = grid_copy / "acdc/attention_unet_nacl_seed0"
    captions = []

    def draw(_):
        captions.append(Figure())
        captions[-1].supxlabel("Means.")
        return captions[-1], pd.DataFrame()

    for record in ({}, config):
        (run / "config.json").write_text(json.dumps(record))
        chosen = EXHIBITS["figure8"].select(read_results([grid_copy]), datasets=["acdc"])
        Plot(draw).write(chosen, tmp_path / "mine")

    before, after = (figure.get_supxlabel().replace("\n", " ") for figure in captions)
    assert before == "Means."
    assert after == "Means. AttUNet with channels [4, 8]."


def test_pictures_are_drawn_for_every_dataset_from_first_runs(results, tmp_path):
    """The names of their files end in that of the dataset."""
    drawn = []

    def draw(runs):
        drawn.append([run.folder.name for run in runs])
        return {"mine_left": Figure(), "mine_right": Figure()}

    files = Pictures(draw).write(EXHIBITS["figure5"].select(results), tmp_path / "mine")

    assert sorted(path.name for path in files) == [
        f"mine_{side}_{dataset}.{suffix}"
        for side in ("left", "right")
        for dataset in ("acdc", "hippocampus")
        for suffix in ("png", "svg")
    ]
    assert drawn == [
        ["unet_dice_ce_seed0", "unet_svls_seed0", "unet_nacl_seed0"],
        ["unet_dice_ce_seed0", "unet_nacl_seed0"],
    ]


def test_no_picture_is_written_if_one_cannot_be_drawn(results, tmp_path):
    """Half a figure is worse than none."""
    calls = iter([{"mine": Figure()}])

    with pytest.raises(StopIteration):
        Pictures(lambda _: next(calls)).write(results, tmp_path / "mine")
    assert not list(tmp_path.iterdir())


ROOT = Path(__file__).parents[2]
NAMES = [f"table{k}" for k in range(1, 5)] + [f"figure{k}" for k in range(1, 12)]


def experiments(name, **narrowed):
    return list(EXHIBITS[name].grid().experiments(**narrowed))


def method_names(results):
    return sorted({experiment.method.name for experiment in results.folders})


def test_every_table_and_figure_is_there_in_the_paper_s_order():
    """Four tables, eleven figures; each entry is found by its own name; there may be more."""
    assert [name for name in EXHIBITS if name in NAMES] == NAMES
    assert all(exhibit.name == name for name, exhibit in EXHIBITS.items())


def test_every_exhibit_is_a_target_of_make():
    """`make figure7` is `nacl-monai reproduce figure7`."""
    words = ["make", "--dry-run", "--no-print-directory", *EXHIBITS]
    printed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    for name in EXHIBITS:
        assert f".venv/bin/nacl-monai reproduce {name}" in printed


def test_numbers_of_experiments_are_the_paper_s():
    """Counted by hand from the paper's section 4."""
    counts = {name: len(experiments(name, datasets=["acdc"])) for name in NAMES}

    assert counts["table1"] == counts["table2"] == counts["figure4"] == counts["figure11"] == 8
    assert counts["table3"] == counts["table4"] == counts["figure3"] == 2
    assert counts["figure6"] == 6 * 3
    assert counts["figure7"] == 3 * 2
    assert counts["figure8"] == 5 * 3
    assert counts["figure9"] == 4 * 7
    without = set(NAMES) - {"figure8", "figure9"}
    shared = {e for name in NAMES for e in experiments(name, datasets=["acdc"])}
    assert len(shared) == 59
    assert len({e for name in without for e in experiments(name, datasets=["acdc"])}) == 26


def test_reproduce_md_counts_the_experiments_of_every_exhibit():
    """The table in the documentation is what the grid says."""
    text = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| .* \| (\d+) \|$", text, flags=re.MULTILINE)

    counts = {name: len(experiments(name, datasets=["acdc"])) for name in NAMES}
    assert {name: int(count) for name, count in rows} == counts
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


def test_dataset_with_the_main_runs_alone_has_no_ablation(grid):
    """It has the main tables and figures."""
    results, shown = read_results([grid / "hippocampus"]), set()
    for name in NAMES:
        with suppress(InputError):
            EXHIBITS[name].select(results)
            shown.add(name)

    main = {"table1", "table2", "figure1", "figure2", "figure4", "figure5", "figure10", "figure11"}
    assert shown == main


def test_main_runs_behind_temperatures_are_no_ablation(calibrated_grid):
    """Only where a hyper-parameter was varied are they beside it."""
    results = read_results([calibrated_grid])
    chosen = EXHIBITS["hyperparameters"].select(results, losses=["nacl"])
    assert {"nacl", "nacl+temperature_all", "nacl_penalty_weight=0.2"} <= set(method_names(chosen))

    with pytest.raises(
        InputError, match="^hyperparameters: none of .*; run `make hyperparameters`"
    ):
        EXHIBITS["hyperparameters"].select(results, seeds=[1])  # of which nothing was varied


@pytest.mark.parametrize(
    ("name", "runs", "methods"),
    [
        ("three_d",
         {"unet_nacl_seed0": "unet3d_nacl_seed0", "unet_svls_seed0": "unet3d_ml1ace_seed0"},
         ["ml1ace", "nacl"]),
        ("widths",
         {"unet_nacl_prior=gaussian_seed0": "unet_nacl_prior=blur_sigma=2.0_kernel_size=19_seed0"},
         ["nacl", "nacl_prior=blur_kernel_size=19_sigma=2.0"]),
    ],
)  # fmt: skip
def test_runs_that_the_paper_lacks_have_an_exhibit_of_their_own(
    grid_copy, tmp_path, name, runs, methods
):
    """It has a table and tests of these runs, and no other exhibit has them."""
    with pytest.raises(InputError, match=f"^{name}: none of its runs is there"):
        EXHIBITS[name].select(read_results([grid_copy]))
    for given, own in runs.items():
        (grid_copy / "acdc" / given).rename(grid_copy / "acdc" / own)

    results = read_results([grid_copy])
    chosen = EXHIBITS[name].select(results)
    assert method_names(chosen) == methods
    assert chosen.datasets == ["acdc"]
    write_exhibit(name, [grid_copy], tmp_path / "shown")
    table = pd.read_csv(tmp_path / "shown" / f"{name}.csv")
    assert set(table["method"]) == set(methods)
    tests = pd.read_csv(tmp_path / "shown" / f"{name}_tests.csv")
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
