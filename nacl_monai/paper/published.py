"""The paper's own numbers, in one file beside this one.

``published.csv`` is transcribed from tables 1 to 4 of *Neighbor-aware calibration of segmentation
networks with penalty-based constraints* (Murugesan et al., 2024), https://arxiv.org/abs/2401.14487.
One row per number: ``table``; ``dataset``, or "all" for a mean over the six; ``structure``, or "mean"
over a dataset's; ``metric``; ``method``, as `nacl_monai.paper.grid.Method` names it; ``value``.

The paper's means agree with its parts to what rounding allows. Its one contradiction: NACL's DSC on
FLARE is 0.867 in table 1, and 0.868 in tables 3 and 4.
"""

from __future__ import annotations

from importlib.resources import files

import pandas as pd

KEYS = ["table", "dataset", "structure", "metric", "method"]


def read_published() -> pd.DataFrame:
    """All 462 numbers, in the order of the paper.

    Example:
        >>> numbers = read_published().set_index(KEYS)["value"]
        >>> float(numbers["Table 2", "acdc", "mean", "ece_foreground", "nacl"])
        0.048
    """
    with files("nacl_monai.paper").joinpath("published.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)
