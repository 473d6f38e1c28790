"""Figures of promises: sizes of contours by level, how promises were kept, contours of a case."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from nacl_monai.promises.cases import NewCase
from nacl_monai.promises.control import FAMILIES, OUTER, Control
from nacl_monai.promises.curves import Curves
from nacl_monai.promises.fit import UNCONTROLLED, Promise, Rules
from nacl_monai.reports.style import OKABE_ITO, add_caption, house_style, new_figure

_LEVELS = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3)
_COLORS = dict(zip((*FAMILIES, UNCONTROLLED), ("sky", "orange", "blue", "vermillion"), strict=True))
_NAMES = {
    "within": "threshold within a margin",
    "threshold": "threshold",
    "margin": "margin, without probabilities",
    UNCONTROLLED: "threshold that the probabilities say, not controlled",
}


def draw_sizes(curves: Curves, control: Control) -> Figure:
    """The volume of outer contours ÷ that of the structure by level, a line for each family."""
    patients = len(set(curves.patients))
    levels = [one for one in _LEVELS if control._replace(level=one).needed <= patients]
    with house_style():
        figure = new_figure(3.6)
        axes = figure.subplots(1, len(curves.structures), squeeze=False, sharey=True)[0]
        for structure, (axis, name) in enumerate(zip(axes, curves.structures, strict=True)):
            for family in FAMILIES:
                rules = Rules(curves, structure, OUTER, family)
                sizes = [rules.kept(control._replace(level=one)).size for one in levels]
                color = OKABE_ITO[_COLORS[family]]
                axis.plot(levels, sizes, "o-", color=color, label=_NAMES[family])
            axis.set(title=name, xlabel="largest miss α", xscale="log", yscale="log")
            axis.set_xticks(levels, [f"{one:g}" for one in levels])
            axis.minorticks_off()
        axes[0].set_ylabel("outer contour ÷ structure")
        axes[0].legend()
        add_caption(figure, f"Volumes of the outer contours that {patients} patients allow.")
    return figure


def draw_kept(made: Promise) -> Figure:
    """The miss of held-out patients by what was promised to them, with its 95 % interval."""
    rows = [row for row in made.held_out if row["kind"] == OUTER]
    structures = list(dict.fromkeys(row["structure"] for row in rows))
    families = list(_NAMES)
    with house_style():
        figure = new_figure(3.6)
        axes = figure.subplots(1, len(structures), squeeze=False, sharey=True)[0]
        for axis, name in zip(axes, structures, strict=True):
            levels = sorted({row["level"] for row in rows})
            axis.plot([0, levels[-1]], [0, levels[-1]], color="0.5")
            for row in (row for row in rows if row["structure"] == name):
                k = families.index(row["family"])
                axis.errorbar(
                    row["level"] * (1 + 0.04 * (k - 1.5)),
                    row["risk"],
                    [[row["risk"] - row["low"]], [row["high"] - row["risk"]]],
                    fmt="o",
                    color=OKABE_ITO[_COLORS[row["family"]]],
                    label=_NAMES[row["family"]] if row["level"] == levels[-1] else None,
                )
            axis.set(title=name, xlabel="promised", ylim=(0, None))
        axes[0].set_ylabel("missed of held-out patients")
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
