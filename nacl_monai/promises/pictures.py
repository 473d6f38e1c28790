"""Figures of promises: sizes of contours by level, how promises were kept, contours of a case."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nacl_monai.promises.cases import NewCase
from nacl_monai.promises.control import (
    FAMILIES,
    MARGIN_ONLY,
    OUTER,
    THRESHOLD,
    WITHIN,
    Control,
)
from nacl_monai.promises.curves import Curves
from nacl_monai.promises.fit import UNCONTROLLED, Promise, Rules
from nacl_monai.reports.style import OKABE_ITO, add_caption, house_style, new_figure

_LEVELS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
_SIZES = (0.5, 1, 2, 5, 10, 20, 50, 100)
_COLORS = {
    WITHIN: OKABE_ITO["blue"],
    THRESHOLD: OKABE_ITO["sky"],
    MARGIN_ONLY: OKABE_ITO["orange"],
    UNCONTROLLED: OKABE_ITO["vermillion"],
}
_NAMES = {
    WITHIN: "threshold within a margin",
    THRESHOLD: "threshold",
    MARGIN_ONLY: "margin, without probabilities",
    UNCONTROLLED: "threshold that the probabilities say, not controlled",
}


def _panels(structures: Sequence[str], label: str) -> tuple[Figure, list[Axes]]:
    figure = new_figure(3.6)
    axes = figure.subplots(1, len(structures), squeeze=False, sharey=True)[0]
    for axis, name in zip(axes, structures, strict=True):
        axis.set_title(name)
    axes[0].set_ylabel(label)
    return figure, list(axes)


def draw_sizes(curves: Curves, control: Control) -> Figure:
    """The volume of outer contours ÷ that of the structure by level, a line for each family."""
    patients = len(set(curves.patients))
    controls = [control._replace(level=one) for one in _LEVELS]
    controls = [one for one in controls if one.needed <= patients]
    levels = [one.level for one in controls]
    with house_style():
        figure, axes = _panels(curves.structures, "outer contour ÷ structure")
        for structure, axis in enumerate(axes):
            for family in FAMILIES:
                rules = Rules(curves, structure, OUTER, family)
                sizes = [rules.kept(one).size for one in controls]
                axis.plot(levels, sizes, "o-", color=_COLORS[family], label=_NAMES[family])
            axis.set(xlabel="largest miss α", xscale="log", yscale="log")
            axis.minorticks_off()
            axis.set_xticks(levels, [f"{one:g}" for one in levels])
            low, high = axis.get_ylim()
            ticks = [size for size in _SIZES if low <= size <= high]
            axis.set_yticks(ticks, [f"{size:g}" for size in ticks])
        axes[0].legend()
        add_caption(figure, f"Volumes of the outer contours that {patients} patients allow.")
    return figure


def draw_kept(made: Promise) -> Figure:
    """The miss of held-out patients by what was promised to them, with its 95 % interval."""
    table = pd.DataFrame(made.held_out).query("kind == @OUTER")
    with house_style():
        figure, axes = _panels(list(table["structure"].unique()), "missed of held-out patients")
        for axis, (_, rows) in zip(axes, table.groupby("structure", sort=False), strict=True):
            most = rows["level"].max()
            axis.plot([0, most], [0, most], color="0.5")
            for k, (family, of_family) in enumerate(rows.groupby("family", sort=False)):
                risk = of_family["risk"]
                axis.errorbar(
                    of_family["level"] * (1 + 0.04 * (k - 1.5)),  # side by side
                    risk,
                    [risk - of_family["low"], of_family["high"] - risk],
                    fmt="o",
                    color=_COLORS[str(family)],
                    label=_NAMES[str(family)],
                )
            axis.set(xlabel="promised", ylim=(0, None))
        axes[0].legend()
        add_caption(figure, "Below the line a promise is kept. Bars: 95 % over patients.")
    return figure


def draw_case(case: NewCase) -> Figure:
    """The slice of a case with most of its outer contour: probability, outer and inner contours."""
    voxels = case.predicted.voxels
    shown = max(case.structures, key=lambda one: one.volumes[OUTER])
    plane = int(shown.contours[OUTER].sum((1, 2)).argmax())
    with house_style():
        figure = new_figure(4.5, width=4.5)
        axis = figure.subplots()
        top = voxels[:, plane].max(0).astype(float)
        axis.imshow(top / (255 if voxels.dtype == np.uint8 else 1), cmap="gray", origin="lower")
        colors = [OKABE_ITO[name] for name in ("orange", "sky", "green", "vermillion", "yellow")]
        for k, one in enumerate(case.structures):
            for kind, contour in one.contours.items():
                if contour[plane].any() and not contour[plane].all():
                    style = "solid" if kind == OUTER else "dashed"
                    color = colors[k % len(colors)]
                    axis.contour(contour[plane], [0.5], colors=color, linestyles=style)
        axis.set(title=case.case, xticks=[], yticks=[])
        axis.grid(visible=False)
        add_caption(figure, "Gray: largest probability. Solid: outer contours; dashed: inner ones.")
    return figure
