"""What ``raters_network.py`` found: tables, a picture and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from nacl_monai.files import write_text
from nacl_monai.reports.evaluated import read_run
from nacl_monai.reports.paired_tests import paired_tests
from nacl_monai.reports.statistics import cells_of, estimate, patient_scores
from nacl_monai.reports.style import (
    OKABE_ITO,
    WIDTH,
    add_caption,
    house_style,
    new_figure,
    save_figure,
)
from nacl_monai.reports.tables import markdown_table

SCORES = {
    "nll_boundary": "NLL",
    "brier_boundary": "Brier",
    "ece_boundary": "ECE",
    "cece_boundary": "CECE",
    "dice": "DSC",
}
DRAWN = ("nll_boundary", "brier_boundary", "ece_boundary")

PAGE = """\
# Does the raters' width help a network?

`make raters-network` writes this folder. Raters of the cardiac phantom have borders that deviate
from the true one by {deviation:g} mm, smoothly and at random, so that two of them are {apart:.1f} mm
apart (standard deviations). The width of NACL's prior is fitted to two raters of {patients}
patients:

> {fitted}

A small UNet is trained on the first one's labels of 8 of these patients, {epochs} epochs, slices of
64×64 ({spacing:g} mm), {trainings} seeds each; the weights of the last epoch count. It is audited on the
end-diastolic images of {patients} other patients against the share of three raters that neither
fit nor training saw, over the region up to 3 voxels from a border of any of them. Brackets: 95 %
intervals over patients and trainings.

![Scores by width](widths.png)

{scores}

DSC is over the voxels on which all three raters agree.

## The fitted width against the others

Paired over patients and trainings; p by Holm over the five others.

{differences}
"""


def read_cases(audits: Mapping[str, Sequence[Path]]) -> pd.DataFrame:
    """One row per method, seed and case, against the share of the raters."""
    parts = []
    for method, folders in audits.items():
        for seed, folder in enumerate(folders):
            run = read_run(folder, method)
            of = run.metrics[list(SCORES)].assign(patient=run.patients, method=method, seed=seed)
            parts.append(of.reset_index())
    return pd.concat(parts, ignore_index=True)


def score_table(cases: pd.DataFrame) -> pd.DataFrame:
    """Mean and 95 % interval over patients and trainings of every method and score."""
    rows = []
    for score in SCORES:
        scores = patient_scores(cases, score)
        for method in scores:
            found = estimate([cells_of(scores[method])])
            rows.append((method, score, found.mean, *found.interval(), found.text()))
    return pd.DataFrame(rows, columns=["method", "score", "mean", "low", "high", "text"])


def test_table(cases: pd.DataFrame, reference: str) -> pd.DataFrame:
    """One method against every other, paired over patients and trainings."""
    tables = [
        paired_tests(patient_scores(cases, score), reference, score)
        .reset_index()
        .assign(score=score)
        for score in SCORES
    ]
    return pd.concat(tables, ignore_index=True)


def draw(table: pd.DataFrame, widths: Mapping[str, float], apart: float) -> Figure:
    """Scores by the width that a network was trained with."""
    with house_style():
        figure = new_figure(3.2, WIDTH)
        for axes, score in zip(figure.subplots(1, len(DRAWN)), DRAWN, strict=True):
            for row in table[table["score"] == score].to_dict("records"):
                at, mean = widths[row["method"]], row["mean"]
                color = OKABE_ITO["blue" if "×" in row["method"] else "vermillion"]
                error = [[mean - row["low"]], [row["high"] - mean]]
                axes.errorbar(at, mean, error, fmt="o", color=color, capsize=2)
                name = row["method"].replace("NACL, ", "")
                below = (3, -10 if "×" in name else 3)  # of neighbors, one name above and one below
                axes.annotate(name, (at, mean), below, textcoords="offset points", fontsize=7)
            axes.axvline(apart, color="0.6", linestyle=":", linewidth=1)
            axes.set(title=f"{SCORES[score]}, near borders", xlabel="width in mm")
        add_caption(
            figure,
            "Against raters that no training saw; less is better. Bars: 95 % intervals over patients"
            " and trainings. Dotted: how far two raters are apart.",
        )
    return figure


def scores_text(table: pd.DataFrame, widths: Mapping[str, float]) -> str:
    """The table of scores in Markdown."""
    texts = table.pivot_table("text", "method", "score", aggfunc="first")[list(SCORES)]
    rows = [[method, f"{width:.1f}", *texts.loc[method]] for method, width in widths.items()]
    headings = [f"{name} {'↑' if name == 'DSC' else '↓'}" for name in SCORES.values()]
    return markdown_table(
        ["trained with", "width in mm", *headings], rows, "lr" + "r" * len(SCORES)
    )


def tests_text(tests: pd.DataFrame) -> str:
    """The table of tests in Markdown."""
    rows = [
        [
            SCORES[row["score"]],
            row["method"],
            f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]",
            f"{row['p_holm']:.2g}",
            row["decision"],
        ]
        for row in tests.to_dict("records")
    ]
    return markdown_table(
        ["score", "fitted minus", "difference", "p", "the fitted is"], rows, "llrrl"
    )


def write_results(
    audits: Mapping[str, Sequence[Path]],
    widths: Mapping[str, float],
    reference: str,
    facts: Mapping[str, object],
    output: Path,
) -> None:
    """Writes tables, picture and page.

    Args:
        audits: For every method, the folders of its trainings.
        widths: Method → the standard deviation of its weights in mm.
        reference: The method that is tested against the others.
        facts: What the page says of the experiment.
        output: The folder of the files.
    """
    cases = read_cases(audits)
    table, tests = score_table(cases), test_table(cases, reference)
    output.mkdir(parents=True, exist_ok=True)
    for name, of in (("cases", cases), ("scores", table.drop(columns="text")), ("tests", tests)):
        of.to_csv(output / f"{name}.csv", index=False, float_format="%.6g")
    save_figure(draw(table, widths, float(str(facts["apart"]))), output / "widths")
    page = PAGE.format(**facts, scores=scores_text(table, widths), differences=tests_text(tests))
    write_text(output / "README.md", page)
