"""Does a network know which of its segmentations are good? Expected against true Dice, over cases."""

from __future__ import annotations

import pandas as pd
from scipy.stats import spearmanr

#: Fewer cases have no correlation worth a number.
FEWEST = 3


def rank_correlations(metrics: pd.DataFrame) -> dict[str, float]:
    """Spearman's rank correlation of the expected with the true Dice over the cases of one run.

    Args:
        metrics: One row per case; columns ``dice_<structure>`` and ``expected_dice_<structure>``.

    Returns:
        The correlation of each structure by its name, over the cases whose label has it; and under
        "mean" that of the means over the structures that a case's label has. NaN with fewer than three
        cases, or where all cases are alike. Empty where no Dice is expected.

    Example:
        >>> rank_correlations(
        ...     pd.DataFrame({"dice_LV": [0.5, 0.7, 0.9], "expected_dice_LV": [0.8, 0.9, 0.95]})
        ... )
        {'LV': 1.0, 'mean': 1.0}
    """
    names = [
        str(column).removeprefix("expected_dice_") for column in metrics if _is_expected(column)
    ]
    true = metrics[[f"dice_{name}" for name in names]].set_axis(names, axis=1)
    expected = metrics[[f"expected_dice_{name}" for name in names]].set_axis(names, axis=1)
    expected = expected.where(true.notna())
    pairs = {name: (expected[name], true[name]) for name in names}
    if pairs:
        pairs["mean"] = expected.mean(axis=1), true.mean(axis=1)
    return {name: _correlation(*pair) for name, pair in pairs.items()}


def _is_expected(column: object) -> bool:
    return str(column).startswith("expected_dice_")


def _correlation(first: pd.Series[float], second: pd.Series[float]) -> float:
    both = pd.concat([first, second], axis=1).dropna()
    if len(both) < FEWEST or (both.nunique() < 2).any():
        return float("nan")
    return float(spearmanr(*both.to_numpy().T).statistic)
