"""Markdown, CSV, and which of the printed values are best."""

import numpy as np
import pandas as pd
import pytest

from nacl_monai.paper.markup import best_places, csv_text, markdown_table


def test_markdown_has_a_line_per_row_below_the_rule():
    """Text on the left, numbers on the right."""
    text = markdown_table(["Method", "DSC ↑"], [["NACL", "0.91"], ["CE", "0.90"]], "lr")

    assert text.splitlines() == [
        "| Method | DSC ↑ |",
        "| :--- | ---: |",
        "| NACL | 0.91 |",
        "| CE | 0.90 |",
    ]


def test_csv_has_six_digits_and_no_index():
    """Undefined is empty."""
    table = pd.DataFrame({"method": ["a", "b"], "dice": [2 / 3, np.nan]}, index=[5, 7])

    assert csv_text(table) == "method,dice\na,0.666667\nb,\n"


@pytest.mark.parametrize(
    ("values", "metric", "places"),
    [
        ([0.8, 0.9, 0.7], "dice", [1, 0, 2]),
        ([0.8, 0.9, 0.7], "ece_foreground", [1, 2, 0]),
        ([1.001, 1.004, 1.02], "hd95", [0, 0, 1]),
        ([0.9001, 0.9004, 0.8], "dice", [0, 0, 1]),
        ([0.5], "dice", [2]),
        ([0.5, np.nan], "dice", [2, 2]),
        ([0.5, 0.5], "dice", [2, 2]),
        ([np.nan, 0.2, 0.1], "ece_foreground", [2, 1, 0]),
        ([0.1, 0.2, 0.3, 0.4], "ece_foreground", [0, 1, 2, 2]),
    ],
)
def test_printed_digits_decide_which_is_best(values, metric, places):
    """Equal digits share a place; nothing is best among equals."""
    assert best_places(values, metric) == places
