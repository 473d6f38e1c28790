"""Comparisons hold means of where a metric is defined, and changes region by region; tables are text."""

import csv
import io
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nacl_monai import audit
from nacl_monai.reports import (
    comparison_markdown,
    comparison_table,
    comparison_text,
    read_runs,
    write_comparison,
)
from nacl_monai.reports.compare import (
    Difference,
    difference_lines,
    draw_trade_off,
    trade_off_text,
    verdict_of,
    write_trade_off,
)
from nacl_monai.reports.tables import best_places, csv_text, markdown_table


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
            "| Method | DSC ↑ | HD95 ↓ |",
            "| :--- | ---: | ---: |",
            "| CE | **0.800** | **3.00** (n=5) |",
            "| NACL | 0.700 | 5.00 |",
            "",
            "Mean over 7 test cases; HD95 in voxels. Bold: best of the column.",
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
        """Columns of single structures, too."""
        table = comparison_table(runs)

        text, paths = write_comparison(folders, tmp_path, names=[run.name for run in runs])

        back = pd.read_csv(tmp_path / "comparison.csv", index_col="method")
        assert tmp_path / "comparison.csv" in paths
        assert text == comparison_text(table, difference_lines(runs))
        assert {"dice_RV", "hd95_LV", "n(hd95)", "cases"} <= set(back.columns)
        pd.testing.assert_frame_equal(back, table, check_exact=False, rtol=1e-15)


def differences(runs, region):
    """Differences of the ECE, a number per patient: the mean over their cases."""
    before, after = runs
    change = after.metrics[f"ece_{region}"] - before.metrics[f"ece_{region}"]
    patients = before.patients
    return np.array([change[patients == one].mean() for one in sorted(set(patients))])


def test_text_has_the_mean_difference_and_its_t_interval(runs):
    """Over patients, paired, a line per region."""
    verdict, score, *lines = trade_off_text(*runs).splitlines()

    assert verdict == "Verdict: better. Better by NLL over all voxels."
    assert score == f"  {difference_lines(runs[::-1])[0]}"
    assert lines[0] == ("Change of the ECE from CE + Dice to NACL [95 % interval], by region:")
    for region, line in zip(runs[0].bins.regions, lines[1:], strict=True):
        found = differences(runs, region)
        low, high = stats.t.interval(0.95, len(found) - 1, found.mean(), stats.sem(found))
        assert line == f"  {region}: {found.mean():.3f} [{low:.3f}, {high:.3f}]"


def test_points_are_the_means_of_the_regions(runs):
    """A point per run and region; the first run's are hollow."""
    (axes,) = draw_trade_off(runs).axes
    points = [line for line in axes.lines if line.get_marker() == "o"]

    assert [label.get_text() for label in axes.get_yticklabels()] == runs[0].bins.regions
    for run, line in zip(runs, points, strict=True):
        means = [run.mean(run.metrics[f"ece_{region}"]).mean for region in run.bins.regions]
        assert line.get_xdata() == pytest.approx(means)
    assert points[0].get_markerfacecolor() == "white"
    assert points[1].get_markerfacecolor() == points[1].get_color()


def test_lines_are_the_intervals(runs):
    """Through each point, at its height."""
    (axes,) = draw_trade_off(runs).axes
    spans = [segment[:, 0] for bars in axes.collections for segment in bars.get_segments()]
    expected = [
        run.mean(run.metrics[f"ece_{region}"]).interval()
        for run in runs
        for region in run.bins.regions
    ]

    np.testing.assert_allclose(spans, expected)


@pytest.mark.usefixtures("painted")
def test_files_are_written(runs, tmp_path):
    """As PNG and SVG."""
    files = write_trade_off(runs, tmp_path)

    assert [file.name for file in files] == ["trade_off.png", "trade_off.svg"]
    assert all(file.stat().st_size > 5_000 for file in files)


class TestMarkdownTable:
    def test_header_alignment_and_rows_are_one_line_each(self):
        """Drawn: what a reader of the file sees."""
        assert markdown_table(["Method", "DSC ↑"], [["CE", "0.8"], ["NACL", "**0.9**"]], "lr") == (
            "| Method | DSC ↑ |\n| :--- | ---: |\n| CE | 0.8 |\n| NACL | **0.9** |"
        )


