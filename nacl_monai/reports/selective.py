"""Risk and coverage: how many errors does a reader meet who trusts the most confident voxels?

*Selective classification for deep neural networks* (Geifman and El-Yaniv, 2017),
https://arxiv.org/abs/1705.08500. Everything is drawn from the fine bins in ``bins.npz``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from nacl_monai.evaluations.evaluated import Run, read_runs
from nacl_monai.evaluations.tables import csv_text
from nacl_monai.files import write_text
from nacl_monai.metrics.fine_bins import aurc, error_auroc
from nacl_monai.reports.style import (
    OKABE_ITO,
    WIDTH,
    add_caption,
    house_style,
    panel_figure,
    panel_grid,
    save_figure,
)
from nacl_monai.tensors import Floats

#: Most panels side by side, and the size of one in inches.
_COLUMNS = 2
PANEL = (3.4, 2.3)
#: Coverages at which a curve is computed.
POINTS = 1000
_COLORS = tuple(
    OKABE_ITO[name] for name in ("black", "vermillion", "blue", "green", "purple", "orange", "sky")
)
LINES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class RiskCurve:
    """One method's selective risk in one region, all cases pooled.

    Attributes:
        coverage: The share of the voxels that a reader looks at, the most confident first.
        risk: The error rate among them.
        error: Area under this curve.
        mean_error: Mean over the cases of the area under the curve of each.
        auroc: The probability that a right voxel is more confident than a wrong one, all cases pooled.
        voxels: Number of voxels.
    """

    coverage: Floats
    risk: Floats
    error: float
    mean_error: float
    auroc: float
    voxels: int


def risk_curve(run: Run, region: str) -> RiskCurve:
    """The risk–coverage curve of one run in one region.

    Voxels of a fine bin count as equally confident, and their errors as spread evenly.

    Args:
        run: From `nacl_monai.evaluations.read_run`.
        region: One of the regions in ``bins.npz``.

    Raises:
        InputError: If the run has no such region, or no fine bins.
    """
    pooled = run.bins.select_fine(region)
    covered, wrong = (
        np.concatenate([[0], sums.flip(-1).cumsum(-1).numpy()])
        for sums in (pooled.counts, pooled.errors)
    )
    coverage = np.linspace(1 / POINTS, 1, POINTS)
    voxels = int(covered[-1])
    with np.errstate(invalid="ignore"):
        risk = np.interp(coverage * voxels, covered, wrong) / (coverage * voxels)
    return RiskCurve(
        coverage=coverage,
        risk=risk,
        error=aurc(pooled.counts, pooled.errors).item(),
        mean_error=run.bins.errors("aurc", region).nanmean().item(),
        auroc=error_auroc(pooled.counts, pooled.errors).item(),
        voxels=voxels // run.bins.times,
    )


def draw_selective(runs: Sequence[Run], regions: Sequence[str] = ()) -> tuple[Figure, pd.DataFrame]:
    """Draws the risk–coverage curves of several runs, a panel per region.

    Args:
        runs: From `nacl_monai.evaluations.read_runs`.
        regions: Some of the regions in ``bins.npz``; by default all.

    Returns:
        The figure, and its numbers: one row per region and method, with ``aurc`` (mean over cases),
        ``aurc_pooled`` and ``error_auroc_pooled``.

    Raises:
        InputError: If a run has no such region, or no fine bins.
    """
    regions = list(regions) or runs[0].bins.regions
    curves = {region: [risk_curve(run, region) for run in runs] for region in regions}
    lines, columns = panel_grid(len(regions), _COLUMNS)
    with house_style():
        figure = panel_figure(
            lines,
            columns,
            PANEL,
            width=WIDTH if columns > 1 else WIDTH * 0.6,
            left=0.8,
            bottom=0.65,
            between=(1.0, 0.9),
        )
        panels = figure.subplots(lines, columns, squeeze=False).flatten()
        for ax in panels[len(regions) :]:
            ax.set_axis_off()
        for ax, region in zip(panels, regions, strict=False):
            _draw_panel(ax, [run.name for run in runs], curves[region])
            ax.set_title(runs[0].bins.label(region))
        add_caption(figure, _caption(runs[0]))
    return figure, _numbers(runs, curves)


def write_selective(
    folders: Sequence[str | Path],
    output: str | Path,
    *,
    names: Sequence[str] | None = None,
    regions: Sequence[str] = (),
) -> list[Path]:
    """Writes ``selective.png``, ``.svg`` and their numbers, ``.csv``; returns the paths.

    Args:
        folders: Run folders that were evaluated on the same test cases.
        output: Folder for the files.
        names: One name per run; by default those of the folders.
        regions: Some of the regions in ``bins.npz``; by default all.

    Raises:
        InputError: If a run cannot be read, if the runs cannot be compared, or if they have no such
            region or no fine bins.
    """
    figure, numbers = draw_selective(read_runs(folders, names), regions)
    stem = Path(output) / "selective"
    return [*save_figure(figure, stem), write_text(stem.with_suffix(".csv"), csv_text(numbers))]


def _draw_panel(axes: Axes, names: Sequence[str], curves: Sequence[RiskCurve]) -> None:
    for k, (name, curve) in enumerate(zip(names, curves, strict=True)):
        axes.plot(
            curve.coverage,
            curve.risk,
            color=_COLORS[k % len(_COLORS)],
            linestyle=LINES[k // len(_COLORS) % len(LINES)],
            label=f"{curve.mean_error:.2g}  {name}" if curve.voxels else f"no voxels  {name}",
        )
    axes.set(xlim=(0, 1), xlabel="Coverage", ylabel="Error rate")
    axes.set_ylim(bottom=0)
    for axis, decimals in ((axes.xaxis, 0), (axes.yaxis, None)):
        axis.set_major_formatter(PercentFormatter(xmax=1, decimals=decimals))
    legend = axes.legend(loc="best", title="AURC", fontsize=8.5, title_fontsize=8.5)
    legend.set_alignment("left")
    legend.set_in_layout(False)  # it is within the panel, and its best place is slow to find


def _caption(run: Run) -> str:
    return (
        "Coverage: the share of the voxels that is looked at, the most confident first; error rate: of "
        f"these. All voxels of {len(run.cases)} {run.scope.cases} together. AURC: the area under the "
        "curve of a case, mean over the cases."
    )


def _numbers(runs: Sequence[Run], curves: dict[str, list[RiskCurve]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "region": region,
                "method": run.name,
                "aurc": curve.mean_error,
                "aurc_pooled": curve.error,
                "error_auroc_pooled": curve.auroc,
                "voxels": curve.voxels,
            }
            for region, of_region in curves.items()
            for run, curve in zip(runs, of_region, strict=True)
        ]
    )
