"""Pictures of priors against raters: reliability, and scores by width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from nacl_monai.raters.fitting import fit_width
from nacl_monai.raters.priors import FAMILIES
from nacl_monai.raters.scores import PriorScores
from nacl_monai.reports.style import OKABE_ITO, WIDTH, add_caption, house_style, new_figure

_COLORS = {
    "blur": OKABE_ITO["vermillion"],
    "distance": OKABE_ITO["blue"],
    "mean": OKABE_ITO["green"],
}
_NAMES = {"ece": "ECE", "brier": "Brier score", "nll": "negative log-likelihood"}


def draw_reliability(scores: PriorScores, priors: Sequence[int], band: int) -> Figure:
    """What share of the other raters marks a voxel, by the probability that each prior gives it.

    Args:
        scores: The scores of all priors.
        priors: The positions of those to be drawn.
        band: The band's position.
    """
    errors = scores.errors("ece")[:, band]
    with house_style():
        figure = new_figure(3.2, WIDTH)
        panels = figure.subplots(1, len(priors), sharey=True, squeeze=False)[0]
        for axes, k in zip(panels, priors, strict=True):
            confidence, accuracy, share = scores.reliability(k, band)
            axes.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1)
            axes.scatter(confidence, accuracy, 12 + 400 * share, color=OKABE_ITO["blue"], alpha=0.8)
            axes.set(
                title=f"{scores.priors[k].label}\nECE {errors[k]:.3f}",
                xlabel="probability by one reader's mask",
                xlim=(-0.05, 1.05),
                ylim=(-0.05, 1.05),
                aspect="equal",
            )
        panels[0].set_ylabel("share of other readers")
        add_caption(
            figure,
            f"Voxels up to {scores.bands[band]:g} mm from a reader's border, {len(scores.patients)} "
            "patients, each with the same weight. The area of a point is its share of the voxels.",
        )
    return figure


def draw_widths(by_nodules: Mapping[str, PriorScores], metric: str, band: int) -> Figure:
    """A score of each family by its width, and the interval of its best width.

    Args:
        by_nodules: Scores of the same priors, by what they are of.
        metric: The score.
        band: The position of the band.
    """
    with house_style():
        figure = new_figure(3.4, WIDTH)
        panels = figure.subplots(1, len(by_nodules), sharey=True, squeeze=False)[0]
        for axes, (name, scores) in zip(panels, by_nodules.items(), strict=True):
            for family in FAMILIES:
                fit = fit_width(scores, family, metric, band, resamples=200)
                color = _COLORS[family]
                axes.plot(fit.widths, fit.scores, ".-", color=color, label=family)
                axes.axvspan(fit.low, fit.high, color=color, alpha=0.2, linewidth=0)
            values = scores.errors(metric)[:, band]
            for k, prior in enumerate(scores.priors):
                if prior.label in ("hard labels", "SVLS 3×3, σ 1", "NACL 3×3"):
                    axes.axhline(values[k], color="0.4", linestyle=":", linewidth=1)
                    axes.annotate(
                        prior.label, (3.0, values[k]), fontsize=8, ha="right", va="bottom"
                    )
            axes.set(title=f"nodules that {name} marked", xlabel="width in mm", xscale="log")
            axes.set_xticks(ticks := [0.3, 0.5, 1, 2, 3], map(str, ticks))
            axes.minorticks_off()
        panels[0].set_ylabel(_NAMES[metric])
        panels[0].set_ylim(0, float(np.nanmax(values)) * 1.2)
        panels[0].legend()
        add_caption(
            figure,
            f"Voxels up to {next(iter(by_nodules.values())).bands[band]:g} mm from a reader's border. "
            "Bands: 95 % intervals of the best width, over patients. Dotted: priors in pixels.",
        )
    return figure
