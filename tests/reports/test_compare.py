"""Comparisons hold means of where a metric is defined, and tests by what is best for the truth."""

import csv
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nacl_monai import audit
from nacl_monai.evaluations import read_runs
from nacl_monai.evaluations.tables import best_places
from nacl_monai.metrics import Pooled
from nacl_monai.reports import (
    comparison_markdown,
    comparison_table,
    comparison_text,
    write_comparison,
)
from nacl_monai.reports.compare import difference_lines, pooled_decision
from tests.reports.conftest import predicted
from tests.same import same_bits


@pytest.fixture
def small(runs):
    """Two runs whose metrics are easy to average by hand; HD95 is undefined in two cases."""
    undefined = [2.0, np.nan, 4.0, np.nan, 3.0, 3.0, 3.0]
    ce = {"dice": [0.9] * 6 + [0.2], "hd95": undefined, "ece_foreground": 0.2}
    nacl = {"dice": 0.7, "hd95": 5.0, "ece_foreground": 0.05}
    named = {"CE": ce | {"cece_foreground": 0.03}, "NACL": nacl | {"cece_foreground": 0.03004}}
    return [
        replace(run, name=name, metrics=run.metrics.assign(**values).drop(columns="nll_all"))
        for run, (name, values) in zip(runs, named.items(), strict=True)
    ]


class TestComparisonTable:
    def test_means_are_over_the_cases_in_which_a_number_is_defined(self, copies, change_cases):
        """By the csv module; what one run alone has, or no case, is undefined."""
        partly = [None, *np.linspace(0.1, 0.6, 6)]
        change_cases(copies[0], lambda table: table.assign(ece_union=partly, nll_union=np.nan))
        table = comparison_table(read_runs(copies))

        for (_, row), folder in zip(table.iterrows(), copies, strict=True):
            with (folder / "evaluation" / "cases.csv").open() as file:
                cases = list(csv.DictReader(file))
            assert row["cases"] == len(cases)
            for metric in {"ece_union", "nll_union", *cases[0]} - {"case"}:
                values = [float(case[metric]) for case in cases if case.get(metric)]
                expected = sum(values) / len(values) if values else math.nan
                assert row[metric] == pytest.approx(expected, nan_ok=True)
                assert row[f"n({metric})"] == len(values)

    def test_structure_whose_name_ends_in_n_keeps_its_score(self, runs):
        """Whatever structures are called, a mean is not a count."""
        scores = {"dice_node": 0.8, "dice_node_n": 0.6, "hd95_node_n_n": 1.5}
        run = replace(runs[0], metrics=runs[0].metrics.assign(**scores))

        row = comparison_table([run]).iloc[0]

        assert row[list(scores)].to_dict() == pytest.approx(scores)
        assert row[["n(dice_node)", "n(dice_node_n)"]].tolist() == [7, 7]


class TestMarkdown:
    def test_best_is_bold_and_partial_means_say_their_n(self, small):
        """Higher DSC and lower others are best; among equal digits nothing is; n where not all."""
        assert comparison_markdown(comparison_table(small)).splitlines() == [
            "| Method | DSC ↑ | HD95 ↓ |",
            "| :--- | ---: | ---: |",
            "| CE | **0.800** | **3.00** (n=5) |",
            "| NACL | 0.700 | 5.00 |",
            "",
            "Mean over 7 test cases; HD95 in voxels. Bold: best of the column.",
            "Only 7 cases: too few to say much.",
            "Not counted: ECE near the prediction, contours and what is expected of structures.",
            "n: cases in which HD95 could be computed, where not in all; such means may be over "
            "different cases.",
            "",
            "The paper's measures, over regions that the label decides.",
            "",
            "| Method | ECE ↓ | CECE ↓ |",
            "| :--- | ---: | ---: |",
            "| CE | 0.200 | 0.030 |",
            "| NACL | **0.050** | 0.030 |",
        ]

    def test_metric_that_is_nowhere_defined_says_so(self, runs):
        """A metric that is nowhere defined says so, and is best of nothing."""
        undefined = replace(runs[0], metrics=runs[0].metrics.assign(hd95=math.nan))

        line = comparison_markdown(comparison_table([undefined, runs[1]])).splitlines()[2]

        assert "| undefined (n=0) |" in line


class TestText:
    def test_columns_are_aligned_and_a_star_marks_the_best(self, small):
        """Numbers of a column end below each other."""
        lines = comparison_text(comparison_table(small)).splitlines()
        assert any("*: best of the row." in line for line in lines)

        assert lines[:3] == [
            "                 CE   NACL",
            "DSC ↑        *0.800  0.700",
            "HD95 ↓  *3.00 (n=5)   5.00",
        ]
        assert lines[-2:] == ["ECE ↓   0.200  *0.050", "CECE ↓  0.030   0.030"]


