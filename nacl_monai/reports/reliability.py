"""Reliability diagrams: is the network right as often as it says it is?

*Predicting good probabilities with supervised learning* (Niculescu-Mizil and Caruana, 2005);
histogram and gap bars after *On calibration of modern neural networks* (Guo et al., 2017),
https://arxiv.org/abs/1706.04599. Everything is drawn from bin sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from nacl_monai.reports.runs import Run, read_runs
from nacl_monai.reports.style import (
    OKABE_ITO,
    WIDTH,
    add_caption,
    house_style,
    new_figure,
    save_figure,
)

Array = npt.NDArray[np.float64]
Style = dict[str, Any]

TOP = "top-1"
COLUMNS = 3
REGIONS = {
    "all": "All voxels",
    "foreground": "Voxels of the ground-truth foreground",
    "union": "Voxels of the ground-truth or predicted foreground",
    "boundary": "Voxels near a ground-truth boundary",
}

#: Bins with a smaller share of the voxels are drawn pale: their accuracy is mostly chance.
SPARSE = 0.001

ACCURACY: Style = {"facecolor": OKABE_ITO["sky"], "edgecolor": "white", "linewidth": 0.8}
OVER: Style = {"facecolor": "#F3B48B", "edgecolor": OKABE_ITO["vermillion"], "hatch": "////"}
UNDER: Style = {"facecolor": "white", "edgecolor": OKABE_ITO["blue"], "hatch": "...."}
HISTOGRAM: Style = {"facecolor": "0.45", "edgecolor": "white", "linewidth": 0.8}
BAND: Style = {"color": "black", "linewidth": 1.2}


@dataclass(frozen=True)
class ReliabilityCurve:
    """One method's curve over M bins; NaN marks a bin without voxels.

    Attributes:
        accuracy: share of correct voxels per bin, all volumes pooled.
        confidence: mean confidence per bin, all volumes pooled.
        share: share of all voxels that fall into the bin.
        lower: lower end of the band around ``accuracy``.
        upper: its upper end.
        error: calibration error of the pooled bins.
        mean_error: mean over the volumes of the calibration error of each.
        volumes: number of volumes with voxels in the region, the n of ``mean_error``.
        voxels: number of voxels.
    """

    accuracy: Array
    confidence: Array
    share: Array
    lower: Array
    upper: Array
    error: float
    mean_error: float
    volumes: int
    voxels: int


def reliability_curve(
    run: Run,
    region: str = "foreground",
    row: str = TOP,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> ReliabilityCurve:
    """The reliability curve of one run in one region, for the top class or one class by name."""
    bins = run.bins.select(region, row)
    pooled = {key: sums[0] for key, sums in bins.pooled().arrays().items()}
    errors = bins.errors("ece")
    defined = ~errors.isnan()
    volumes = {key: sums[:, 0] for key, sums in bins.arrays().items()}
    lower, upper = bootstrap_band(
        volumes["counts"], volumes["positives"], run.patients.to_numpy(), resamples, level, seed
    )
    return ReliabilityCurve(
        accuracy=_ratio(pooled["positives"], pooled["counts"]),
        confidence=_ratio(pooled["confidences"], pooled["counts"]),
        share=_ratio(pooled["counts"], pooled["counts"].sum()),
        lower=lower,
        upper=upper,
        error=float(bins.pooled().errors("ece")),
        mean_error=float(errors[defined].mean()),
        volumes=int(defined.sum()),
        voxels=int(pooled["counts"].sum()),
    )


def bootstrap_band(
    counts: npt.NDArray[np.int64],
    positives: npt.NDArray[np.int64],
    patients: npt.NDArray[np.generic],
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[Array, Array]:
    """Percentile band of the pooled accuracy per bin when patients are drawn with replacement.

    Voxels of a volume, and volumes of a patient, stand or fall together; hence patients are the
    unit that is drawn. Resamplings that leave a bin empty do not count for that bin.

    Args:
        counts: voxels per case and bin, (N, M).
        positives: correct voxels per case and bin, (N, M).
        patients: the patient of each case, (N,).
        resamples: number of resamplings.
        level: probability inside the band.
        seed: of the random generator.

    Returns:
        Lower and upper end per bin, (M,); NaN where a bin has no voxels.
    """
    _, patient = np.unique(patients, return_inverse=True)
    n = int(patient.max()) + 1
    belongs = np.arange(n)[:, None] == patient
    rng = np.random.default_rng(seed)
    times = rng.multinomial(n, np.full(n, 1 / n), size=resamples) @ belongs
    accuracy = _ratio(times @ positives, times @ counts)
    used = counts.sum(axis=0) > 0
    band = np.full((2, counts.shape[1]), np.nan)
    tails = [(1 - level) / 2, (1 + level) / 2]
    band[:, used] = np.nanquantile(accuracy[:, used], tails, axis=0)
    return band[0], band[1]


def draw_reliability(
    runs: Sequence[Run],
    *,
    region: str = "foreground",
    row: str = TOP,
    resamples: int = 1000,
    seed: int = 0,
) -> Figure:
    """Reliability diagrams of several runs side by side, on the same axes.

    Args:
        runs: from `nacl_monai.reports.read_runs`.
        region: voxels that count, one of the regions in ``bins.npz``.
        row: "top-1", or a class: its probability against how often it is true.
        resamples: resamplings of patients for the 95 % band.
        seed: of those resamplings.
    """
    curves = [reliability_curve(run, region, row, resamples=resamples, seed=seed) for run in runs]
    lines = math.ceil(len(runs) / COLUMNS)
    columns = math.ceil(len(runs) / lines)
    side = (WIDTH - 0.8) / max(columns, 2)
    with house_style():
        figure = new_figure(
            height=lines * (side + 1.5) + 1.0, width=WIDTH if columns > 1 else WIDTH * 0.6
        )
        axes = figure.subplots(
            2 * lines,
            columns,
            sharex=True,
            sharey="row",
            squeeze=False,
            gridspec_kw={"height_ratios": [3.2, 1] * lines},
        )
        tallest = max(float(curve.share.max(initial=0)) for curve in curves)
        for k in range(lines * columns):
            line, column = divmod(k, columns)
            diagram, histogram = axes[2 * line, column], axes[2 * line + 1, column]
            if k >= len(runs):
                diagram.set_axis_off()
                histogram.set_axis_off()
                continue
            diagram.set_title(runs[k].name)
            _draw_diagram(diagram, curves[k], _corner(curves[k], row, len(runs[k].cases)))
            _draw_histogram(histogram, curves[k], tallest, row)
            if column == 0:
                diagram.set_ylabel("Accuracy" if row == TOP else f"How often it is {row}")
                histogram.set_ylabel("Share of\nvoxels")
        add_caption(figure, _footer(runs[0], region, row, resamples))
        figure.legend(
            handles=_key(),
            loc="outside upper center",
            ncols=5 if columns > 1 else 3,
            handlelength=1.6,
        )
    return figure


def write_reliability(
    folders: Sequence[str | Path],
    output: str | Path,
    *,
    names: Sequence[str] | None = None,
    region: str = "foreground",
    row: str = TOP,
) -> list[Path]:
    """Writes ``reliability_<region>_<row>.png`` and ``.svg``; returns the two paths.

    Args:
        folders: run folders, each with ``evaluation/``, evaluated on the same test volumes.
        output: folder for the figure.
        names: one name per run; by default those of the folders.
        region: one of the regions in ``bins.npz``.
        row: "top-1", or the name of a class.

    Raises:
        InputError: if a run cannot be read, if the runs cannot be compared, or if they have no
            such region or row.
    """
    figure = draw_reliability(read_runs(folders, names), region=region, row=row)
    return save_figure(figure, Path(output) / f"reliability_{region}_{row}")


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
    axes.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1, label="perfect")
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


def _fade(bars: BarContainer, alphas: Array) -> None:
    for bar, alpha in zip(bars, alphas, strict=True):
        bar.set_alpha(alpha)


def _corner(curve: ReliabilityCurve, row: str, cases: int) -> str:
    if curve.voxels == 0:
        return "no voxels"
    error = "ECE" if row == TOP else "Error"
    n = f": {curve.volumes} of {cases}" if curve.volumes < cases else ""
    return (
        f"{error} {curve.mean_error:.3f} (volumes{n})\n"
        f"{error} {curve.error:.3f} (pooled)\n"
        f"{curve.voxels:,} voxels"
    )


def _draw_histogram(axes: Axes, curve: ReliabilityCurve, tallest: float, row: str) -> None:
    edges = np.linspace(0, 1, len(curve.share) + 1)
    axes.bar((edges[:-1] + edges[1:]) / 2, np.nan_to_num(curve.share), edges[1], **HISTOGRAM)
    axes.set(ylim=(0, min(1.05, 1.1 * tallest) or 1))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.tick_params(labelbottom=True)
    axes.set_xlabel("Confidence" if row == TOP else f"Probability of {row}")


def _key() -> list[Artist]:
    return [
        Patch(**ACCURACY, label="accuracy"),
        Patch(**OVER, label="overconfident by"),
        Patch(**UNDER, label="underconfident by"),
        Line2D([], [], color="black", linestyle="--", linewidth=1, label="perfectly calibrated"),
        Line2D([], [], **BAND, marker="|", linestyle="", markersize=12, label="95 % band"),
    ]


def _footer(run: Run, region: str, row: str, resamples: int) -> str:
    """What was counted, and what the band means."""
    volumes, patients = len(run.cases), run.patients.nunique()
    unit = f"{patients} patients" if patients < volumes else f"{volumes} volumes"
    error = "ECE" if row == TOP else "Error"
    return (
        f"{REGIONS.get(region, region)} of {volumes} test volumes. "
        f"{error} (volumes): mean over the volumes; {error} (pooled): all voxels together.\n"
        f"Band: accuracy when the {unit} are resampled {resamples:,} times. "
        f"Pale bars: less than {SPARSE:.1%} of the voxels."
    )


def _ratio(of: npt.ArrayLike, to: npt.ArrayLike) -> Array:
    """Elementwise ratio; NaN where nothing was counted."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.divide(of, to), dtype=np.float64)
