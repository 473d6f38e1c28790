"""Figure 4: the mean size of the logits per true class."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from nacl_monai.reports import Run
from nacl_monai.reports.logits import draw_class_logits


def draw(runs: Sequence[Run]) -> dict[str, Figure]:
    """Draws the figure of one dataset; returns it by the stem of its file."""
    return {"figure4": draw_class_logits(runs)}
