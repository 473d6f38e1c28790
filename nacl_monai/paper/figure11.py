"""Figure 11: predictions with their confidence, and reliability diagrams."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from nacl_monai.reports import Run
from nacl_monai.reports.maps import draw_maps
from nacl_monai.reports.reliability import draw_reliability


def draw(runs: Sequence[Run]) -> dict[str, Figure]:
    """Draws both parts of the figure of one dataset; returns them by the stems of their files."""
    return {"figure11_maps": draw_maps(runs), "figure11_reliability": draw_reliability(runs)}
