"""How large the logits are: per true class after training, and epoch by epoch during it.

*Neighbor-aware calibration of segmentation networks with penalty-based constraints* (Murugesan
et al., 2024), figures 4 and 5. Everything is drawn from sums and counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from nacl_monai.errors import InputError
from nacl_monai.evaluations.evaluated import Run, read_runs
from nacl_monai.evaluations.logits import (
    ClassLogits,
    EpochLogits,
    read_class_logits,
    read_epoch_logits,
)
from nacl_monai.reports.style import (
    OKABE_ITO,
    WIDTH,
    add_caption,
    class_color,
    house_style,
    new_figure,
    panel_grid,
    save_figure,
)

#: Most panels side by side.
_COLUMNS = 3
#: The height of a panel in inches, and how many letters fit below one.
HEIGHT = 2.6
LETTERS = 28
#: Voxels between the two outer lines: of a million, half a thousand are beyond each.
LEVELS = (0.0005, 0.5, 0.9995)
#: Shares of the voxels of an epoch below this are drawn white, like bins without any.
RARE = 1e-5
SHARES = "Blues"
_LINE = OKABE_ITO["vermillion"]


def draw_class_logits(runs: Sequence[Run]) -> Figure:
    """The mean size of every logit for each true class, one panel per method (figure 4).

    Args:
        runs: From `nacl_monai.evaluations.read_runs`.

    Raises:
        InputError: If a run has no logits, or if the runs have different classes.
    """
    profiles = [read_class_logits(run.folder) for run in runs]
    classes = profiles[0].classes
    for run, profile in zip(runs, profiles, strict=True):
        if profile.classes != classes:
            raise InputError(
                f"{run.folder}: its classes are not those of {runs[0].folder}; "
                f"evaluate both runs on the same data"
            )
    with house_style():
        figure, axes = _panels(runs, "Mean |logit|")
        for ax, profile in zip(axes, profiles, strict=True):
            _draw_bars(ax, profile)
        if any(len(a) + len(b) + 2 > 2 * LETTERS / len(classes) for a, b in pairwise(classes)):
            for ax in axes:
                ax.tick_params(axis="x", rotation=30)
        figure.legend(
            handles=[
                Patch(facecolor=class_color(c), label=f"logit of {name}")
                for c, name in enumerate(classes)
            ],
            loc="outside upper center",
            ncols=5 if len(runs) > 1 else 3,
            handlelength=1.4,
        )
        add_caption(
            figure,
            f"Logits of {len(runs[0].cases)} {runs[0].scope.cases}: the mean of their absolute values "
            "over the voxels of each true class. A dark frame marks the logit of the true class itself.",
        )
    return figure


def draw_epoch_logits(runs: Sequence[Run]) -> Figure:
    """The distribution of the largest logit over the epochs, one panel per method (figure 5).

    Args:
        runs: From `nacl_monai.evaluations.read_runs`.

    Raises:
        InputError: If a run has no histogram of logits.
    """
    histories = [read_epoch_logits(run.folder) for run in runs]
    scale = LogNorm(RARE, 1)
    limits = _common_range(histories)
    with house_style():
        figure, axes = _panels(runs, "Largest logit")
        for ax, history in zip(axes, histories, strict=True):
            _draw_history(ax, history, scale)
            ax.set(xlabel="Epoch", ylim=limits)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        figure.colorbar(
            ScalarMappable(scale, SHARES),
            ax=axes,
            format=lambda share, _: f"{100 * share:g} %",
            label="Share of voxels",
            aspect=30,
        )
        figure.legend(handles=_line_key(), loc="outside upper center", ncols=2)
        add_caption(
            figure,
            "The largest logit of every voxel of all training batches." + _outside(runs, histories),
        )
    return figure


def write_logits(
    folders: Sequence[str | Path], output: str | Path, *, names: Sequence[str] | None = None
) -> list[Path]:
    """Writes both figures; nothing is written unless everything could be read and drawn.

    Args:
        folders: Run folders that were trained, and evaluated on the same test cases.
        output: Folder for ``logits.png``/``.svg`` and ``logit_histogram.png``/``.svg``.
        names: One name per run; by default those of the folders.

    Returns:
        The paths of the files.

    Raises:
        InputError: If a run cannot be read, or if the runs cannot be compared.
    """
    output = Path(output)
    runs = read_runs(folders, names)
    profile, history = draw_class_logits(runs), draw_epoch_logits(runs)
    return [
        *save_figure(profile, output / "logits"),
        *save_figure(history, output / "logit_histogram"),
    ]


def _panels(runs: Sequence[Run], label: str) -> tuple[Figure, list[Axes]]:
    """A titled panel per run, on common axes."""
    lines, columns = panel_grid(len(runs), _COLUMNS)
    figure = new_figure(height=lines * HEIGHT + 1.2, width=WIDTH if columns > 1 else WIDTH * 0.6)
    axes = list(figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flat)
    for ax in axes[len(runs) :]:
        ax.set_axis_off()
    for k, (ax, run) in enumerate(zip(axes, runs, strict=False)):
        ax.set_title(run.name)
        ax.tick_params(labelbottom=True)
        ax.set_ylabel("" if k % columns else label)
    return figure, axes[: len(runs)]


def _draw_bars(axes: Axes, profile: ClassLogits) -> None:
    n = len(profile.classes)
    width = 0.84 / n
    for output in range(n):
        at = np.arange(n) + (output - (n - 1) / 2) * width
        bars = axes.bar(
            at, profile.means[:, output], width, color=class_color(output), edgecolor="white"
        )
        bars[output].set(edgecolor="black", linewidth=1.4, zorder=2)
    axes.set_xticks(range(n), profile.classes)
    axes.set_xlabel("True class")
    axes.grid(visible=False, axis="x")


def _draw_history(axes: Axes, history: EpochLogits, scale: Normalize) -> None:
    axes.pcolormesh(
        np.append(history.epochs, history.epochs[-1] + 1) - 0.5,
        history.edges,
        np.where(history.shares < RARE, np.nan, history.shares).T,
        cmap=SHARES,
        norm=scale,
        rasterized=True,
    )
    dot = "o" if len(history.epochs) == 1 else ""  # a single epoch makes no line
    for line, style in zip(history.quantiles(LEVELS).T, (":", "-", ":"), strict=True):
        axes.plot(history.epochs, line, style, color=_LINE, linewidth=1.4, marker=dot)


def _common_range(histories: Sequence[EpochLogits]) -> tuple[float, float]:
    """The range from the lowest to the highest logit in any panel."""
    ends = []
    for history in histories:
        used = np.flatnonzero((history.shares >= RARE).any(axis=0))
        ends += [history.edges[used[0]], history.edges[used[-1] + 1]] if len(used) else []
    return (min(ends), max(ends)) if ends else (0, 1)


def _outside(runs: Sequence[Run], histories: Sequence[EpochLogits]) -> str:
    """The text on what the panels cannot show; empty if they show all."""
    shares = [
        f"{run.name} {history.outside:.2%}"
        for run, history in zip(runs, histories, strict=True)
        if history.outside > 0
    ]
    edges = histories[0].edges
    return f"\nBelow {edges[0]:g} or above {edges[-1]:g}: {', '.join(shares)}." if shares else ""


def _line_key() -> list[Artist]:
    return [
        Line2D([], [], color=_LINE, linewidth=1.4, label="median"),
        Line2D(
            [],
            [],
            color=_LINE,
            linewidth=1.4,
            linestyle=":",
            label="99.9 % of the voxels lie between",
        ),
    ]
