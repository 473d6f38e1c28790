"""The score of a structure that label or prediction lacks: by our conventions and by the authors'.

================================ ====================== ==========================
                                 project                authors' code
================================ ====================== ==========================
the label lacks the structure    undefined, left out    DSC 1 and HD95 0
the prediction alone lacks it    DSC 0, HD95 diagonal   DSC 0 and HD95 0
================================ ====================== ==========================

CECE differs as well, in a way that no table of cases can undo (see docs/differences.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nacl_monai.errors import InputError

Score = Callable[[pd.DataFrame, Path], pd.DataFrame]


@dataclass(frozen=True)
class Conventions:
    """How absent structures are scored.

    Attributes:
        score: From the metrics in ``cases.csv``, and that file's path, to those by these conventions.
        alike: The metrics that are comparable with the paper's numbers.
    """

    score: Score
    alike: frozenset[str]


def as_authors(metrics: pd.DataFrame, path: Path) -> pd.DataFrame:
    """DSC and HD95 as the authors' code scores them, all else as it is.

    A prediction is empty where both its DSC and its expected DSC are 0: wherever a voxel is predicted,
    its probability counts.

    Args:
        metrics: One row per case, the columns of ``cases.csv``.
        path: The file that they are from.

    Raises:
        InputError: If a DSC is 0 in an evaluation that expects none, so that nobody knows whether the
            prediction is empty or elsewhere.

    Example:
        >>> cases = pd.DataFrame({"dice_LV": [0.8, None], "hd95_LV": [2.0, None]})
        >>> as_authors(cases, Path("cases.csv"))[["dice", "hd95"]].values.tolist()
        [[0.8, 2.0], [1.0, 0.0]]
    """
    scored = metrics.copy()
    names = [str(name).removeprefix("dice_") for name in metrics if str(name).startswith("dice_")]
    if not names:
        return scored
    for name in names:
        absent = metrics[f"dice_{name}"].isna()
        scored[f"dice_{name}"] = metrics[f"dice_{name}"].mask(absent, 1.0)
        without_distance = absent | _missed(metrics, name, path)
        scored[f"hd95_{name}"] = metrics[f"hd95_{name}"].mask(without_distance, 0.0)
    for metric in ("dice", "hd95"):
        scored[metric] = scored[[f"{metric}_{name}" for name in names]].mean(axis=1)
    return scored


def _missed(metrics: pd.DataFrame, name: str, path: Path) -> pd.Series[bool]:
    """Where a structure of the label is not predicted at all."""
    nothing_right = metrics[f"dice_{name}"] == 0
    if not nothing_right.any():
        return nothing_right
    if f"expected_dice_{name}" not in metrics:
        raise InputError(
            f"{path}: dice_{name} of case {nothing_right.idxmax()!r} is 0, and no expected_dice_{name} "
            "says whether anything was predicted; evaluate the run again"
        )
    return nothing_right & (metrics[f"expected_dice_{name}"] == 0)


#: Those of an evaluation.
PROJECT = "project"
#: By the word of ``--conventions``.
CONVENTIONS = {
    PROJECT: Conventions(lambda metrics, _: metrics, frozenset({"ece_foreground"})),
    "authors": Conventions(as_authors, frozenset({"dice", "hd95", "ece_foreground"})),
}
