"""Reliability curves and diagrams: is the network right as often as its confidence promises?

*Predicting good probabilities with supervised learning* (Niculescu-Mizil and Caruana, 2005);
histogram and gap bars after *On calibration of modern neural networks* (Guo et al., 2017),
https://arxiv.org/abs/1706.04599. And risk by coverage: how many errors does a reader meet who trusts the
most confident voxels? *Selective classification for deep neural networks* (Geifman and El-Yaniv, 2017),
https://arxiv.org/abs/1705.08500. Everything is drawn from bin sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from nacl_monai.evaluations.evaluated import Run, read_runs
from nacl_monai.evaluations.statistics import pooled_band
from nacl_monai.evaluations.tables import csv_text
from nacl_monai.files import write_text
from nacl_monai.metrics.fine_bins import aurc, error_auroc
from nacl_monai.metrics.pooled import COVERAGE
from nacl_monai.reports.style import (
    OKABE_ITO,
    WIDTH,
    add_caption,
    add_key,
    house_style,
    panel_figure,
    panel_grid,
    save_figure,
)
from nacl_monai.runs import TOP
from nacl_monai.tensors import Floats

#: Resamplings of patients for the band around a curve.
BAND_RESAMPLES = 1000
#: Bins with a smaller share of the voxels say little: their accuracy is mostly chance.
SPARSE = 0.001
_Style = dict[str, Any]
#: Most diagrams side by side.
_COLUMNS = 3
ACCURACY: _Style = {"facecolor": OKABE_ITO["sky"], "edgecolor": "white", "linewidth": 0.8}
OVER: _Style = {"facecolor": "#F3B48B", "edgecolor": OKABE_ITO["vermillion"], "hatch": "////"}
UNDER: _Style = {"facecolor": "white", "edgecolor": OKABE_ITO["blue"], "hatch": "...."}
HISTOGRAM: _Style = {"facecolor": "0.45", "edgecolor": "white", "linewidth": 0.8}
BAND: _Style = {"color": "black", "linewidth": 1.2}
DIAGONAL: _Style = {"color": "black", "linestyle": "--", "linewidth": 1}
_HUMAN: _Style = {"color": OKABE_ITO["purple"], "linewidth": 1.6, "marker": "o", "markersize": 4}


@dataclass(frozen=True)
class ReliabilityCurve:
    """One method's curve over M bins; NaN marks a bin without voxels.

    Attributes:
        accuracy: Share of correct voxels per bin, all cases pooled.
        confidence: Mean confidence per bin, all cases pooled.
        share: Share of all voxels that fall into the bin.
        lower: Lower end of the band around ``accuracy``.
        upper: Its upper end.
        error: Calibration error of the pooled bins.
        mean_error: Mean over the cases of the calibration error of each.
        cases: Number of cases with voxels in the region, the n of ``mean_error``.
        voxels: Number of voxels.
        human: With several raters, confidence and accuracy of the share of the others as a prediction of
            each, per bin that is not sparse; else empty.
        human_error: The mean over the cases of its calibration error; NaN of one rater.
    """

    accuracy: Floats
    confidence: Floats
    share: Floats
    lower: Floats
    upper: Floats
    error: float
    mean_error: float
    cases: int
    voxels: int
    human: tuple[Floats, Floats]
    human_error: float


def reliability_curve(
    run: Run,
    region: str = "foreground",
    class_name: str = TOP,
    *,
    resamples: int = BAND_RESAMPLES,
    seed: int = 0,
) -> ReliabilityCurve:
    """The reliability curve of one run in one region.

    Args:
        run: From `nacl_monai.evaluations.read_run`.
        region: One of the regions in ``bins.npz``.
        class_name: "top-1", the predicted class, or one class by its name.
        resamples: Resamplings of patients for the 95% band.
        seed: The seed of those resamplings.

    Raises:
        InputError: If the run has no such region or class.
    """
    bins = run.bins.select(region, class_name)
    pooled = {key: sums[0] for key, sums in bins.pooled().arrays().items()}
    by_case = {key: sums[:, 0] for key, sums in bins.arrays().items()}
    errors = bins.errors("ece")
    defined = ~errors.isnan()
    lower, upper = pooled_band(
        by_case["positives"],
        by_case["counts"],
        run.patients.to_numpy(),
        resamples=resamples,
        seed=seed,
    )
    return ReliabilityCurve(
        accuracy=_ratio(pooled["positives"], pooled["counts"]),
        confidence=_ratio(pooled["confidences"], pooled["counts"]),
        share=_ratio(pooled["counts"], pooled["counts"].sum()),
        lower=lower,
        upper=upper,
        error=float(bins.pooled().errors("ece")),
        mean_error=float(errors[defined].mean()),
        cases=int(defined.sum()),
        voxels=int(pooled["counts"].sum()) // run.bins.times,
        human=_human_curve(run, region, class_name),
        human_error=_human_error(run, region, class_name),
    )


def _human_curve(run: Run, region: str, class_name: str) -> tuple[Floats, Floats]:
    if run.bins.of_raters is None:
        return np.empty(0), np.empty(0)
    bins = run.bins.of_raters.select(region, class_name).pooled()[0]
    counts, positives, confidences = bins.arrays().values()
    shown = _ratio(counts, counts.sum()) >= SPARSE
    return _ratio(confidences, counts)[shown], _ratio(positives, counts)[shown]


def _human_error(run: Run, region: str, class_name: str) -> float:
    if run.bins.of_raters is None:
        return float("nan")
    return float(run.bins.of_raters.select(region, class_name).errors("ece").nanmean())


def _ratio(numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> Floats:
    """Elementwise ratio; NaN where nothing was counted."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.divide(numerator, denominator), dtype=np.float64)


