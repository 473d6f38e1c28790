"""Runs of a grid are found by their names, and selected for tables and figures."""

import shutil
from contextlib import suppress

import pandas as pd
import pytest

from nacl_monai.errors import InputError
from nacl_monai.paper import read_results
from nacl_monai.paper.grid import TARGETS


def names(results):
    return sorted({experiment.method.name for experiment in results.folders})


def test_found(grid):
    """Every run at any depth, and nothing whose name is no experiment's; the paper's datasets first."""
    results = read_results([grid])

    assert len(results.folders) == 14
    assert results.datasets == ["acdc", "hippocampus"]
    assert results.networks == ["attention_unet", "unet"]
    assert results.seeds == [0, 1]


def test_cases(grid):
    """The rows of every cases.csv, each with what its run was."""
    cases = read_results([grid]).cases("acdc")

    assert len(cases) == 12 * 6
    half = cases[cases["fraction"] == 0.5]
    assert half["method"].unique().tolist() == ["nacl"]
    file = grid / "acdc" / "unet_nacl_train_fraction=0.5_seed0" / "evaluation" / "cases.csv"
    assert half["dice"].tolist() == pytest.approx(pd.read_csv(file)["dice"].tolist())
    assert half["patient"].tolist() == ["p0", "p1", "p1", "p2", "p2", "p3"]


@pytest.mark.parametrize(
    ("target", "datasets", "methods"),
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
def test_select(grid, target, datasets, methods):
    """A table has its methods; an ablation only the datasets on which something was varied."""
    results = read_results([grid]).select(target)

    assert results.datasets == datasets
    assert names(results) == methods


def test_main_table_has_nothing_of_the_ablations(grid):
    """Neither another network nor a part of the training patients gets into table 1."""
    folders = read_results([grid]).select("table1").folders.values()

    assert sorted(f"{folder.parent.name}/{folder.name}" for folder in folders) == [
        "acdc/unet_dice_ce_seed0",
        "acdc/unet_nacl_seed0",
        "acdc/unet_svls_seed0",
        "hippocampus/unet_dice_ce_seed0",
        "hippocampus/unet_nacl_seed0",
    ]


def test_common_seeds(grid_copy):
    """Seeds that only some methods have are left out; without a common one, all count."""
    results = read_results([grid_copy])

    assert results.select("table1", datasets=["acdc"]).seeds == [0]
    assert results.select("table1", losses=["nacl", "dice_ce"]).seeds == [0, 1]
    shutil.move(grid_copy / "acdc/unet_svls_seed0", grid_copy / "acdc/unet_svls_seed2")
    assert read_results([grid_copy]).select("table1", datasets=["acdc"]).seeds == [0, 1, 2]


def test_narrowed(grid):
    """Only what was asked for."""
    results = read_results([grid]).select("table1", datasets=["acdc"], losses=["nacl"], seeds=[1])

    assert [folder.name for folder in results.folders.values()] == ["unet_nacl_seed1"]


def test_nothing_left(grid):
    """A table without runs is one line that names the target to make."""
    with pytest.raises(InputError, match="run `make figure7`"):
        read_results([grid]).select("figure7", datasets=["hippocampus"])


def test_no_ablation_without_runs_of_it(grid):
    """A dataset with nothing but the main runs has the main tables and figures."""
    results, found = read_results([grid / "hippocampus"]), set()
    for target in TARGETS:
        with suppress(InputError):
            results.select(target)
            found.add(target)

    main = {"table1", "table2", "figure1", "figure2", "figure4", "figure5", "figure10", "figure11"}
    assert found == main


def test_no_runs(tmp_path):
    """An empty folder is one line."""
    with pytest.raises(InputError, match="no evaluated run below"):
        read_results([tmp_path])


def test_same_run_twice(grid_copy):
    """A run that stands in two places would count twice."""
    run = grid_copy / "acdc" / "unet_nacl_seed0"
    shutil.copytree(run, grid_copy / "old" / run.name)

    with pytest.raises(InputError, match="the same run as"):
        read_results([grid_copy])
