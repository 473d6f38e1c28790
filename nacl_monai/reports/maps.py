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
from nacl_monai.evaluations.evaluated import Run
from nacl_monai.evaluations.slices import CaseMap
from nacl_monai.reports.style import (
    CONFIDENCE_COLORMAP,
    WIDTH,
    add_caption,
    add_key,
    class_color,
    gray_ends,
    house_style,
    panel_figure,
    panel_grid,
)

#: Most methods side by side.
_COLUMNS = 4
OPACITY = 0.7
#: Free space around the structures, as a share of their extent.
_MARGIN = 0.25
#: The gray of all voxels where no image is known.
NO_IMAGE = 0.92

PIXELS: dict[str, Any] = {"interpolation": "nearest", "aspect": "equal"}
DARK_EDGE: list[AbstractPathEffect] = [withStroke(linewidth=1.9, foreground="0.2")]

Mask = npt.NDArray[np.bool_]
_Window = tuple[slice, slice]


def ranked_cases(runs: Sequence[Run]) -> list[str]:
    """Cases from the lowest to the highest Dice, averaged over the methods.

    Equal cases keep their order in ``cases.csv``; cases in which a method's Dice is undefined are
    left out.

    Raises:
        InputError: If no case has a Dice in every run.
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
    runs: Sequence[Run],
    case: str | None = None,
    show: Sequence[str] = ("confidence",),
    *,
    rule: str = "chosen by name",
    region: str = "foreground",
) -> Figure:
    """Draws image and label, then each method's prediction above its maps of uncertainty.

    Args:
        runs: From `nacl_monai.evaluations.read_runs`.
        case: The test case to show; by default `median_case`.
        show: "confidence", "entropy" or both, one below the other.
        rule: Why it is this case, where one is named.
        region: The voxels of the ECE under each picture.

    Raises:
        InputError: If there is no such case, if a run has no map of it, or if the runs were not
            evaluated on the same labels.
    """
    if case is None:
        case, rule = median_case(runs), "median Dice over the methods"
    maps = _read_maps(runs, case)
    first = maps[0]
    window = structure_window([first.label > 0, *(shown.prediction > 0 for shown in maps)])
    lines, columns = panel_grid(len(runs), _COLUMNS)
    scales = _scales(len(first.classes))
    with house_style():
        between = "\n" if columns > 3 else "   "
        title = 0.5 + 0.17 * between.count("\n")
        figure, axes = _panels(first.label[window].shape, lines, columns, 1 + len(show), title)
        for line, block in enumerate(np.split(axes, lines)):
            members = slice(line * columns, (line + 1) * columns)
            _draw_reference(block[:, 0], first, window)
            for panels, run, shown in zip(block.T[1:], runs[members], maps[members], strict=False):
                dice, ece = run.metrics.loc[case, ["dice", f"ece_{region}"]]
                _title(panels[0], run.name, f"Dice {dice:.3f}{between}ECE {ece:.3f}")
                _draw_image(panels[0], shown, window, shown.prediction)
                _draw_outline(panels[0], shown.label, window, len(shown.classes))
                for ax, quantity in zip(panels[1:], show, strict=True):
                    ax.imshow(getattr(shown, quantity)[window], **scales[quantity], **PIXELS)
                    _title(ax, quantity.capitalize())
        for quantity, row in zip(show, axes[1 : 1 + len(show)], strict=True):
            _add_scale(figure, row[-1], quantity, scales[quantity])
        add_key(figure, _key(first), 6 if columns > 1 else 4, handlelength=1.4)
        add_caption(
            figure,
            f"Case {case} ({rule}), slice {first.slice} (most labeled voxels), cropped to the "
            f"structures.\nDice and ECE are those of the whole volume. "
            f"ECE: {runs[0].bins.label(region).lower()}.",
        )
    return figure


def structure_window(masks: Sequence[Mask]) -> _Window:
    """The box around everything labeled, with a margin, inside the image; all if there is none."""
    labeled = np.logical_or.reduce(masks)
    if not labeled.any():
        return slice(0, labeled.shape[0]), slice(0, labeled.shape[1])
    spans = [np.flatnonzero(labeled.any(axis=other)) for other in (1, 0)]
    margin = math.ceil(_MARGIN * max(int(span[-1] - span[0]) + 1 for span in spans))
    rows, columns = (
        slice(max(0, int(span[0]) - margin), min(size, int(span[-1]) + 1 + margin))
        for span, size in zip(spans, labeled.shape, strict=True)
    )
    return rows, columns


def _scales(classes: int) -> dict[str, dict[str, Any]]:
    """The range from chance to certainty, reversed for the entropy: dark is doubt in both."""
    return {
        "confidence": {"norm": Normalize(1 / classes, 1), "cmap": CONFIDENCE_COLORMAP},
        "entropy": {"norm": Normalize(0, 1), "cmap": f"{CONFIDENCE_COLORMAP}_r"},
    }


def _read_maps(runs: Sequence[Run], case: str) -> list[CaseMap]:
    """The slice of the case of every run, all with the same classes and label."""
    if case not in runs[0].cases:
        raise InputError(
            f"{runs[0].folder}: no test case {case!r}; choose from {', '.join(runs[0].cases)}"
        )
    first, *rest = maps = [run.read_map(case) for run in runs]
    for other in rest:
        if other.classes != first.classes or not np.array_equal(other.label, first.label):
            raise InputError(
                f"{other.path}: its classes or label are not those of {first.path}; "
                f"evaluate both runs on the same data"
            )
    return maps


def _panels(
    shape: tuple[int, int], lines: int, columns: int, rows: int, title: float
) -> tuple[Figure, npt.NDArray[Any]]:
    """Empty panels for pictures of this shape below titles: (lines · rows, 1 + columns) axes."""
    height, width = shape
    panel = (WIDTH - 1.5) / (1 + max(columns, 2))
    figure = panel_figure(
        rows * lines,
        1 + columns,
        (panel, panel * min(height / width, 1.6)),
        width=WIDTH if columns > 1 else 1.5 + 2 * panel,
        right=1.0,
        top=title,
        between=(0.1, title),
    )
    axes = figure.subplots(rows * lines, 1 + columns, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    return figure, axes


def _draw_reference(panels: npt.NDArray[Any], shown: CaseMap, window: _Window) -> None:
    """The label, for comparison with the predictions beside it."""
    if shown.image is not None:
        _title(panels[0], "Image")
        _draw_image(panels[0], shown, window)
        panels = panels[1:]
    _title(panels[0], "Ground truth")
    _draw_image(panels[0], shown, window, shown.label)


def _add_scale(figure: Figure, panel: Axes, quantity: str, scale: Any) -> None:
    figure.colorbar(
        ScalarMappable(**scale),
        cax=panel.inset_axes((1.05, 0, 0.1, 1)),
        format=PercentFormatter(xmax=1, decimals=0),
        label=quantity.capitalize(),
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


def _draw_image(
    axes: Axes, shown: CaseMap, window: _Window, classes: npt.NDArray[np.uint8] | None = None
) -> None:
    """The image in gray, or plain gray without one, tinted by the class of each voxel."""
    picture = np.repeat(_gray(shown)[..., None], 3, axis=-1)
    if classes is not None:
        colors = np.array([to_rgb(class_color(c)) for c in range(len(shown.classes))])
        tint = np.where(classes > 0, OPACITY, 0)[..., None]
        picture = (1 - tint) * picture + tint * colors[classes]
    axes.imshow(picture[window], **PIXELS)


def _gray(shown: CaseMap) -> npt.NDArray[np.float64]:
    if shown.image is None:
        return np.full(shown.label.shape, NO_IMAGE)
    low, high = gray_ends(shown.image)
    return np.asarray(Normalize(low, high, clip=True)(np.nan_to_num(shown.image, nan=low)))


def _draw_outline(
    axes: Axes, label: npt.NDArray[np.uint8], window: _Window, num_classes: int
) -> None:
    """The outline of each class of the label; white on a dark line, visible on any background."""
    for c in range(1, num_classes):
        mask = (label == c)[window]
        if mask.any() and not mask.all() and min(mask.shape) > 1:  # a row has no outline
            line = axes.contour(mask, [0.5], colors="white", linewidths=0.9)
            line.set_path_effects(DARK_EDGE)


def _key(shown: CaseMap) -> list[Artist]:
    names = list(enumerate(shown.classes))[1:]
    return [
        *(Patch(facecolor=class_color(c), label=name) for c, name in names),
        Line2D(
            [],
            [],
            color="white",
            linewidth=1.6,
            path_effects=[withStroke(linewidth=3.4, foreground="0.2")],
            label="outline of the label",
        ),
    ]