def draw_reliability(
    runs: Sequence[Run],
    *,
    region: str | None = None,
    class_name: str = TOP,
    resamples: int = BAND_RESAMPLES,
    seed: int = 0,
    errors: bool = True,
) -> Figure:
    """Draws reliability diagrams of several runs side by side, on the same axes.

    Args:
        runs: From `nacl_monai.evaluations.read_runs`.
        region: Voxels that count, one of the regions in ``bins.npz``; by default those near the
            prediction, the foreground where these were not counted, and of structures that overlap
            those of the first.
        class_name: "top-1", or a class: its probability against how often it is true.
        resamples: Resamplings of patients for the 95% band.
        seed: The seed of those resamplings.
        errors: Whether errors are written in the diagrams; a page has that of its table, and no other.

    Raises:
        InputError: If a run has no such region or class.
    """
    region = region or runs[0].bins.main_region
    curves = [
        reliability_curve(run, region, class_name, resamples=resamples, seed=seed) for run in runs
    ]
    tallest = max(float(curve.share.max(initial=0)) for curve in curves)
    human = any(curve.human[0].size for curve in curves)
    lines, columns = panel_grid(len(runs), _COLUMNS)
    with house_style():
        figure, panels = _panels(lines, columns, len(runs))
        for run, curve, (diagram, histogram) in zip(runs, curves, panels, strict=True):
            diagram.set_title(run.name)
            _draw_diagram(diagram, curve, _corner(curve, class_name, len(run.cases), errors=errors))
            _draw_histogram(histogram, curve, tallest)
            histogram.set_xlabel(_words(class_name)[2])
        for diagram, histogram in panels[::columns]:
            diagram.set_ylabel(_words(class_name)[1])
            histogram.set_ylabel("Share of voxels")
        add_caption(figure, _caption(runs[0], region, class_name, resamples, errors=errors))
        handles = _key() + [Line2D([], [], **_HUMAN, label="raters")] * human
        add_key(figure, handles, 5 if columns > 1 and not human else 3, handlelength=1.6)
    return figure


