"""Radar plots, which have a spoke per method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from nacl_monai.reports.style import WIDTH, new_figure

COLUMNS = 3


@dataclass(frozen=True)
class Line:
    """One line around a radar.

    Attributes:
        values: One on each spoke.
        style: Arguments of matplotlib's `Axes.plot`.
    """

    values: Sequence[float]
    style: Mapping[str, Any]


@dataclass(frozen=True)
class RadarGrid:
    """Radars in rows of at most `COLUMNS`, ``kinds`` of them below each other for every dataset.

    Attributes:
        figure: The figure; use inside `nacl_monai.reports.style.house_style`.
        columns: Radars side by side.
        rows: Radars below each other.
        kinds: Radars per dataset.
    """

    figure: Figure
    columns: int
    rows: int
    kinds: int

    def add(self, k: int, kind: int = 0) -> Axes:
        """The empty radar of dataset number ``k``."""
        block, column = divmod(k, self.columns)
        row = self.kinds * block + kind
        axes: Axes = self.figure.add_subplot(
            self.rows, self.columns, row * self.columns + column + 1, projection="polar"
        )
        return axes


def new_radars(datasets: int, kinds: int, height: float, margin: float) -> RadarGrid:
    """A figure for the radars of some datasets.

    Args:
        datasets: How many there are.
        kinds: Radars per dataset.
        height: Height of a row of radars, in inches.
        margin: For legend and caption, in inches.
    """
    columns = min(datasets, COLUMNS)
    rows = kinds * math.ceil(datasets / columns)
    figure = new_figure(rows * height + margin, WIDTH if columns > 1 else WIDTH * 0.6)
    return RadarGrid(figure, columns, rows, kinds)


def draw_lines(axes: Axes, spokes: Sequence[str], lines: Sequence[Line]) -> None:
    """Draws closed lines over spokes with labels."""
    angles = np.linspace(0, 2 * np.pi, len(spokes), endpoint=False)
    for line in lines:
        radii = np.asarray(line.values, dtype=float)
        closed = np.append(angles, angles[0]), np.append(radii, radii[0])
        axes.plot(*closed, markersize=4, **line.style)
    axes.set_xticks(angles, spokes)
    axes.tick_params(axis="x", pad=6)
    axes.tick_params(axis="y", labelsize=8, labelcolor="0.3")


def zoom(axes: Axes, lines: Sequence[Line]) -> None:
    """Puts the middle of the radar a little below the smallest value, so that differences show."""
    values = np.asarray([line.values for line in lines], dtype=float)
    if np.isnan(values).all():
        return
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = max(0.25 * (high - low), 0.005)
    axes.set_ylim(max(0, low - 2 * margin), high + margin)
    axes.yaxis.set_major_locator(MaxNLocator(4))


def add_legend(figure: Figure, styles: Mapping[str, Mapping[str, Any]]) -> None:
    """Puts the styles of lines, by label, above the radars."""
    handles = [Line2D([], [], **style, label=label) for label, style in styles.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
