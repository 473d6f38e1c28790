"""Markdown and CSV that other programs read back, and places that go by what is printed."""

import csv
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nacl_monai.reports.tables import best_places, csv_text, markdown_table


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