class TestCsvText:
    table = pd.DataFrame({"method": ["a", "b"], "dice": [2 / 3, np.nan], "n": [3, 0]}, index=[7, 8])

    def test_six_digits_and_empty_where_undefined(self):
        """The index is left out; whole numbers stay whole; lines end as on Unix."""
        assert csv_text(self.table) == "method,dice,n\na,0.666667,3\nb,,0\n"

    def test_without_rounding_every_number_comes_back_exactly(self):
        """None keeps all digits."""
        values = np.random.default_rng(0).random(100)

        rows = list(csv.DictReader(io.StringIO(csv_text(pd.DataFrame({"x": values}), None))))

        assert [float(row["x"]) for row in rows] == values.tolist()


class TestBestPlaces:
    @pytest.mark.parametrize(
        ("values", "metric", "places"),
        [
            ([0.8, 0.9, 0.7], "dice", [1, 0, 2]),
            ([0.8, 0.9, 0.7], "ece_foreground", [1, 2, 0]),
            ([0.8, 0.9, 0.7], "dice_RV", [1, 0, 2]),
            ([0.9001, 0.9004, 0.8], "dice", [0, 0, 1]),
            ([3.001, 3.004, 3.01], "hd95", [0, 0, 1]),
            ([0.1, 0.2, 0.3, 0.4], "cece_union", [0, 1, 2, 2]),
            ([np.nan, 0.2, 0.1], "ece_foreground", [2, 1, 0]),
            ([np.nan, 0.2], "dice", [2, 2]),
            ([np.nan, np.nan], "dice", [2, 2]),
            ([0.5], "dice", [2]),
            ([0.5, 0.5], "dice", [2, 2]),
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
        values = [hundredth / 100 for hundredth in hundredths]
        better = max if metric == "dice" else min

        expected = []
        for value in values:
            ahead = {other for other in values if other != value and better(other, value) == other}
            expected.append(min(len(ahead), 2) if len(set(values)) > 1 else 2)

        assert best_places(values, metric) == expected


@pytest.fixture
def led():
    """An overconfident and a true model of the same cases, with what is led with."""
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(8, 2, 12, 12, generator=generator)
    drawn = torch.rand(8, 12, 12, generator=generator) < logits.softmax(1)[:, 1]
    models = {"hot": 4 * logits, "true": logits}
    return [
        replace(audit(one.softmax(1).numpy(), drawn.long().numpy()).run, name=name)
        for name, one in models.items()
    ]


def test_what_is_led_with_is_of_all_cases_together(led):
    """With its interval, and the truth is best."""
    table = comparison_table(led)
    cells = dict(zip(*comparison_cells(comparison_markdown(table)), strict=True))

    near = [run.bins.pooled_numbers["ece_near"] for run in led]
    hot, true = (number.text() for number in near)
    assert cells["ECE near the prediction ↓"] == [hot, f"**{true[:5]}**{true[5:]}"]
    misses = [run.bins.pooled_numbers["contour_misses"].value for run in led]
    assert cells["5 % contour, misses"] == [f"{share:.3f}" for share in misses]
    assert table["contour_misses_pooled"].tolist() == pytest.approx(misses)


def comparison_cells(markdown):
    """Headings, and the cells below each, of the first table."""
    rows = [line.strip("| ").split(" | ") for line in markdown.split("\n\n")[0].splitlines()]
    return rows[0], [list(column) for column in zip(*rows[2:], strict=True)]


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

    (line,) = (line for line in texts[0].splitlines() if line.startswith("5 % contour, misses"))
    assert line.endswith("not counted")
    said = "Not counted: ECE near the prediction, contours and what is expected of structures."
    assert [said in text for text in texts] == [False, True]


@pytest.mark.parametrize(
    ("decisions", "said"),
    [
        ("worse worse better", "no improvement. Better by ECE near the prediction; worse by NLL"),
        ("better|cannot tell|better", "better. Better by NLL over all voxels, ECE near the"),
        ("cannot tell|equivalent|worse", "worse. Worse by ECE near the prediction; no difference"),
        ("equivalent|too few patients|cannot tell", "no improvement. No difference beyond chance"),
        ("slightly worse|worse|cannot tell", "worse. Worse by NLL over all voxels, Brier score"),
    ],
)
def test_loss_over_all_voxels_is_no_improvement(decisions, said):
    """Whatever it gains near the prediction."""
    words = decisions.split("|") if "|" in decisions else decisions.split()
    metrics = ("nll_all", "brier_all", "ece_near")
    several = [
        Difference(metric, ("a", "b"), (0.1, 0.0, 0.2), word)
        for metric, word in zip(metrics, words, strict=True)
    ]

    assert verdict_of(several).startswith(f"Verdict: {said}")
