"""The columns of ``cases.csv``: what each metric is called, how it is rounded, which end is better."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isnan

from nacl_monai.errors import InputError


@dataclass(frozen=True)
class Metric:
    """How one metric is shown.

    Attributes:
        label: Its name in tables and figures.
        decimals: Digits after the point.
        higher_is_better: False for errors and distances; None where neither end is better.
        margin: The smallest difference that matters: 0.01 of DSC and of calibration errors, a voxel
            of HD95, which is the grid that it is measured on.
    """

    label: str
    decimals: int = 3
    higher_is_better: bool | None = False
    margin: float = 0.01

    @property
    def heading(self) -> str:
        """The label, with an arrow toward better values: "DSC ↑"."""
        return f"{self.label} {('↓', '', '↑')[self.direction + 1]}".rstrip()

    @property
    def direction(self) -> int:
        """1 where an increase is an improvement, −1 where it is a loss, 0 where it is neither."""
        return 0 if self.higher_is_better is None else 2 * self.higher_is_better - 1

    def text(self, value: float, sign: str = "") -> str:
        """The value with the metric's digits; ``sign="+"`` also marks positive ones."""
        return f"{value:{sign}.{self.decimals}f}"

    def interval(self, low: float, high: float) -> str:
        """The interval of a difference: "[+0.001, +0.014]"; "–" where a single patient gives none."""
        return "–" if isnan(low) else f"[{self.text(low, '+')}, {self.text(high, '+')}]"


#: The metrics that tables and figures show. A column is a metric, or ``<metric>_<structure>``; only
#: ``rank_correlation`` is not a column, since a single case has none.
METRICS = {
    "dice": Metric("DSC", higher_is_better=True),
    "hd95": Metric("HD95", decimals=2, margin=1.0),
    "ece_foreground": Metric("ECE"),
    "cece_foreground": Metric("CECE"),
    "ece_union": Metric("ECE over prediction ∪ label"),
    "cece_union": Metric("CECE over prediction ∪ label"),
    "ece_boundary": Metric("ECE near boundaries"),
    "cece_boundary": Metric("CECE near boundaries"),
    "ece_all": Metric("ECE over all voxels", decimals=4),
    "nll_union": Metric("NLL over prediction ∪ label"),
    "nll_boundary": Metric("NLL near boundaries"),
    "nll_all": Metric("NLL over all voxels", decimals=4),
    "brier_boundary": Metric("Brier score near boundaries"),
    "aurc_union": Metric("AURC over prediction ∪ label"),
    "aurc_all": Metric("AURC over all voxels", decimals=5),
    "error_auroc_union": Metric("AUROC of errors over prediction ∪ label", higher_is_better=True),
    "error_auroc_all": Metric("AUROC of errors over all voxels", higher_is_better=True),
    "expected_dice": Metric("Expected DSC", higher_is_better=None),
    "crps": Metric("CRPS of the volume in ml"),
    "rank_correlation": Metric("Rank correlation of expected and true DSC", higher_is_better=True),
}

#: Those that every evaluation writes.
MAIN_METRICS = ("dice", "hd95", "ece_foreground", "cece_foreground")

#: Those that a comparison of runs shows, where the runs have them.
COMPARED_METRICS = (*MAIN_METRICS, "ece_union", "ece_boundary")


def metric_of(column: str) -> str:
    """The metric that a column of ``cases.csv`` holds, of one structure or of all.

    Raises:
        InputError: If the column holds no metric of `METRICS`.

    Example:
        >>> metric_of("dice_RV"), metric_of("ece_foreground")
        ('dice', 'ece_foreground')
    """
    for metric in METRICS:
        if column == metric or column.startswith(f"{metric}_"):
            return metric
    raise InputError(f"{column}: no known metric; choose from {', '.join(METRICS)}")


def columns_of(metric: str, columns: Iterable[object]) -> list[str]:
    """The columns of a metric: all structures, then single ones, those with short names first.

    Example:
        >>> columns_of("dice", ["case", "dice_MYO", "dice", "dice_RV", "expected_dice"])
        ['dice', 'dice_RV', 'dice_MYO']
    """
    names = [str(column) for column in columns]
    of_metric = [name for name in names if name == metric or name.startswith(f"{metric}_")]
    return sorted(of_metric, key=len)


def structure_of(column: str) -> str:
    """The structure of a column ``<metric>_<structure>``; empty where the metric is of all.

    Raises:
        InputError: If the column holds no metric of `METRICS`.

    Example:
        >>> structure_of("dice_RV"), structure_of("ece_foreground")
        ('RV', '')
    """
    return column.removeprefix(metric_of(column)).removeprefix("_")