def write_reliability(
    folders: Sequence[str | Path],
    output: str | Path,
    *,
    names: Sequence[str] | None = None,
    region: str | None = None,
    class_name: str = TOP,
) -> list[Path]:
    """Writes ``reliability_<region>_<class>.png`` and ``.svg``; returns the two paths.

    Args:
        folders: Run folders that were evaluated on the same test cases.
        output: Folder for the figure.
        names: One name per run; by default those of the folders.
        region: As in `draw_reliability`.
        class_name: "top-1", or the name of a class.

    Raises:
        InputError: If a run cannot be read, if the runs cannot be compared, or if they have no
            such region or class.
    """
    runs = read_runs(folders, names)
    region = region or runs[0].bins.main_region
    figure = draw_reliability(runs, region=region, class_name=class_name)
    return save_figure(figure, Path(output) / f"reliability_{region}_{class_name}")


def _panels(lines: int, columns: int, number: int) -> tuple[Figure, list[list[Axes]]]:
    """A figure of diagrams, each with a histogram below, line by line."""
    side = (WIDTH - 1.5) / max(columns, 2)
    figure = panel_figure(
        lines,
        columns,
        (side, 1.4 * side),
        width=WIDTH if columns > 1 else WIDTH * 0.6,
        left=0.7,
        bottom=0.65,
        between=(0.3, 1.0),
    )
    grid = figure.add_gridspec(lines, columns)
    pairs = []
    for k in range(number):
        cell = grid[divmod(k, columns)].subgridspec(2, 1, height_ratios=[3.2, 1], hspace=0.12)
        pairs.append(list(cell.subplots(squeeze=False, sharex=True)[:, 0]))
        for axes in pairs[-1]:
            axes.tick_params(labelleft=k % columns == 0)
    return figure, pairs


def _draw_diagram(axes: Axes, curve: ReliabilityCurve, corner: str) -> None:
    edges = np.linspace(0, 1, len(curve.accuracy) + 1)
    centers, width = (edges[:-1] + edges[1:]) / 2, edges[1]
    used = ~np.isnan(curve.accuracy)
    at, accuracy, confidence = centers[used], curve.accuracy[used], curve.confidence[used]
    pale = np.where(curve.share < SPARSE, 0.4, 1.0)[used]
    bars = axes.bar(at, accuracy, width, label="accuracy", **ACCURACY)
    _fade(bars, pale)
    for label, kind, style in (
        ("overconfident", confidence > accuracy, OVER),
        ("underconfident", confidence < accuracy, UNDER),
    ):
        bars = axes.bar(
            at[kind],
            (confidence - accuracy)[kind],
            width,
            bottom=accuracy[kind],
            linewidth=0.8,
            label=label,
            **style,
        )
        _fade(bars, pale[kind])
    axes.vlines(at, curve.lower[used], curve.upper[used], label="band", **BAND)
    axes.plot([0, 1], [0, 1], label="perfect", **DIAGONAL)
    if curve.human[0].size:
        axes.plot(*curve.human, label="raters", **_HUMAN)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.text(
        0.03,
        0.98,
        corner,
        transform=axes.transAxes,
        va="top",
        fontsize=8.5,
        in_layout=False,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
    )


def _fade(bars: BarContainer, alphas: Floats) -> None:
    for bar, alpha in zip(bars, alphas, strict=True):
        bar.set_alpha(alpha)


def _draw_histogram(axes: Axes, curve: ReliabilityCurve, tallest: float) -> None:
    edges = np.linspace(0, 1, len(curve.share) + 1)
    axes.bar((edges[:-1] + edges[1:]) / 2, np.nan_to_num(curve.share), edges[1], **HISTOGRAM)
    axes.set(ylim=(0, min(1.05, 1.1 * tallest) or 1))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.tick_params(labelbottom=True)


def _words(class_name: str) -> tuple[str, str, str]:
    """The names of the error, the vertical and the horizontal axis."""
    if class_name == TOP:
        return "ECE", "Accuracy", "Confidence"
    return "Error", f"How often it is {class_name}", f"Probability of {class_name}"


