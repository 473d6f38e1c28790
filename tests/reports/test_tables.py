"""Tables hold means over the cases in which a metric is defined, and say how many those are."""

import csv
import io
import math

import pandas as pd
import pytest

from nacl_monai.reports import (
    comparison_table,
    read_runs,
    to_csv,
    to_markdown,
    to_text,
)


@pytest.fixture
def small(copies, change_cases):
    """Two runs whose metrics are easy to average by hand; HD95 is undefined in two cases."""
    values = {
        "dice": ([0.9] * 6 + [0.2], [0.7] * 7),
        "hd95": ([2.0, None, 4.0, None, 3.0, 3.0, 3.0], [5.0] * 7),
        "ece_foreground": ([0.2] * 7, [0.05] * 7),
        "cece_foreground": ([0.03] * 7, [0.03004] * 7),
        "dice_RV": ([None] * 7, [0.5] * 7),
    }
    for k, folder in enumerate(copies):
        new = {metric: column[k] for metric, column in values.items()}
        change_cases(folder, lambda table, new=new: table.assign(**new))
    return read_runs(copies, ["CE", "NACL"])


class TestComparisonTable:
    def test_means_leave_out_undefined_cases(self, small):
        """An undefined case counts neither as 0 nor as anything else."""
        row = comparison_table(small).loc["CE"]

        assert row["dice"] == pytest.approx((6 * 0.9 + 0.2) / 7)
        assert row["hd95"] == pytest.approx(15 / 5)
        assert (row["hd95_n"], row["dice_n"], row["cases"]) == (5, 7, 7)

    def test_metric_without_any_value(self, small):
        """A metric that no case defines has no mean and n = 0."""
        row = comparison_table(small).loc["CE"]

        assert math.isnan(row["dice_RV"])
        assert row["dice_RV_n"] == 0

    def test_means_by_another_route(self, runs, folders):
        """All means equal those of the CSV module's rows, in any column."""
        table = comparison_table(runs)

        for run, folder in zip(runs, folders, strict=True):
            with (folder / "evaluation" / "cases.csv").open() as file:
                rows = list(csv.DictReader(file))
            for metric in set(rows[0]) - {"case"}:
                expected = sum(float(row[metric]) for row in rows) / len(rows)
                assert table.loc[run.name, metric] == pytest.approx(expected)

    def test_metric_of_one_run_only(self, copies, change_cases):
        """A metric that only one run has is there, undefined for the other."""
        change_cases(copies[0], lambda table: table.assign(ece_union=0.5))

        table = comparison_table(read_runs(copies))

        assert table["ece_union"].iloc[0] == 0.5
        assert table["ece_union_n"].tolist() == [7, 0]


class TestMarkdown:
    def test_whole_table(self, small):
        """Best in bold, higher DSC and lower others; equal digits share it; n where not all."""
        assert to_markdown(comparison_table(small)).splitlines() == [
            "| Method | DSC ↑ | HD95 ↓ | ECE ↓ | CECE ↓ |",
            "| :--- | ---: | ---: | ---: | ---: |",
            "| CE | **0.800** | **3.00** (n=5) | 0.200 | **0.030** |",
            "| NACL | 0.700 | 5.00 | **0.050** | **0.030** |",
            "",
            "Mean over 7 test volumes; HD95 in voxels. Bold: best of the column.",
            "n: volumes in which HD95 could be computed, where not in all; such means may be over "
            "different volumes.",
        ]

    def test_one_run_has_no_best(self, small):
        """A single method is not the best of anything."""
        text = to_markdown(comparison_table(small[:1]))

        assert "**" not in text
        assert "best" not in text

    def test_undefined_metric(self, copies, change_cases):
        """A metric that is nowhere defined says so, and is best of nothing."""
        change_cases(copies[0], lambda table: table.assign(hd95=None))

        line = to_markdown(comparison_table(read_runs(copies))).splitlines()[2]

        assert "| undefined (n=0) |" in line

    def test_bar_in_a_name(self, folders):
        """A name with a bar doesn't add a column."""
        table = comparison_table(read_runs(folders, ["a|b", "c"]))

        assert to_markdown(table).splitlines()[2].startswith("| a\\|b | ")


class TestText:
    def test_aligned(self, small):
        """Numbers of a column end under each other; a star marks the best."""
        assert to_text(comparison_table(small)).splitlines()[:3] == [
            "       DSC ↑       HD95 ↓   ECE ↓  CECE ↓",
            "CE    *0.800  *3.00 (n=5)   0.200  *0.030",
            "NACL   0.700         5.00  *0.050  *0.030",
        ]


class TestCsv:
    def test_read_back(self, small):
        """The CSV holds every column, per class too, at full precision."""
        table = comparison_table(small)

        back = pd.read_csv(io.StringIO(to_csv(table)), index_col="method")

        assert {"dice_RV", "hd95_LV", "hd95_n", "cases"} <= set(back.columns)
        pd.testing.assert_frame_equal(back, table, check_exact=False, rtol=1e-15)
