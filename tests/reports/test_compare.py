"""Comparisons hold means over the cases in which a metric is defined, and say how many those are."""

import csv
import math
from dataclasses import replace

import pandas as pd
import pytest

from nacl_monai.reports import (
    comparison_markdown,
    comparison_table,
    comparison_text,
    read_runs,
    write_comparison,
)


@pytest.fixture
def small(runs):
    """Two runs whose metrics are easy to average by hand; HD95 is undefined in two cases."""
    values = {
        "dice": ([0.9] * 6 + [0.2], [0.7] * 7),
        "hd95": ([2.0, None, 4.0, None, 3.0, 3.0, 3.0], [5.0] * 7),
        "ece_foreground": ([0.2] * 7, [0.05] * 7),
        "cece_foreground": ([0.03] * 7, [0.03004] * 7),
        "dice_RV": ([None] * 7, [0.5] * 7),
    }
    columns = [{metric: column[k] for metric, column in values.items()} for k in range(2)]
    return [
        replace(
            run, name=name, metrics=run.metrics.assign(**new).astype(float).drop(columns="nll_all")
        )
        for run, name, new in zip(runs, ["CE", "NACL"], columns, strict=True)
    ]


class TestComparisonTable:
    def test_means_leave_out_undefined_cases(self, small):
        """An undefined case counts neither as 0 nor as anything else."""
        row = comparison_table(small).loc["CE"]

        assert row["dice"] == pytest.approx((6 * 0.9 + 0.2) / 7)
        assert row["hd95"] == pytest.approx(15 / 5)
        assert (row["n(hd95)"], row["n(dice)"], row["cases"]) == (5, 7, 7)

    def test_metric_without_any_value_has_no_mean(self, small):
        """A metric that no case defines has no mean and n = 0."""
        row = comparison_table(small).loc["CE"]

        assert math.isnan(row["dice_RV"])
        assert row["n(dice_RV)"] == 0

    def test_means_are_those_of_the_csv_modules_rows(self, runs, folders):
        """In every column, whatever it is called."""
        table = comparison_table(runs)

        for run, folder in zip(runs, folders, strict=True):
            with (folder / "evaluation" / "cases.csv").open() as file:
                rows = list(csv.DictReader(file))
            for metric in set(rows[0]) - {"case"}:
                expected = sum(float(row[metric]) for row in rows) / len(rows)
                assert table.loc[run.name, metric] == pytest.approx(expected)

    def test_metric_of_one_run_is_undefined_for_the_other(self, copies, change_cases):
        """A metric that only one run has is in the table all the same."""
        change_cases(copies[0], lambda table: table.assign(ece_union=0.5))

        table = comparison_table(read_runs(copies))

        assert table["ece_union"].iloc[0] == 0.5
        assert table["n(ece_union)"].tolist() == [7, 0]

    def test_structure_whose_name_ends_in_n_keeps_its_score(self, runs):
        """Whatever structures are called, a mean is not a count."""
        metrics = runs[0].metrics.assign(dice_node=0.8, dice_node_n=0.6, hd95_node_n_n=1.5)

        row = comparison_table([replace(runs[0], metrics=metrics)]).iloc[0]

        assert row[["dice_node", "dice_node_n", "hd95_node_n_n"]].tolist() == pytest.approx(
            [0.8, 0.6, 1.5]
        )
        assert row[["n(dice_node)", "n(dice_node_n)"]].tolist() == [7, 7]


class TestMarkdown:
    def test_best_is_bold_and_partial_means_say_their_n(self, small):
        """Higher DSC and lower others are best; among equal digits nothing is; n where not all."""
        assert comparison_markdown(comparison_table(small)).splitlines() == [
            "| Method | DSC ↑ | HD95 ↓ | ECE ↓ | CECE ↓ |",
            "| :--- | ---: | ---: | ---: | ---: |",
            "| CE | **0.800** | **3.00** (n=5) | 0.200 | 0.030 |",
            "| NACL | 0.700 | 5.00 | **0.050** | 0.030 |",
            "",
            "Mean over 7 test cases; HD95 in voxels. Bold: best of the column.",
            "n: cases in which HD95 could be computed, where not in all; such means may be over "
            "different cases.",
        ]

    def test_metric_that_is_nowhere_defined_says_so(self, runs):
        """A metric that is nowhere defined says so, and is best of nothing."""
        undefined = replace(runs[0], metrics=runs[0].metrics.assign(hd95=math.nan))

        line = comparison_markdown(comparison_table([undefined, runs[1]])).splitlines()[2]

        assert "| undefined (n=0) |" in line


class TestText:
    def test_columns_are_aligned_and_a_star_marks_the_best(self, small):
        """Numbers of a column end below each other."""
        assert comparison_text(comparison_table(small)).splitlines()[:3] == [
            "       DSC ↑       HD95 ↓   ECE ↓ CECE ↓",
            "CE    *0.800  *3.00 (n=5)   0.200  0.030",
            "NACL   0.700         5.00  *0.050  0.030",
        ]


class TestWriteComparison:
    def test_csv_holds_every_column_at_full_precision(self, runs, folders, tmp_path):
        """Columns of single structures, too."""
        table = comparison_table(runs)

        text, paths = write_comparison(folders, tmp_path, names=[run.name for run in runs])

        back = pd.read_csv(tmp_path / "comparison.csv", index_col="method")
        assert tmp_path / "comparison.csv" in paths
        assert text == comparison_text(table)
        assert {"dice_RV", "hd95_LV", "n(hd95)", "cases"} <= set(back.columns)
        pd.testing.assert_frame_equal(back, table, check_exact=False, rtol=1e-15)
