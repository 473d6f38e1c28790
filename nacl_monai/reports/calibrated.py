"""The changes by a calibrator: an answer to each common question, and its page.

A calibrator may be better near the prediction and worse over all voxels, so that no single word says it.
Each question has a number whose zero, or whose target, is the truth, and an answer: better, worse, no
difference where it is smaller than what matters, or cannot tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from nacl_monai import reports
from nacl_monai.evaluations.evaluated import Run
from nacl_monai.evaluations.statistics import BETTER, CANNOT_TELL, TOO_FEW, WORSE
from nacl_monai.metrics import Decisions
from nacl_monai.metrics.columns import DECISIONS as DECIDED
from nacl_monai.metrics.columns import METRICS, OF_ORDER, PROPER_SCORES
from nacl_monai.metrics.decisions import MISS
from nacl_monai.metrics.pooled import pooled_offsets
from nacl_monai.metrics.record import NEAR
from nacl_monai.posthoc import Calibrator, Sides
from nacl_monai.posthoc.sides import beyond_chance
from nacl_monai.reports.compare import pooled_decision, proper_differences
from nacl_monai.reports.page import numbers_of
from nacl_monai.reports.style import (
    OKABE_ITO,
    WIDTH,
    add_caption,
    house_style,
    new_figure,
    png_source,
)
from nacl_monai.reports.viewer import Section, write_sections
from nacl_monai.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NO_DIFFERENCE = "no difference"
_NEAR, _CONTOUR = "ece_near", "contour_misses"
#: The number of each question → the question, and what the number is called there.
_QUESTIONS = {
    _NEAR: ("Near the prediction", "ECE"),
    _CONTOUR: (f"{100 * MISS:g}% contour", "misses"),
    **{name: ("Over all voxels", METRICS[name].label.split(" over")[0]) for name in PROPER_SCORES},
}
_SIDES = ("before", "after")
_AVERAGED = "the members' mean"
_ABOUT = "A calibrator makes probabilities that are too high or too low come true. "
_TESTED = "It is tested on {} to whom it was not fitted."
_CROSS_FITTED = (
    "Each of the {} is tested behind a calibrator that was fitted to the others, in {} folds; the one "
    "that is written is fitted to all."
)
_OF_VERDICTS = (
    "ECE: by how much the confidence in the predicted class is off, of all cases together. NLL and "
    "Brier score are smaller the nearer probabilities are to what is true. Better or worse: by more "
    "than chance over {}. No difference: smaller than what matters, 5% of a score, or 0.01 of a share."
)
_OF_DECISIONS = (
    "The 5% contour should miss 5% of the structure; its size is its volume ÷ the structure's. What "
    "the expected volume is off by is a share of the structure's. In brackets, 95% intervals over {}."
)
_TICKS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0)


@dataclass(frozen=True)
class Answer:
    """The change of one number by a calibrator.

    Attributes:
        metric: The number, a key of `nacl_monai.metrics.columns.METRICS`.
        before: Without the calibrator, as tables have it.
        after: With it.
        word: "better", "worse", "no difference" or "cannot tell".
        left: The direction of the error that is left, where it is more than chance; else empty.
    """

    metric: str
    before: float
    after: float
    word: str
    left: str = ""

    @property
    def text(self) -> str:
        """A sentence, such as "Near the prediction: better, ECE 0.062 → 0.011."."""
        question, label = _QUESTIONS[self.metric]
        decimals, unit = (
            (1, "%") if self.metric == _CONTOUR else (METRICS[self.metric].decimals, "f")
        )
        values = f"{self.before:.{decimals}{unit}} → {self.after:.{decimals}{unit}}"
        left = f"; still {self.left} by more than chance" if self.left else ""
        return f"{question}: {self.word}, {label} {values}{left}."


def answers(before: Run, after: Run) -> list[Answer]:
    """The effect of a calibrator on numbers that are best for the truth.

    Errors near the prediction, and how far the misses of a contour are from what it says, are of all
    cases together, and patients are drawn for both; proper scores are tested patient by patient. A
    difference that is too small to matter counts as none, however sure it is.

    Args:
        before: Without it.
        after: The same cases with it.

    Returns:
        An answer for each number that both have.
    """
    decisions = {
        difference.metric: difference.decision for difference in proper_differences([after, before])
    }
    if before.bins.decisions is not None and after.bins.decisions is not None:
        sums = _contour_sums(after.bins.decisions), _contour_sums(before.bins.decisions)
        decisions[_CONTOUR] = pooled_decision(pooled_offsets(*sums, MISS, list(after.patients)))
    numbers = {name: (before.number(name), after.number(name)) for name in _QUESTIONS}
    return [
        Answer(
            name, old.mean, new.mean, _word(decisions[name]), _left(after) if name == _NEAR else ""
        )
        for name, (old, new) in numbers.items()
        if name in decisions and old and new
    ]


def _left(run: Run) -> str:
    """The direction of what is wrong near the prediction, if chance does so in less than 1 of 100.

    The gap of each patient has mean 0 for true probabilities, so a t test over patients asks for it.
    """
    bins = run.bins.bins_of(NEAR)
    if bins is None:
        return ""
    cases = pd.Series(bins.confidence_gap().numpy(), list(run.patients))
    gaps = cases.dropna().groupby(level=0).mean()
    if not beyond_chance(gaps):
        return ""
    return "too sure" if gaps.mean() > 0 else "not sure enough"


def _contour_sums(volumes: Decisions) -> list[npt.NDArray[np.float64]]:
    """The missed and labeled volumes of predicted structures, as `decision_numbers` adds them."""
    parts = (volumes.missed, volumes.labeled)
    return [part.where(volumes.predicted > 0, 0).cpu().numpy() for part in parts]


def _word(decision: str) -> str:
    """A decision of `nacl_monai.evaluations.statistics` in the word of an answer."""
    if decision in (BETTER, WORSE):
        return decision
    return CANNOT_TELL if decision in (CANNOT_TELL, TOO_FEW) else NO_DIFFERENCE


def verdicts(before: Run, after: Run) -> list[str]:
    """The text of each of the `answers`, and what to do."""
    found = answers(before, after)
    return [*(answer.text for answer in found), advice(found)]


def advice(found: Sequence[Answer]) -> str:
    """The recommendation of all answers, in one line.

    Example:
        >>> advice([Answer("ece_near", 0.06, 0.01, "better"), Answer("nll_all", 0.07, 0.08, "worse")])
        'Judged by ECE near the prediction, use it; judged by NLL over all voxels, do not.'
    """
    better, worse = (_labels(found, word) for word in (BETTER, WORSE))
    if better and worse:
        return f"Judged by {better}, use it; judged by {worse}, do not."
    if better or worse:
        return "Use it." if better else "Do not use it."
    if {answer.word for answer in found} == {NO_DIFFERENCE}:
        return "Leave the model as it is: it needs no calibrator."
    return "Whether to use it these patients cannot tell: measure more of them."


def _labels(found: Sequence[Answer], word: str) -> str:
    return " and ".join(METRICS[answer.metric].label for answer in found if answer.word == word)


def temperature_curves(calibrator: Calibrator) -> dict[str, list[list[float]]]:
    """The temperatures at the knots of each curve: the calibrator's, then those of its folds.

    Returns:
        Curves by structure, or by the calibrator's name; empty for other methods.
    """
    fit = calibrator.fit
    if fit is None or "knots" not in fit.parameters:
        return {}
    parameters = [fit.parameters, *(fold["parameters"] for fold in calibrator.folds)]
    fits = [np.atleast_2d(fitted["temperatures"]).tolist() for fitted in parameters]
    names = calibrator.channels if len(fits[0]) > 1 else [calibrator.name]
    return dict(zip(names, map(list, zip(*fits, strict=True)), strict=True))


def draw_temperatures(
    curves: Mapping[str, Sequence[Sequence[float]]], knots: Sequence[float], unit: str, caption: str
) -> Figure:
    """T over the distance to the nearest change of the predicted label, on a logarithmic axis.

    Args:
        curves: By name, several fits of each, the temperatures at the knots; the first is drawn bold.
        knots: The distances; signed ones, of predicted structures, are drawn to the left of 0.
        unit: What they are measured in.
        caption: The text below.
    """
    colors = [color for name, color in OKABE_ITO.items() if name != "yellow"][::-1]
    knots, where = _sides(knots)
    with house_style():
        figure = new_figure(height=3.8, width=WIDTH * 0.75)
        axes = figure.subplots()
        axes.axhline(1, color="0.5", linestyle="--", linewidth=1)
        for place, (name, fits) in enumerate(curves.items()):
            color = colors[place % len(colors)]
            for fit in fits[1:]:
                axes.plot(knots, fit, color=color, linewidth=0.8, alpha=0.6)
            axes.plot(knots, fits[0], "o-", color=color, linewidth=2, markersize=4, label=name)
        axes.set(yscale="log", ylabel="temperature")
        axes.set_xlabel(f"distance to the nearest change of the predicted label in {unit}{where}")
        low, high = axes.get_ylim()
        ticks = [tick for tick in _TICKS if low <= tick <= high]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        figure.legend(loc="outside upper center", ncols=4)
        add_caption(figure, f"Above 1: the model is too sure; below 1: not sure enough. {caption}")
    return figure


def _sides(knots: Sequence[float]) -> tuple[Sequence[float], str]:
    """The places of knots on an axis, and which side is which, if they are signed."""
    if knots[0] >= 0:
        return knots, ""
    places = [min(knot + 1, 0.0) if knot < 0 else knot for knot in knots]
    return places, "\ninside (left) and outside of predicted structures"


def write_calibrated(
    runs: Sequence[Run],
    calibrator: Calibrator,
    path: Path,
    command: str,
    sides: Sides | None = None,
    *,
    pictures: bool = True,
) -> Path:
    """Writes the page of a calibrator; returns the path.

    Args:
        runs: The same cases without and with it.
        calibrator: What was fitted, with its folds if the cases are those of the fit.
        path: The file.
        command: The command line that makes the page again.
        sides: What it leaves on both sides of the predicted border, if that is known.
        pictures: Whether the page has diagrams, or numbers alone.

    Raises:
        InputError: If it cannot be written.
    """
    unit, folds = runs[0].unit, len(calibrator.folds)
    number = counted(runs[0].patients.nunique(), unit.removesuffix("s"))
    numbers = [
        {"when": when, **row}
        for when, run in zip(_SIDES, runs, strict=True)
        for row in numbers_of(run)
    ]
    head = Section(
        f"What {runs[1].name} changes",
        _ABOUT + (_CROSS_FITTED if folds else _TESTED).format(number, folds),
        verdicts(*runs),
        notes=[_OF_VERDICTS.format(unit)],
        numbers=numbers,
    )
    curve, diagrams = {}, {}
    if pictures:
        curve, diagram = _curve(calibrator), reports.draw_reliability(runs, errors=False)
        diagrams["Reliability before and after"] = png_source(diagram)
    sections = [
        Section(
            "By which temperature are the logits divided?" * bool(curve),
            sentences=[sides.sentence(calibrator.fit)] if sides else [],
            pictures=curve,
            notes=[f"Fitted: {calibrator.fit.text(unit) if calibrator.fit else _AVERAGED}."],
        ),
        *[Section("Can the probabilities be believed?", pictures=diagrams)] * pictures,
        *_decisions(runs),
    ]
    commands = {"Made by": command}
    return write_sections(path, head, sections, commands, calibrated_by=calibrator.patients)


def _curve(calibrator: Calibrator) -> dict[str, str]:
    """The picture of the temperatures by distance, if they are."""
    curves = temperature_curves(calibrator)
    if not curves or calibrator.fit is None:
        return {}
    knots, unit = (calibrator.fit.parameters[name] for name in ("knots", "unit"))
    thin = "Thin: fitted without a fold of the patients." if calibrator.folds else ""
    caption = "Temperature by distance to the predicted border"
    return {caption: png_source(draw_temperatures(curves, knots, unit, thin))}


def _decisions(runs: Sequence[Run]) -> Iterator[Section]:
    """Contours and volumes, before and after, if they were counted."""
    rows = []
    for name in DECIDED:
        numbers = [run.number(name) for run in runs]
        if name not in OF_ORDER and all(numbers):
            metric = METRICS[name]
            texts = (number.text(metric.decimals) for number in numbers if number)
            rows.append([metric.heading, *texts])
    if rows:
        notes = [_OF_DECISIONS.format(runs[0].unit)]
        yield Section("Contours and volumes", headings=["", *_SIDES], rows=rows, notes=notes)
