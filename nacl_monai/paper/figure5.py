"""Figure 5: a histogram of the largest logit over the epochs of training."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from nacl_monai.reports import Run
from nacl_monai.reports.logits import draw_epoch_logits


def draw(runs: Sequence[Run]) -> dict[str, Figure]:
    """Draws the figure of one dataset; returns it by the stem of its file."""
    return {"figure5": draw_epoch_logits(runs)}