def _corner(curve: ReliabilityCurve, class_name: str, cases: int, *, errors: bool) -> str:
    if curve.voxels == 0:
        return "no voxels"
    if not errors:
        return f"{curve.voxels:,} voxels"
    error = _words(class_name)[0]
    n = f": {curve.cases} of {cases}" if curve.cases < cases else ""
    human = "" if np.isnan(curve.human_error) else f"{error} {curve.human_error:.3f} (raters)\n"
    return (
        f"{human}{error} {curve.mean_error:.3f} (cases{n})\n"
        f"{error} {curve.error:.3f} (pooled)\n"
        f"{curve.voxels:,} voxels"
    )


def _key() -> list[Artist]:
    band = f"{100 * COVERAGE:g}% band"
    return [
        Patch(**ACCURACY, label="accuracy"),
        Patch(**OVER, label="overconfident by"),
        Patch(**UNDER, label="underconfident by"),
        Line2D([], [], **DIAGONAL, label="perfectly calibrated"),
        Line2D([], [], **BAND, marker="|", linestyle="", markersize=12, label=band),
    ]


def _caption(run: Run, region: str, class_name: str, resamples: int, *, errors: bool) -> str:
    """The caption: the counted voxels, and the meaning of the band."""
    unit = f"{run.patients.nunique()} {run.unit}"
    voxels = run.bins.label(region)
    error = _words(class_name)[0]
    by = (
        f", by any of {len(run.bins.raters)} raters or by the one of a panel,"
        if run.bins.raters
        else ""
    )
    human = (
        ""
        if run.bins.human is None
        else "\nRaters: each of them, predicted by the share of the others as a probability."
    )
    kinds = f" {error} (cases): mean over cases; (pooled): all voxels together." * errors
    return (
        f"{voxels}{by} in {len(run.cases)} {run.scope.cases}.{kinds}\n"
        f"Band: accuracy when the {unit} are resampled {resamples:,} times. "
        f"Pale bars: less than {SPARSE:.1%} of the voxels.{human}"
    )


#: Most panels side by side, and the size of one in inches.
_RISK_COLUMNS = 2
PANEL = (3.4, 2.3)
#: Coverages at which a curve is computed.
POINTS = 1000
_COLORS = tuple(
    OKABE_ITO[name] for name in ("black", "vermillion", "blue", "green", "purple", "orange", "sky")
)
LINES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class RiskCurve:
    """One method's selective risk in one region, all cases pooled.

    Attributes:
        coverage: The share of the voxels that a reader looks at, the most confident first.
        risk: The error rate among them.
        error: Area under this curve.
        mean_error: Mean over the cases of the area under the curve of each.
        auroc: The probability that a right voxel is more confident than a wrong one, all cases pooled.
        voxels: Number of voxels.
    """

    coverage: Floats
    risk: Floats
    error: float
    mean_error: float
    auroc: float
    voxels: int


def risk_curve(run: Run, region: str) -> RiskCurve:
    """The risk–coverage curve of one run in one region.

    Voxels of a fine bin count as equally confident, and their errors as spread evenly.

    Args:
        run: From `nacl_monai.evaluations.read_run`.
        region: One of the regions in ``bins.npz``.

    Raises:
        InputError: If the run has no such region, or no fine bins.
    """
    pooled = run.bins.select_fine(region)
    covered, wrong = (
        np.concatenate([[0], sums.flip(-1).cumsum(-1).numpy()])
        for sums in (pooled.counts, pooled.errors)
    )
    coverage = np.linspace(1 / POINTS, 1, POINTS)
    voxels = int(covered[-1])
    with np.errstate(invalid="ignore"):
        risk = np.interp(coverage * voxels, covered, wrong) / (coverage * voxels)
    return RiskCurve(
        coverage=coverage,
        risk=risk,
        error=aurc(pooled.counts, pooled.errors).item(),
        mean_error=run.bins.errors("aurc", region).nanmean().item(),
        auroc=error_auroc(pooled.counts, pooled.errors).item(),
        voxels=voxels // run.bins.times,
    )


