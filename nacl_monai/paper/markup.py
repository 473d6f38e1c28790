"""Tables as text: Markdown and CSV, and which values are printed bold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from nacl_monai.reports.columns import METRICS


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> str:
    """A table in Markdown.

    Args:
        header: A heading per column.
        rows: The cells of each row.
        align: A letter per column: "l" is left, "r" is right.
    """
    rule = [{"l": ":---", "r": "---:"}[letter] for letter in align]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))


def csv_text(frame: pd.DataFrame) -> str:
    """A table as CSV with six digits; an empty cell is undefined."""
    return str(frame.to_csv(index=False, float_format="%.6f", lineterminator="\n"))


def best_places(values: Sequence[float], metric: str) -> list[int]:
    """0 for the best of the printed values, 1 for the second, else 2; equal digits share a place.

    Args:
        values: One per method; NaN is undefined.
        metric: A key of `nacl_monai.reports.columns.METRICS`.
    """
    printed = np.round(np.asarray(values, dtype=float), METRICS[metric].decimals)
    order = np.unique(printed[~np.isnan(printed)])
    if METRICS[metric].higher_is_better:
        order = order[::-1]
    places = {value: min(place, 2) for place, value in enumerate(order)}
    return [places.get(value, 2) if len(order) > 1 else 2 for value in printed]
