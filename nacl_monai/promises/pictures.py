"""Figures of promises: what patients need, sizes of contours by level, contours of a case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nacl_monai.inference.promised import Array
from nacl_monai.inference.records import (
    EACH,
    FAMILIES,
    INNER,
    MARGIN,
    MARGIN_ONLY,
    MEAN,
    MOST,
    OUTER,
    THRESHOLD,
    VOLUME,
    WITHIN,
)
from nacl_monai.metrics.curves import Curves
from nacl_monai.predictions.images import Affine, voxel_sizes
from nacl_monai.promises.cases import Applied, NewCase
from nacl_monai.promises.control import Control, margin_of
from nacl_monai.promises.rules import Rules, enough, expected_numbers
from nacl_monai.reports.maps import structure_window
from nacl_monai.reports.style import (
    OKABE_ITO,
    WIDTH,
    add_caption,
    add_key,
    gray_ends,
    house_style,
    panel_figure,
    panel_grid,
)

_LINES_WIDTH = 150  # of all intervals side by side, in points
_ROUNDING = 1e-9  # of a volume in ml
_LEVELS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
_SHARES = (0.001, 0.01, 0.1, 0.5, 0.9)
_HIGH = 0.99
_SIZES = (0.5, 1, 2, 5, 10, 20, 50, 100)
_CLOSE_SIZES = (0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.5, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 70, 100)
_COLORS = {WITHIN: OKABE_ITO["blue"], THRESHOLD: OKABE_ITO["sky"], MARGIN_ONLY: OKABE_ITO["orange"]}
_RISK = {EACH: "patients with more outside, α"} | dict.fromkeys((MEAN, MOST), "largest miss α")
_NAMES = {
    WITHIN: "threshold within a margin",
    THRESHOLD: "threshold",
    MARGIN_ONLY: "margin, without probabilities",
}


_LINES: dict[str, dict[str, Any]] = {
    f"{OUTER} contour": {"colors": OKABE_ITO["orange"], "linestyles": "solid"},
    "prediction": {"colors": OKABE_ITO["purple"], "linestyles": "dotted"},
    f"{INNER} contour": {"colors": OKABE_ITO["sky"], "linestyles": "dashed"},
    "label": {"colors": OKABE_ITO["green"], "linestyles": "solid"},
}


def _panels(structures: Sequence[str], label: str, alike: bool = True) -> tuple[Figure, list[Axes]]:
    """A panel for each structure, at most three side by side."""
    lines, columns = panel_grid(len(structures), most=3)
    gap = 0.3 if alike else 0.7
    panel = ((WIDTH - 0.9 - gap * (columns - 1)) / columns, 2.2)
    figure = panel_figure(lines, columns, panel, left=0.7, bottom=0.65, between=(gap, 0.9))
    axes = figure.subplots(lines, columns, squeeze=False, sharey=alike).ravel()
    for axis, name in zip(axes, structures, strict=False):
        axis.set_title(name)
    for axis in axes[len(structures) :]:
        axis.set_visible(False)
    axes[0].set_ylabel(label)
    return figure, list(axes[: len(structures)])


def promisable(curves: Curves, control: Control) -> list[str]:
    """The structures that enough patients have for the promise of an outer contour."""
    return [
        name
        for k, name in enumerate(curves.structures)
        if len({*curves.having(k).patients}) >= control.needed
    ]


def _ticks(low: float, high: float) -> list[float]:
    """Round sizes from one end to the other, which are closer together where there is room."""
    sizes = _SIZES if high > 8 * low else _CLOSE_SIZES
    return [size for size in sizes if low <= size <= high]


def draw_sizes(curves: Curves, control: Control, margin: float = MARGIN) -> Figure:
    """The volume of outer contours ÷ that of the structure by level, a line for each family."""
    patients = len(set(curves.patients))
    controls = [control._replace(level=level) for level in _LEVELS]
    names = promisable(curves, control)
    with house_style():
        figure, axes = _panels(names, "outer contour ÷ structure")
        for name, axis in zip(names, axes, strict=True):
            for family in FAMILIES:
                rules = Rules(curves, curves.structures.index(name), OUTER, family, margin)
                allowed = enough(rules, controls)
                levels = [candidate.level for candidate in allowed]
                sizes = [rules.ratios(rules.fitted(candidate)).mean() for candidate in allowed]
                axis.plot(levels, sizes, "o-", color=_COLORS[family], label=_NAMES[family])
            axis.set(xlabel=_RISK[control.kind], xscale="log", yscale="log")
            axis.minorticks_off()
            axis.set_xticks(levels, [f"{level:g}" for level in levels])
            ticks = _ticks(*axis.get_ylim())
            axis.set_yticks(ticks, [f"{size:g}" for size in ticks])
        add_key(figure, axes[0].get_legend_handles_labels()[0], 2)
        what = f", outside which at most {control.miss:.0%} is" * (control.kind == EACH)
        add_caption(figure, f"Volumes of the outer contours that {patients} patients allow{what}.")
    return figure


def draw_misses(
    curves: Curves, control: Control, family: str = WITHIN, margin: float = MARGIN
) -> Figure:
    """The share of each patient's structure outside by threshold, and the choice of "each"."""
    with house_style():
        names = promisable(curves, control)
        figure, axes = _panels(names, "outside the contour")
        for name, axis in zip(names, axes, strict=True):
            rules = Rules(curves, curves.structures.index(name), OUTER, family, margin)
            chosen, thresholds = rules.fitted(control), rules.values[:, 0]
            drawn = (thresholds > 0) & (thresholds < 1)
            low = float(np.clip(thresholds[chosen] / 10, 1e-6, _SHARES[0]))
            beyond = rules.risks(control)[:, chosen] > 0
            for patients, color in ((~beyond, "sky"), (beyond, "vermillion")):
                lines = rules.worst[patients][:, drawn].T
                axis.plot(thresholds[drawn], lines, color=OKABE_ITO[color], linewidth=0.8)
            axis.axhline(control.miss, color="0.5", linestyle="--")
            axis.axvline(np.clip(thresholds[chosen], low, _HIGH), color=OKABE_ITO["orange"])
            axis.set_title(f"{rules.structure}: {beyond.sum()} of {len(beyond)} patients above")
            axis.set(xlabel="threshold", xscale="logit", xlim=(low, _HIGH))
            axis.set(ylim=(0, min(1, 5 * control.miss)))
            axis.set_xticks(_SHARES, [f"{share:g}" for share in _SHARES])
            axis.minorticks_off()
        kept = f"A line is a patient. Where the orange line is, at most {control.level:.0%} of new"
        add_caption(figure, f"{kept} patients have more than {control.miss:.0%} outside.")
    return figure


