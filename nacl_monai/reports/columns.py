"""The columns of ``cases.csv``: how each metric is called, rounded and judged."""

from __future__ import annotations

from dataclasses import dataclass

from nacl_monai.errors import InputError


@dataclass(frozen=True)
class Metric:
    """How one metric is shown.

    Attributes:
        label: its name in tables and figures.
        decimals: digits after the point.
        higher_is_better: False for errors and distances.
    """

    label: str
    decimals: int = 3
    higher_is_better: bool = False

    @property
    def heading(self) -> str:
        """The label with an arrow toward better values: "DSC ↑"."""
        return f"{self.label} {'↑' if self.higher_is_better else '↓'}"

    def text(self, value: float, sign: str = "") -> str:
        """The value with the metric's digits; with ``sign="+"`` always signed."""
        return f"{value:{sign}.{self.decimals}f}"


#: The metrics that tables and figures show. A column is a metric, or ``<metric>_<structure>``.
METRICS = {
    "dice": Metric("DSC", higher_is_better=True),
    "hd95": Metric("HD95", decimals=2),
    "ece_foreground": Metric("ECE"),
    "cece_foreground": Metric("CECE"),
    "ece_union": Metric("ECE over prediction ∪ label"),
    "cece_union": Metric("CECE over prediction ∪ label"),
}


def metric_of(column: str) -> str:
    """The metric that a column of ``cases.csv`` holds, of a structure or of all.

    Raises:
        InputError: the column holds no metric of `METRICS`.

    Example:
        >>> metric_of("dice_RV"), metric_of("ece_foreground")
        ('dice', 'ece_foreground')
    """
    for metric in METRICS:
        if column == metric or column.startswith(f"{metric}_"):
            return metric
    raise InputError(f"{column}: no known metric; choose from {', '.join(METRICS)}")


def structure_of(column: str) -> str:
    """The structure of a column ``<metric>_<structure>``; empty where the metric is of all.

    Example:
        >>> structure_of("dice_RV"), structure_of("ece_foreground")
        ('RV', '')
    """
    return column.removeprefix(metric_of(column)).removeprefix("_")
