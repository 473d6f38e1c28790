"""Predictions and maps of uncertainty of several methods on one slice, as in the paper's figure 11.

*Neighbor-aware calibration of segmentation networks with penalty-based constraints* (Murugesan
et al., 2024). A network should doubt where it is wrong: at boundaries, and within its errors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.ticker import PercentFormatter

from nacl_monai.errors import InputError
from nacl_monai.reports.runs import CaseMap, Run
from nacl_monai.reports.style import (
    CLASS_COLORS,
    CONFIDENCE_COLORMAP,
    WIDTH,
    add_caption,
    house_style,
    new_figure,
)

COLUMNS = 4
OPACITY = 0.7
#: Free space around the structures, as a share of their extent.
MARGIN = 0.25

PIXELS: dict[str, Any] = {"interpolation": "nearest", "aspect": "equal"}
DARK_EDGE: list[AbstractPathEffect] = [withStroke(linewidth=1.9, foreground="0.2")]

Mask = npt.NDArray[np.bool_]
Window = tuple[slice, slice]


def ranked_cases(runs: Sequence[Run]) -> list[str]:
    """Cases from the lowest to the highest Dice, averaged over the methods.

    Equal cases keep their order in ``cases.csv``; cases in which a method's Dice is undefined are
    left out.
    """
    dice = pd.concat([run.metrics["dice"] for run in runs], axis=1).mean(axis=1, skipna=False)
    ranked = dice.dropna().sort_values(kind="stable")
    if ranked.empty:
        raise InputError(
            f"{runs[0].folder}: no case with a defined dice in every run; choose one with --case"
        )
    return [str(case) for case in ranked.index]


def median_case(runs: Sequence[Run]) -> str:
    """The case in the middle of `ranked_cases`, the lower of two: neither best nor worst."""
    ranked = ranked_cases(runs)
    return ranked[(len(ranked) - 1) // 2]


def draw_maps(
    runs: Sequence[Run], case: str | None = None, show: Sequence[str] = ("confidence",)
) -> Figure:
    """Image and ground truth, then each method's prediction above its maps of uncertainty.

    Args:
        runs: from `nacl_monai.reports.read_runs`.
        case: the test volume to show; by default `median_case`.
        show: "confidence", "entropy" or both, one below the other.
    """
    rule = "chosen by name" if case is not None else "median Dice over the methods"
    case = median_case(runs) if case is None else case
    if case not in runs[0].cases:
        raise InputError(
            f"{runs[0].folder}: no test case {case!r}; choose from {', '.join(runs[0].cases)}"
        )
    maps = [run.read_map(case) for run in runs]
    _check_same_slice(maps)
    shown = maps[0]
    window = structure_window([shown.label > 0, *(of.prediction > 0 for of in maps)])
    height, width = shown.image[window].shape

    lines = math.ceil(len(runs) / COLUMNS)
    columns = math.ceil(len(runs) / lines)
    panel = (WIDTH - 1.1) / (1 + max(columns, 2))
    scales = _scales(len(shown.classes))
    rows = 1 + len(show)
    with house_style():
        figure = new_figure(
            height=lines * (rows * (panel * min(height / width, 1.6) + 0.4)) + 0.8,
            width=WIDTH if columns > 1 else 1.1 + 2 * panel,
        )
        axes = figure.subplots(rows * lines, 1 + columns, squeeze=False)
        for ax in axes.flat:
            ax.set_axis_off()
        for line in range(lines):
            top, bottom, *_ = block = axes[rows * line : rows * (line + 1)]
            _title(top[0], "Image")
            _show(top[0], shown, window)
            _title(bottom[0], "Ground truth")
            _show(bottom[0], shown, window, shown.label)
            members = slice(line * columns, (line + 1) * columns)
            for column, (run, of) in enumerate(
                zip(runs[members], maps[members], strict=True), start=1
            ):
                _title(top[column], run.name, _scores(run, case, "\n" if columns > 3 else "   "))
                _show(top[column], of, window, of.prediction)
                _outline(top[column], of.label, window, len(of.classes))
                for name, row in zip(show, block[1:], strict=True):
                    picture = getattr(of, name)[window]
                    row[column].imshow(picture, **scales[name], **PIXELS)
                    _title(row[column], name.capitalize())
        for name, row in zip(show, axes[1:rows], strict=True):
            figure.colorbar(
                ScalarMappable(**scales[name]),
                ax=list(row[1:]),
                format=PercentFormatter(xmax=1, decimals=0),
                label=name.capitalize(),
                aspect=14,
            )
        figure.legend(
            handles=_key(shown),
            loc="outside upper center",
            ncols=6 if columns > 1 else 4,
            handlelength=1.4,
        )
        add_caption(
            figure,
            f"Case {case} ({rule}), slice {shown.slice} (most ground truth), cropped to the "
            f"structures.\nDice and ECE are those of the whole volume.",
        )
    return figure


def structure_window(masks: Sequence[Mask]) -> Window:
    """The box around everything labeled, with a margin, inside the image; all if there is none."""
    labeled = np.logical_or.reduce(masks)
    if not labeled.any():
        return slice(0, labeled.shape[0]), slice(0, labeled.shape[1])
    spans = [np.flatnonzero(labeled.any(axis=other)) for other in (1, 0)]
    margin = math.ceil(MARGIN * max(int(span[-1] - span[0]) + 1 for span in spans))
    rows, columns = (
        slice(max(0, int(span[0]) - margin), min(size, int(span[-1]) + 1 + margin))
        for span, size in zip(spans, labeled.shape, strict=True)
    )
    return rows, columns


def _scales(classes: int) -> dict[str, dict[str, Any]]:
    """From chance to certainty, and of the entropy in reverse: dark is doubt in both."""
    return {
        "confidence": {"norm": Normalize(1 / classes, 1), "cmap": CONFIDENCE_COLORMAP},
        "entropy": {"norm": Normalize(0, 1), "cmap": f"{CONFIDENCE_COLORMAP}_r"},
    }


def _check_same_slice(maps: Sequence[CaseMap]) -> None:
    first = maps[0]
    for other in maps[1:]:
        same = other.classes == first.classes and np.array_equal(other.label, first.label)
        if not same:
            raise InputError(
                f"{other.path}: classes or ground truth are not those of {first.path}; "
                f"evaluate both runs on the same data"
            )


def _title(axes: Axes, name: str, scores: str = "") -> None:
    """The name, and below it a line or two in smaller letters."""
    lines = len(scores.splitlines())
    axes.set_title(name, pad=6 + 12 * lines)
    axes.annotate(
        scores,
        (0.5, 1),
        xytext=(0, 4),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="center",
        fontsize=9.5,
        in_layout=False,
    )


def _scores(run: Run, case: str, between: str) -> str:
    dice, ece = run.metrics.loc[case, ["dice", "ece_foreground"]]
    return f"Dice {dice:.3f}{between}ECE {ece:.3f}"


def _show(
    axes: Axes, of: CaseMap, window: Window, labels: npt.NDArray[np.uint8] | None = None
) -> None:
    """The image in gray, its classes tinted."""
    low, high = np.percentile(of.image, (0.5, 99.5))
    gray = Normalize(low, max(high, low + 1e-6), clip=True)(of.image)
    picture = np.repeat(np.asarray(gray)[..., None], 3, axis=-1)
    if labels is not None:
        colors = np.array([to_rgb(_color(c)) for c in range(len(of.classes))])
        tint = np.where(labels > 0, OPACITY, 0)[..., None]
        picture = (1 - tint) * picture + tint * colors[labels]
    axes.imshow(picture[window], **PIXELS)


def _outline(axes: Axes, labels: npt.NDArray[np.uint8], window: Window, classes: int) -> None:
    """The ground truth's outline per class; white on a dark line, seen on any background."""
    for c in range(1, classes):
        mask = (labels == c)[window]
        if mask.any() and not mask.all():
            line = axes.contour(mask, [0.5], colors="white", linewidths=0.9)
            line.set_path_effects(DARK_EDGE)


def _color(c: int) -> str:
    """Color of a class; the background (0) has none and is never drawn."""
    return CLASS_COLORS[(c - 1) % len(CLASS_COLORS)]


def _key(of: CaseMap) -> list[Artist]:
    return [
        *(Patch(facecolor=_color(c), label=name) for c, name in enumerate(of.classes) if c > 0),
        Line2D(
            [],
            [],
            color="white",
            linewidth=1.6,
            path_effects=[withStroke(linewidth=3.4, foreground="0.2")],
            label="outline of the ground truth",
        ),
    ]
