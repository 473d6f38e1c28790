"""Every table and figure of the paper by name, from whatever runs are there."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nacl_monai.paper import read_results, write_target
from nacl_monai.paper.__main__ import main
from nacl_monai.paper.grid import TARGETS
from nacl_monai.paper.reproduce import TITLES, first_runs

FIGURES = [name for name in TITLES if name.startswith("figure")]


def test_every_target_of_the_grid():
    """What the grid trains for, the reports can make."""
    assert list(TITLES) == list(TARGETS)


@pytest.mark.parametrize("target", TITLES)
def test_files(reproduced, target):
    """Each says in a manifest which files it has, and how they were made; all are there."""
    manifest = json.loads((reproduced / f"{target}.json").read_text())
    suffixes = {name.rpartition(".")[2] for name in manifest["files"]}

    assert suffixes >= ({"md", "csv", "tex"} if target.startswith("table") else {"png", "svg"})
    assert all((reproduced / name).stat().st_size for name in manifest["files"])
    assert f"python -m nacl_monai.paper {target} " in manifest["command"]


@pytest.mark.parametrize("target", FIGURES)
def test_figures_are_not_blank(reproduced, target):
    """Something is drawn, at README width at least."""
    for path in reproduced.glob(f"{target}*.png"):
        if path.stem.split("_")[0] == target:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("L"))
            assert pixels.shape[1] >= 500
            assert (pixels < 128).mean() > 0.002


def test_same_bytes(grid, reproduced, tmp_path):
    """The same runs give the same tables and figures, byte for byte."""
    for target in ("table2", "figure2"):
        for path in write_target(target, [grid], tmp_path):
            if path.suffix != ".json":
                assert path.read_bytes() == (reproduced / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    ("target", "columns"),
    [("table2", ["ece_foreground", "cece_foreground"]), ("figure10", ["ece_union", "cece_union"])],
)
def test_paired_tests(grid, reproduced, target, columns):
    """Beside what they show stand NACL's differences from each other method, from the runs' files."""
    tests = pd.read_csv(reproduced / f"{target}_tests.csv").set_index(
        ["dataset", "metric", "method"]
    )

    assert tests.loc["acdc"].index.get_level_values("metric").unique().tolist() == columns
    for column in columns:
        nacl, other = (
            pd.read_csv(grid / f"acdc/unet_{loss}_seed0/evaluation/cases.csv")
            .groupby("patient")[column]
            .mean()
            for loss in ("nacl", "svls")
        )
        difference = tests.loc[("acdc", column, "svls"), "difference"]
        assert difference == pytest.approx((nacl - other).mean(), abs=2e-6)


def test_sigma_percent(reproduced):
    """Figure 7: by how many percent of SVLS's score NACL's is better, from the figure's own means."""
    table = pd.read_csv(reproduced / "figure7.csv").set_index(["column", "sigma"])
    dice, ece = table.loc[("dice", 1.0)], table.loc[("ece_foreground", 1.0)]

    assert dice["percent"] == pytest.approx(100 * (dice["nacl"] / dice["svls"] - 1), abs=1e-3)
    assert ece["percent"] == pytest.approx(100 * (1 - ece["nacl"] / ece["svls"]), abs=1e-3)
    assert np.isnan(table.loc[("ece_foreground", 3.0), "percent"])


def test_first_runs(grid):
    """Figures of single runs show the first seed of every method."""
    runs = first_runs(read_results([grid]).select("figure4"), "acdc")

    assert {run.name: run.folder.name for run in runs} == {
        "CE+DSC": "unet_dice_ce_seed0",
        "SVLS": "unet_svls_seed0",
        "NACL": "unet_nacl_seed0",
    }


def test_command_line(grid, tmp_path, capsys):
    """A target narrowed to datasets, losses and seeds."""
    words = ["--datasets", "acdc", "--losses", "nacl", "dice_ce", "--seeds", "0"]

    assert main(["table2", str(grid), "--output", str(tmp_path), *words]) == 0

    table = pd.read_csv(tmp_path / "table2.csv")
    assert (set(table["dataset"]), set(table["method"])) == ({"acdc"}, {"nacl", "dice_ce"})
    assert set(table["seeds"]) == {1}
    assert " ".join(words) in json.loads((tmp_path / "table2.json").read_text())["command"]
    assert capsys.readouterr().out.count("wrote ") == 6


def test_no_runs(tmp_path, capsys):
    """Without runs a target is one line, and writes nothing."""
    assert main(["figure9", str(tmp_path), "--output", str(tmp_path / "out")]) == 1

    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()
