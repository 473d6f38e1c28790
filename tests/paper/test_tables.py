"""The paper's tables: our numbers, the paper's beside them, and what may be said of both."""

import numpy as np
import pandas as pd
import pytest

from nacl_monai.paper import read_results, summarize
from nacl_monai.paper.published import KEYS, read_published
from nacl_monai.paper.tables import (
    compare_methods,
    comparisons_to_markdown,
    marked,
    to_csv,
    to_latex,
    to_markdown,
)


@pytest.fixture(scope="module")
def table1(grid):
    return summarize(read_results([grid]).select("table1"), "table1", resamples=200)


def test_rows(table1):
    """Per dataset DSC and HD95 of each target and of their mean."""
    acdc = table1[(table1["dataset"] == "acdc") & (table1["method"] == "nacl")]

    assert acdc["metric"].tolist() == ["dice"] * 4 + ["hd95"] * 4
    assert acdc["structure"].tolist() == ["RV", "myocardium", "LV", "mean"] * 2


def test_beside_the_paper(table1):
    """The paper's number of the same table, dataset, target, metric and method; else nothing."""
    paper = read_published().set_index(KEYS)["value"]
    by_key = table1.set_index(["dataset", "structure", "metric", "method"])

    row = by_key.loc[("acdc", "LV", "hd95", "svls")]
    assert row["paper"] == paper["Table 1", "acdc", "LV", "hd95", "svls"]
    assert row["difference"] == pytest.approx(row["mean"] - row["paper"])
    assert np.isnan(by_key.loc[("hippocampus", "mean", "dice", "nacl"), "paper"])


def test_mean_over_datasets(grid_copy):
    """Table 3 ends with the mean of the datasets' means."""
    source = grid_copy / "hippocampus" / "unet_nacl_seed0"
    source.rename(source.with_name("unet_nacl_prior=gaussian_seed0"))
    results = read_results([grid_copy]).select("table3")
    table = summarize(results, "table3", resamples=50)
    found = table.set_index(["dataset", "metric", "method"])["mean"]

    key = "nacl_prior=gaussian"
    parts = [found[dataset, "dice", key] for dataset in ("acdc", "hippocampus")]
    assert found["all", "dice", key] == pytest.approx(sum(parts) / 2)
    assert ("all", "dice", "nacl") not in found


@pytest.mark.parametrize(
    ("values", "metric", "places"),
    [
        ([0.8, 0.9, 0.7], "dice", [1, 0, 2]),
        ([0.8, 0.9, 0.7], "ece_foreground", [1, 2, 0]),
        ([0.9001, 0.9004, 0.8], "dice", [0, 0, 1]),
        ([np.nan, 0.2, 0.1], "ece_foreground", [2, 1, 0]),
        ([0.5], "dice", [2]),
        ([0.5, 0.5], "dice", [2, 2]),
    ],
)
def test_marked(values, metric, places):
    """What is printed decides: equal digits share a place; among equals nobody is best."""
    assert marked(values, metric) == places


def small():
    rows = [
        ("acdc", "mean", "ece_foreground", "dice_ce", 0.12, 0.1, 0.14, 20, 3, 0.01, 0.137, -0.017),
        ("acdc", "mean", "ece_foreground", "nacl", 0.05, 0.04, 0.06, 20, 3, 0.01, 0.048, 0.002),
        (
            "hippocampus",
            "mean",
            "ece_foreground",
            "dice_ce",
            0.0754,
            np.nan,
            np.nan,
            1,
            3,
            0.01,
            np.nan,
            np.nan,
        ),
    ]
    names = "dataset structure metric method mean low high patients seeds seed_sd paper difference"
    return pd.DataFrame(rows, columns=names.split())


def test_markdown():
    """Best bold, second underlined; below it the interval, and the paper's with the difference."""
    lines = to_markdown(small()).splitlines()

    assert lines[:6] == [
        "**ECE ↓**",
        "",
        "| Dataset | Structure | CE+DSC | NACL |",
        "| :--- | :--- | ---: | ---: |",
        "| ACDC | Mean | <u>0.120</u><br>[0.100, 0.140]<br>0.137 (-0.017) "
        "| **0.050**<br>[0.040, 0.060]<br>0.048 (+0.002) |",
        "| Hippocampus | Mean | 0.075 | – |",
    ]
    assert "(ACDC 20, Hippocampus 1)" in lines[-1]


def test_latex():
    """One tabular per metric with as many cells in every row as columns."""
    text = to_latex(small())

    assert text.count(r"\begin{tabular}{llrr}") == text.count(r"\end{tabular}") == 1
    assert r"\textbf{0.050}\\{}[0.040" in text.replace(r"\\[", r"\\{}[")
    assert r"\underline{0.120}" in text
    for line in text.splitlines():
        if line.endswith(r"\\"):
            assert line.count("&") == 3


def test_csv_is_read_back(table1):
    """The CSV holds every number to six decimals."""
    text = to_csv(table1)
    rows = [line.split(",") for line in text.splitlines()]

    assert len(rows) == 1 + len(table1)
    assert float(rows[1][4]) == pytest.approx(table1["mean"].iloc[0], abs=1e-6)


def test_comparisons(grid):
    """NACL against each other loss, per dataset and metric, in plain words below."""
    results = read_results([grid]).select("table2")
    found = compare_methods(results, ["ece_foreground", "cece_foreground"], resamples=50)

    assert found.groupby(["dataset", "metric"], sort=False)["method"].agg(list).to_dict() == {
        ("acdc", "ece_foreground"): ["dice_ce", "svls"],
        ("acdc", "cece_foreground"): ["dice_ce", "svls"],
        ("hippocampus", "ece_foreground"): ["dice_ce"],
        ("hippocampus", "cece_foreground"): ["dice_ce"],
    }
    assert "| ACDC | ECE ↓ | CE+DSC |" in comparisons_to_markdown(found)
    assert "Holm" in comparisons_to_markdown(found)


def test_nothing_to_compare(grid):
    """With a single method there is no test."""
    results = read_results([grid]).select("table2", losses=["nacl"])

    assert compare_methods(results, ["ece_foreground"]).empty
