"""What an exhibit consists of, and the files that it becomes."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from nacl_monai.paper import EXHIBITS, read_results
from nacl_monai.paper.contents import MethodTable, Pictures, Plot, Table
from nacl_monai.paper.names import method_label


def test_table_is_markdown_csv_and_latex(results, tmp_path):
    """All its metrics are tested; the CSV holds every number to six decimals."""
    table = Table("Table 2", ("ece_foreground",))
    chosen = EXHIBITS["table2"].select(results)
    files = table.write(chosen, tmp_path / "mine")

    assert [path.name for path in files] == ["mine.md", "mine.csv", "mine.tex"]
    assert table.tested == ("ece_foreground",)
    written = pd.read_csv(files[1])
    summary = table.summary(chosen)
    assert written["method"].tolist() == summary["method"].tolist()
    np.testing.assert_allclose(written["mean"], summary["mean"], atol=1e-6)
    assert summary.loc[summary["dataset"] == "acdc", "paper"].notna().all()


@pytest.mark.parametrize("content", [Table("", ("dice",)), MethodTable(("dice",))])
def test_tables_say_for_how_many_epochs_was_trained(grid_copy, tmp_path, content):
    """Where that differs between the runs that are shown."""
    for loss, epochs in (("nacl", 40), ("svls", 100)):
        run = grid_copy / f"acdc/unet_{loss}_seed0"
        (run / "config.json").write_text(json.dumps({"max_epochs": epochs}))
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


def test_table_of_methods_keeps_to_the_order_of_its_metrics(methods):
    """Whatever is computed first."""
    names = ("rank_correlation", "dice", "ece_all")

    assert list(dict.fromkeys(MethodTable(names).summary(methods)["metric"])) == list(names)


def test_plot_is_a_figure_with_its_numbers(results, tmp_path):
    """PNG and SVG, and what was drawn as CSV."""
    numbers = pd.DataFrame({"method": ["nacl"], "mean": [0.5]})
    plot = Plot(lambda _: (Figure(), numbers), tested=("dice",))
    files = plot.write(results, tmp_path / "mine")

    assert [path.name for path in files] == ["mine.png", "mine.svg", "mine.csv"]
    assert files[2].read_text() == "method,mean\nnacl,0.500000\n"


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