def volume_intervals(
    curves: Curves, structure: int, control: Control, family: str, margin: float = MARGIN
) -> Array:
    """The interval of the volume of each case in ml by the promise of all, (N, 2)."""
    rules = Rules(curves, structure, VOLUME, family, margin)
    expected = expected_numbers(curves, structure, VOLUME, family, margin_of(family, margin))
    q, voxel = rules.values[rules.fitted(control), 0], curves.voxel_ml[:, 0]
    ends: Array = (expected + voxel) * np.exp([[-q], [q]]) - voxel
    return ends.clip(0).T


def draw_volumes(
    curves: Curves, control: Control, family: str = WITHIN, margin: float = MARGIN
) -> Figure:
    """The interval of the volume of each case with the true volume, sorted by it."""
    with house_style():
        figure, axes = _panels(curves.structures, "volume in ml", alike=False)
        for structure, axis in enumerate(axes):
            order = np.argsort(curves.volumes[:, structure], kind="stable")
            true = curves.volumes[order, structure]
            low, high = volume_intervals(curves, structure, control, family, margin)[order].T
            outside = (true < low - _ROUNDING) | (true > high + _ROUNDING)
            thin = min(1.5, _LINES_WIDTH / len(true))
            for cases, color, width in ((~outside, "sky", thin), (outside, "vermillion", 1.5)):
                places = np.flatnonzero(cases)
                axis.vlines(places, low[cases], high[cases], OKABE_ITO[color], linewidth=width)
            axis.plot(true, "o", color="black", markersize=2)
            top = min(high.max(), 3 * true.max()) * 1.05 or 1
            cut = f", {(high > top).sum()} cut off above" * bool((high > top).any())
            name = curves.structures[structure]
            axis.set_title(f"{name}: {outside.sum()} of {len(true)} outside{cut}")
            axis.set(xlabel="cases, by true volume", xticks=[], ylim=(0, top))
        kept = f"Intervals that {control.level:.0%} of patients may be outside, as many as that of those"
        add_caption(figure, f"{kept} who calibrated; outside in vermillion.")
    return figure