def draw_selective(runs: Sequence[Run], regions: Sequence[str] = ()) -> tuple[Figure, pd.DataFrame]:
    """Draws the risk–coverage curves of several runs, a panel per region.

    Args:
        runs: From `nacl_monai.evaluations.read_runs`.
        regions: Some of the regions in ``bins.npz``; by default all.

    Returns:
        The figure, and its numbers: one row per region and method, with ``aurc`` (mean over cases),
        ``aurc_pooled`` and ``error_auroc_pooled``.

    Raises:
        InputError: If a run has no such region, or no fine bins.
    """
    regions = list(regions) or runs[0].bins.regions
    curves = {region: [risk_curve(run, region) for run in runs] for region in regions}
    lines, columns = panel_grid(len(regions), _RISK_COLUMNS)
    with house_style():
        figure = panel_figure(
            lines,
            columns,
            PANEL,
            width=WIDTH if columns > 1 else WIDTH * 0.6,
            left=0.8,
            bottom=0.65,
            between=(1.0, 0.9),
        )
        panels = figure.subplots(lines, columns, squeeze=False).flatten()
        for ax in panels[len(regions) :]:
            ax.set_axis_off()
        for ax, region in zip(panels, regions, strict=False):
            _draw_panel(ax, [run.name for run in runs], curves[region])
            ax.set_title(runs[0].bins.label(region))
        add_caption(figure, _risk_caption(runs[0]))
    return figure, _numbers(runs, curves)


def write_selective(
    folders: Sequence[str | Path],
    output: str | Path,
    *,
    names: Sequence[str] | None = None,
    regions: Sequence[str] = (),
) -> list[Path]:
    """Writes ``selective.png``, ``.svg`` and their numbers, ``.csv``; returns the paths.

    Args:
        folders: Run folders that were evaluated on the same test cases.
        output: Folder for the files.
        names: One name per run; by default those of the folders.
        regions: Some of the regions in ``bins.npz``; by default all.

    Raises:
        InputError: If a run cannot be read, if the runs cannot be compared, or if they have no such
            region or no fine bins.
    """
    figure, numbers = draw_selective(read_runs(folders, names), regions)
    stem = Path(output) / "selective"
    return [*save_figure(figure, stem), write_text(stem.with_suffix(".csv"), csv_text(numbers))]


def _draw_panel(axes: Axes, names: Sequence[str], curves: Sequence[RiskCurve]) -> None:
    for k, (name, curve) in enumerate(zip(names, curves, strict=True)):
        axes.plot(
            curve.coverage,
            curve.risk,
            color=_COLORS[k % len(_COLORS)],
            linestyle=LINES[k // len(_COLORS) % len(LINES)],
            label=f"{curve.mean_error:.2g}  {name}" if curve.voxels else f"no voxels  {name}",
        )
    axes.set(xlim=(0, 1), xlabel="Coverage", ylabel="Error rate")
    axes.set_ylim(bottom=0)
    for axis, decimals in ((axes.xaxis, 0), (axes.yaxis, None)):
        axis.set_major_formatter(PercentFormatter(xmax=1, decimals=decimals))
    legend = axes.legend(loc="best", title="AURC", fontsize=8.5, title_fontsize=8.5)
    legend.set_alignment("left")
    legend.set_in_layout(False)  # it is within the panel, and its best place is slow to find


def _risk_caption(run: Run) -> str:
    return (
        "Coverage: the share of the voxels that is looked at, the most confident first; error rate: of "
        f"these. All voxels of {len(run.cases)} {run.scope.cases} together. AURC: the area under the "
        "curve of a case, mean over the cases."
    )


def _numbers(runs: Sequence[Run], curves: dict[str, list[RiskCurve]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "region": region,
                "method": run.name,
                "aurc": curve.mean_error,
                "aurc_pooled": curve.error,
                "error_auroc_pooled": curve.auroc,
                "voxels": curve.voxels,
            }
            for region, of_region in curves.items()
            for run, curve in zip(runs, of_region, strict=True)
        ]
    )