class TestWriteComparison:
    def test_csv_holds_every_column_at_full_precision(self, runs, folders, tmp_path):
        """Columns of single structures, too; each number comes back exactly."""
        table = comparison_table(runs)

        text, paths = write_comparison(folders, tmp_path, names=[run.name for run in runs])

        csv_file = tmp_path / "comparison.csv"
        back = pd.read_csv(csv_file, index_col="method", dtype=str).astype(float)
        assert csv_file in paths
        assert text == comparison_text(table, difference_lines(runs))
        assert {"dice_RV", "hd95_LV", "n(hd95)", "cases"} <= set(back.columns)
        same_bits(back, table.astype(float), "they are read back")


class TestBestPlaces:
    @pytest.mark.parametrize(
        ("values", "metric", "places"),
        [
            ([0.8, 0.9, 0.7], "dice_RV", [1, 0, 2]),
            ([0.9001, 0.9004, 0.8], "dice", [0, 0, 1]),
            ([3.001, 3.004, 3.01], "hd95", [0, 0, 1]),
            ([0.1, 0.2, 0.3, 0.4], "cece_union", [0, 1, 2, 2]),
            ([np.nan, 0.2, 0.1], "ece_foreground", [2, 1, 0]),
            ([np.nan, 0.2], "dice", [2, 2]),
            ([np.nan, np.nan], "dice", [2, 2]),
            ([0.5], "dice", [2]),
            ([0.0, -0.0, 1.0], "hd95", [0, 0, 1]),
            ([], "dice", []),
        ],
    )
    def test_printed_digits_decide_and_equals_are_no_best(self, values, metric, places):
        """Equal digits share a place; among equals, and alone, nobody is best."""
        assert best_places(values, metric) == places

    @given(st.lists(st.integers(0, 30), min_size=2, max_size=8), st.sampled_from(["dice", "hd95"]))
    def test_place_is_the_number_of_better_values(self, hundredths, metric):
        """A slow loop: how many different printed values are better."""
        sign = 1 if metric == "dice" else -1
        better = [len({b for b in hundredths if sign * b > sign * a}) for a in hundredths]
        if len(set(hundredths)) == 1:
            better = [2] * len(hundredths)

        places = best_places([hundredth / 100 for hundredth in hundredths], metric)

        assert places == [min(number, 2) for number in better]


@pytest.fixture
def led():
    """An overconfident and a true model of the same cases, with what is led with."""
    models = {"hot": 0.25, "true": 1.0}
    return [
        replace(audit(*predicted(temperature, cases=8, seed=3)).run, name=name)
        for name, temperature in models.items()
    ]


def test_what_is_led_with_is_of_all_cases_together(led):
    """With its interval, and the truth is best."""
    table = comparison_table(led)
    lines = comparison_markdown(table).splitlines()[:4]
    headings, _, *rows = (line.strip("| ").split(" | ") for line in lines)
    cells = pd.DataFrame(rows, columns=headings)

    near = [run.bins.pooled_numbers["ece_near"] for run in led]
    hot, true = (number.text() for number in near)
    best, interval = true.split(" ", 1)
    assert cells["ECE near the prediction ↓"].tolist() == [hot, f"**{best}** {interval}"]
    misses = [run.bins.pooled_numbers["contour_misses"].value for run in led]
    assert cells["5% contour, misses"].tolist() == [f"{share:.3f}" for share in misses]
    assert table["contour_misses_pooled"].tolist() == pytest.approx(misses)


def test_differences_are_tested_by_numbers_that_are_best_for_the_truth(led):
    """By patients in pairs: the true model is better by NLL, Brier score, and ECE."""
    lines = difference_lines(led)

    assert len(lines) == 3
    assert all("hot minus true: +" in line and line.endswith("worse.") for line in lines)
    assert [line.split(",")[0] for line in lines] == [
        *("NLL over all voxels", "Brier score over all voxels", "ECE near the prediction")
    ]
    mirrored = difference_lines(led[::-1])
    assert all("true minus hot: -" in line and line.endswith("better.") for line in mirrored)
    assert not difference_lines(led[:1])


def test_what_was_not_counted_is_said(led, runs):
    """A file of an earlier version has no such sums, and nobody makes them up."""
    bare = replace(led[1].bins, decisions=None)
    texts = [comparison_text(comparison_table([led[0], replace(led[1], bins=bare)]))]
    texts.append(comparison_text(comparison_table(runs)))

    (line,) = (line for line in texts[0].splitlines() if line.startswith("5% contour, misses"))
    assert line.endswith("not counted")
    sentence = "Not counted: ECE near the prediction, contours and what is expected of structures."
    assert [sentence in text for text in texts] == [False, True]


@pytest.mark.parametrize(
    ("interval", "decision"),
    [
        ((-0.05, -0.02), "better"),
        ((0.02, 0.05), "worse"),
        ((-0.02, 0.005), "cannot tell"),
        ((-0.005, 0.005), "equivalent"),
        ((-0.005, -0.001), "slightly better"),
        ((0.001, 0.005), "slightly worse"),
        ((math.nan, math.nan), "cannot tell"),
    ],
)
def test_pooled_errors_are_decided_by_their_interval_and_by_what_matters(interval, decision):
    """An error near 0 has a difference that matters: 0.01, and not 5 % of nothing."""
    assert pooled_decision(Pooled(0.0, 0.0, *interval, 20, 0)) == decision