def draw_case(
    case: NewCase, structures: Sequence[str], image: Array | None = None, caption: str = ""
) -> Figure:
    """The slice with most of each structure's outer contour, in the usual view.

    Args:
        case: The case with its contours; its labels are drawn, too.
        structures: Names, a panel each.
        image: ``(z, y, x)``, on the grid of the prediction; by default the largest probability,
            as the text below the figure then says.
        caption: The text below it.
    """
    reading = case.reading
    background = reading.probs.float().amax(0).numpy() if image is None else image
    shown = reading.seen(torch.from_numpy(background)).numpy()
    promised = {applied.structure: applied for applied in case.structures}
    with house_style():
        width = 0.6 + 3.4 * len(structures)
        figure = panel_figure(1, len(structures), (3.2, 3.2), width=width, between=(0.2, 0))
        axes = figure.subplots(1, len(structures), squeeze=False)[0]
        drawn: set[str] = set()
        for axis, name in zip(axes, structures, strict=True):
            masks = _seen_masks(case, promised[name])
            _draw_structure(axis, masks, shown, reading.affine)
            axis.set(title=name, xticks=[], yticks=[])
            axis.grid(visible=False)
            drawn |= {*masks}
        handles = [
            Line2D([], [], color=style["colors"], ls=style["linestyles"], label=kind)
            for kind, style in _LINES.items()
            if kind in drawn
        ]
        add_key(figure, handles, 2 if len(axes) < 2 else 4)
        gray = "Gray: the largest probability of a voxel; brighter is higher."
        add_caption(figure, f"{gray if image is None else ''} {caption}")
    return figure


def _seen_masks(case: NewCase, promised: Applied) -> dict[str, Array]:
    """Label, contours and prediction of a structure, as one looks at them; without those unknown."""
    masks = {
        "label": case.labels.get(promised.structure, np.zeros(0)),
        **{f"{kind} contour": contour for kind, contour in promised.contours.items()},
        "prediction": promised.prediction,
    }
    return {
        kind: case.reading.seen(torch.from_numpy(np.ascontiguousarray(mask))).numpy()
        for kind, mask in masks.items()
        if mask.size
    }


def _draw_structure(axis: Axes, masks: dict[str, Array], shown: Array, affine: Affine) -> None:
    """The slice with most of the outer contour."""
    plane = int(masks[f"{OUTER} contour"].sum((0, 1)).argmax())
    slices = {kind: np.rot90(volume[..., plane]) for kind, volume in masks.items()}
    background = np.rot90(shown[..., plane])
    nothing = np.zeros(background.shape, bool)
    window = structure_window([nothing, *(m for m in slices.values() if not m.all())])
    low, high = gray_ends(background[window], 1)
    known = np.eye(4) if affine is None else affine
    _, anterior, right = voxel_sizes(known, are_turned=True)
    axis.imshow(background[window], cmap="gray", vmin=low, vmax=high, aspect=anterior / right)
    for kind, mask in slices.items():
        inside = mask[window]
        if inside.any() and not inside.all() and min(inside.shape) > 1:  # a row has no line
            axis.contour(inside, [0.5], **_LINES[kind])
