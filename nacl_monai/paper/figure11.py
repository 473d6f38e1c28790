"""Figure 11: predictions with their confidence, and reliability diagrams."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from nacl_monai.reports import Run
from nacl_monai.reports.maps import draw_maps
from nacl_monai.reports.reliability import draw_reliability
from nacl_monai.runs import RunFolder


def draw(runs: Sequence[Run]) -> dict[str, Figure]:
    """Draws both parts of the figure of one dataset; returns them by the stems of their files.

    Where no run has kept slices, such as of images that may not be shown, there are no maps.
    """
    kept = any(RunFolder(run.folder).evaluation.maps.is_dir() for run in runs)
    maps = {"figure11_maps": draw_maps(runs)} if kept else {}
    return {**maps, "figure11_reliability": draw_reliability(runs)}
