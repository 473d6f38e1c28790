"""The paper's tables: our numbers, the paper's beside them, and what may be said of both."""

import numpy as np
import pandas as pd
import pytest

from nacl_monai.reports import read_results, summarise
from nacl_monai.reports.paper import KEYS, read_paper
from nacl_monai.reports.result_tables import (
    compare_methods,
    comparisons_to_markdown,
    marked,
    to_csv,
    to_latex,
    to_markdown,
)


@pytest.fixture(scope="module")
def table1(grid):
    return summarise(read_results([grid]).select("table1"), "table1", resamples=200)


def test_rows(table1):
    """Per data set DSC and HD95 of each target and of their mean."""
    acdc = table1[(table1["data_set"] == "acdc") & (table1["method"] == "nacl")]

    assert acdc["metric"].tolist() == ["dice"] * 4 + ["hd95"] * 4
    assert acdc["target"].tolist() == ["RV", "myocardium", "LV", "mean"] * 2


def test_beside_the_paper(table1):
    """The paper's number of the same table, data set, target, metric and method; else nothing."""
    paper = read_paper().set_index(KEYS)["value"]
    by_key = table1.set_index(["data_set", "target", "metric", "method"])

    row = by_key.loc[("acdc", "LV", "hd95", "svls")]
    assert row["paper"] == paper["Table 1", "acdc", "LV", "hd95", "svls"]
    assert row["difference"] == pytest.approx(row["mean"] - row["paper"])
    assert np.isnan(by_key.loc[("hippocampus", "mean", "dice", "nacl"), "paper"])


def test_mean_over_data_sets(grid_copy):
    """Table 3 ends with the mean of the data sets' means."""
    source = grid_copy / "hippocampus" / "unet_nacl_seed0"
    source.rename(source.with_name("unet_nacl_prior=gaussian_seed0"))
    results = read_results([grid_copy]).select("table3")
    table = summarise(results, "table3", resamples=50)
    found = table.set_index(["data_set", "metric", "method"])["mean"]

    key = "nacl_prior=gaussian"
    parts = [found[data_set, "dice", key] for data_set in ("acdc", "hippocampus")]
    assert found["all", "dice", key] == pytest.approx(sum(parts) / 2)
    assert ("all", "dice", "nacl") not in found


@pytest.mark.parametrize(
    ("values", "metric", "places"),
    [
        ([0.8, 0.9, 0.7], "dice", [1, 0, 2]),
        ([0.8, 0.9, 0.7], "ece", [1, 2, 0]),
        ([0.9001, 0.9004, 0.8], "dice", [0, 0, 1]),
        ([np.nan, 0.2, 0.1], "ece", [2, 1, 0]),
        ([0.5], "dice", [2]),
        ([0.5, 0.5], "dice", [2, 2]),
    ],
)
def test_marked(values, metric, places):
    """What is printed decides: equal digits share a place; among equals nobody is best."""
    assert marked(values, metric) == places


def small():
    rows = [
        ("acdc", "mean", "ece", "dice_ce", 0.12, 0.1, 0.14, 20, 3, 0.01, 0.137, -0.017),
        ("acdc", "mean", "ece", "nacl", 0.05, 0.04, 0.06, 20, 3, 0.01, 0.048, 0.002),
        (
            "hippocampus",
            "mean",
            "ece",
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
    names = "data_set target metric method mean low high patients seeds seed_sd paper difference"
    return pd.DataFrame(rows, columns=names.split())


def test_markdown():
    """Best bold, second underlined; below it the interval, and the paper's with the difference."""
    lines = to_markdown(small()).splitlines()

    assert lines[:6] == [
        "**ECE ↓**",
        "",
        "| Data set | Target | CE+DSC | NACL |",
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
    """NACL against each other loss, per data set and metric, in plain words below."""
    results = read_results([grid]).select("table2")
    found = compare_methods(results, ["ece", "cece"], resamples=50)

    assert found.groupby(["data_set", "metric"], sort=False)["method"].agg(list).to_dict() == {
        ("acdc", "ece"): ["dice_ce", "svls"],
        ("acdc", "cece"): ["dice_ce", "svls"],
        ("hippocampus", "ece"): ["dice_ce"],
        ("hippocampus", "cece"): ["dice_ce"],
    }
    assert "| ACDC | ECE ↓ | CE+DSC |" in comparisons_to_markdown(found)
    assert "Holm" in comparisons_to_markdown(found)


def test_nothing_to_compare(grid):
    """With a single method there is no test."""
    results = read_results([grid]).select("table2", losses=["nacl"])

    assert compare_methods(results, ["ece"]).empty
