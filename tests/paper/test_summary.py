"""The numbers of the paper's tables: ours, the paper's beside them, and the difference."""

import csv
from collections import defaultdict

import numpy as np
import pandas as pd
import pytest

from nacl_monai.paper import EXHIBITS, read_results, summarize
from nacl_monai.paper.grid import PAPER_DATASETS
from nacl_monai.paper.published import KEYS, read_published
from nacl_monai.paper.summary import beside_paper, correlate


@pytest.fixture(scope="module")
def table1(results):
    chosen = EXHIBITS["table1"].select(results)
    return summarize(chosen, ("dice", "hd95"), per_structure=True)


def test_structures_are_above_their_mean(table1):
    """Per dataset DSC and HD95 of each structure and of their mean."""
    acdc = table1[(table1["dataset"] == "acdc") & (table1["method"] == "nacl")]

    assert acdc["metric"].tolist() == ["dice"] * 4 + ["hd95"] * 4
    assert acdc["structure"].tolist() == ["RV", "myocardium", "LV", "mean"] * 2


def test_mean_alone_where_structures_are_not_wanted(results):
    """Tables 2 to 4 have one number per dataset, metric and method."""
    table = summarize(EXHIBITS["table1"].select(results), ("dice", "hd95"))

    assert set(table["structure"]) == {"mean"}
    assert len(table) == 2 * (3 + 2)


def test_number_is_the_mean_over_patients(grid, table1):
    """With the CSV module and loops: over the cases of a patient, then over patients."""
    patients = defaultdict(list)
    path = grid / "acdc" / "unet_svls_seed0" / "evaluation" / "cases.csv"
    with path.open() as file:
        for row in csv.DictReader(file):
            patients[row["patient"]].append(float(row["dice_RV"]))
    means = [sum(values) / len(values) for values in patients.values()]

    row = table1.set_index(["dataset", "metric", "structure", "method"]).loc[
        ("acdc", "dice", "RV", "svls")
    ]
    assert row["mean"] == pytest.approx(sum(means) / len(means))
    assert (row["patients"], row["seeds"]) == (4, 1)
    assert row["low"] < row["mean"] < row["high"]


def test_paper_s_number_is_that_of_the_same_table_and_method(table1):
    """The same dataset, structure and metric; elsewhere it is empty."""
    paper = read_published().set_index(KEYS)["value"]
    beside = beside_paper(table1, "Table 1", "authors")
    by_key = beside.set_index(["dataset", "structure", "metric", "method"])

    row = by_key.loc[("acdc", "LV", "hd95", "svls")]
    assert row["paper"] == paper["Table 1", "acdc", "LV", "hd95", "svls"]
    assert row["difference"] == pytest.approx(row["mean"] - row["paper"])
    assert np.isnan(by_key.loc[("hippocampus", "mean", "dice", "nacl"), "paper"])
    assert beside_paper(table1, "Table 2")["paper"].isna().all()


def test_case_of_a_structure_s_letters_does_not_count(table1):
    """The paper writes MYO and RV, a run what its dataset calls them."""
    lower = table1.assign(structure=table1["structure"].str.lower())

    expected = beside_paper(table1, "Table 1")["paper"]
    pd.testing.assert_series_equal(beside_paper(lower, "Table 1")["paper"], expected)
    assert expected.notna().any()


def test_correlation_is_of_each_run_and_their_mean(results):
    """Spearman's over the cases of a run, then over the seeds; of every structure and the mean."""
    chosen = EXHIBITS["table1"].select(results, losses=["nacl"], datasets=["acdc"])
    rows = correlate(chosen).set_index("structure")
    cases = chosen.cases("acdc")

    assert list(rows.index) == ["RV", "myocardium", "LV", "mean"]
    for structure in ("RV", "LV"):
        by_seed = [
            run[f"dice_{structure}"].corr(run[f"expected_dice_{structure}"], "spearman")
            for _, run in cases.groupby("seed")
        ]
        assert len(by_seed) == 2
        assert rows.loc[structure, "mean"] == pytest.approx(np.mean(by_seed))
        assert rows.loc[structure, "seed_sd"] == pytest.approx(np.std(by_seed, ddof=1))
    assert rows.loc["mean", ["patients", "seeds"]].tolist() == [4, 2]


def test_mean_over_datasets_is_the_mean_of_their_means(grid_copy):
    """For the methods that were run on all of them."""
    source = grid_copy / "hippocampus" / "unet_nacl_seed0"
    source.rename(source.with_name("unet_nacl_prior=gaussian_seed0"))
    results = EXHIBITS["table3"].select(read_results([grid_copy]))
    table = summarize(results, ("dice", "ece_foreground"), over_datasets=True)
    means = table.set_index(["dataset", "metric", "method"])["mean"]

    for metric in ("dice", "ece_foreground"):
        name = "nacl_prior=gaussian"
        parts = [means[dataset, metric, name] for dataset in ("acdc", "hippocampus")]
        assert means["all", metric, name] == pytest.approx(sum(parts) / 2)
        assert ("all", metric, "nacl") not in means
    assert table["dataset"].tolist()[-2:] == ["all", "all"]


@pytest.mark.parametrize(
    ("datasets", "beside"),
    [
        (PAPER_DATASETS, True),
        (PAPER_DATASETS[:-1], False),
        ((*PAPER_DATASETS, "hippocampus"), False),
    ],
)
def test_mean_over_other_datasets_has_no_number_of_the_paper(datasets, beside):
    """Theirs is the mean over their six; each dataset is shown beside its own."""
    row = {"structure": "mean", "metric": "ece_foreground", "method": "nacl", "mean": 0.1}
    table = pd.DataFrame([{"dataset": name, **row} for name in (*datasets, "all")])
    shown = beside_paper(table, "Table 3").set_index("dataset")

    assert shown.loc[list(PAPER_DATASETS[:5]), "paper"].notna().all()
    assert shown.loc["all", ["paper", "difference"]].notna().tolist() == [beside] * 2


def test_one_dataset_has_no_mean_over_datasets(results):
    """It would say the same again."""
    chosen = EXHIBITS["table3"].select(results)
    table = summarize(chosen, ("dice",), over_datasets=True)

    assert set(table["dataset"]) == {"acdc"}
