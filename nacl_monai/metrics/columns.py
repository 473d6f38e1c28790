"""Every number of an evaluation or audit: its name, its heading, its digits, and how it is computed.

A column of ``cases.csv`` is ``<score>``, ``<score>_<structure>``, ``<error>_<region>`` or, where each
structure has its own regions, ``<error>_<region>_<structure>``. Tables, pages, comparisons and the
checks of files ask this module alone; a new number is one entry in :data:`ERRORS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isnan
from sys import float_info
from typing import TYPE_CHECKING, Any

import torch

from nacl_monai.errors import InputError
from nacl_monai.metrics.bins import CalibrationBins, ScoreSums, ThresholdedBins, VoxelSums
from nacl_monai.metrics.fine_bins import FineBins, aurc, error_auroc
from nacl_monai.metrics.regions import RegionPieces
from nacl_monai.words import interval_texts

if TYPE_CHECKING:
    from nacl_monai.metrics.record import Measurement

#: The smallest difference of two values that matters, as a share of what they are compared with.
MARGIN_SHARE = 0.05
#: Kind of sums → function of the pieces of a batch and of what is measured.
COLLECTORS: dict[type[VoxelSums], Callable[[RegionPieces, Measurement], VoxelSums]] = {
    CalibrationBins: lambda pieces, measured: CalibrationBins.collect(pieces, measured.num_bins),
    FineBins: lambda pieces, _: FineBins.collect(pieces),
    ScoreSums: lambda pieces, _: ScoreSums.collect(pieces),
    ThresholdedBins: lambda pieces, measured: ThresholdedBins.collect(
        pieces, measured.num_bins, measured.threshold
    ),
}
#: The name of a region's voxels in a caption, and the end of the label of an error there.
REGION_WORDS = {
    "foreground": ("Voxels labeled as foreground", ""),
    "union": ("Voxels labeled or predicted as foreground", " over prediction ∪ label"),
    "boundary": ("Voxels near a labeled boundary", " near boundaries"),
    "all": ("All voxels", " over all voxels"),
    "near": ("Voxels near what is predicted", " near the prediction"),
    "predicted": ("Voxels predicted as foreground", " over the prediction"),
    "predicted_boundary": ("Voxels near a predicted boundary", " near predicted boundaries"),
}
#: The metrics that every evaluation writes.
MAIN_METRICS = ("dice", "hd95", "ece_foreground", "cece_foreground")
#: The proper scores that are shown: no region makes a cautious network look better than it is.
PROPER_SCORES = ("nll_all", "brier_all")
#: Metrics of all cases together (`nacl_monai.metrics.record.Record.pooled_numbers`): the errors of a
#: region, the leading ones, those of the order of patients, and the errors of decisions.
POOLED_ERRORS = ("ece", "confidence_gap")
LEADING = tuple(f"{error}_near" for error in POOLED_ERRORS)
OF_ORDER = ("rank_correlation", "worst_found")
DECISIONS = (
    *("contour_misses", "contour_size", "expected_volume_bias", "expected_volume_error"),
    *("expected_dice_error", *OF_ORDER),
)
#: The metrics that a comparison of runs shows, if the runs have them; and the paper's measures.
COMPARED_METRICS = ("dice", "hd95", "hd95_mm", *LEADING, *PROPER_SCORES, *DECISIONS)
PAPER_METRICS = ("ece_foreground", "cece_foreground", "ece_union", "ece_boundary")


@dataclass(frozen=True)
class Metric:
    """How one number is shown.

    Attributes:
        label: Its name in tables and figures.
        decimals: Digits after the point.
        higher_is_better: False for errors and distances; None where neither end is better.
        margin: The smallest difference that matters: 0.01 of DSC and of what else is best at 1; None
            is `MARGIN_SHARE` of the value, as of all errors.
        low: The smallest value that it can have.
        high: The largest.
        audited: Whether the table and the page of an audit show it.
    """

    label: str
    decimals: int = 3
    higher_is_better: bool | None = False
    margin: float | None = None
    low: float = 0.0
    high: float = 1.0
    audited: bool = False

    @property
    def heading(self) -> str:
        """The label, with an arrow toward better values: "DSC ↑"."""
        return f"{self.label} {('↓', '', '↑')[self.direction + 1]}".rstrip()

    @property
    def direction(self) -> int:
        """1 where an increase is an improvement, −1 where it is a loss, 0 where it is neither."""
        return 0 if self.higher_is_better is None else 2 * self.higher_is_better - 1

    def margin_at(self, value: float) -> float:
        """The smallest difference from a value that matters.

        Example:
            >>> METRICS["dice"].margin_at(0.8), METRICS["nll_all"].margin_at(0.5)
            (0.01, 0.025)
        """
        return MARGIN_SHARE * abs(value) if self.margin is None else self.margin

    def text(self, value: float, sign: str = "") -> str:
        """The value with the metric's digits; ``sign="+"`` also marks positive ones."""
        return f"{value:{sign}.{self.decimals}f}"

    def interval(self, low: float, high: float) -> str:
        """The interval of a difference with the metric's digits, as the paper's: "[+0.001, +0.014]"."""
        return "–" if isnan(low) else f"[{self.text(low, '+')}, {self.text(high, '+')}]"

    def difference(self, value: float, low: float, high: float) -> tuple[str, str]:
        """A difference and its interval: "+0.0075", "[+0.0010, +0.0140]"; "–" where there is none."""
        shown, start, end = interval_texts(value, low, high, self.decimals, "+")
        return shown, "–" if isnan(low) else f"[{start}, {end}]"


@dataclass(frozen=True, kw_only=True)
class Error(Metric):
    """A number per region.

    Attributes:
        sums: What it is computed from, a key of :data:`COLLECTORS`.
        compute: Function of these sums and of what is measured.
        default: Whether an evaluation measures it unless others are asked for.
        decimals_of_all: Digits over all voxels, most of which are easy.
    """

    sums: type[VoxelSums]
    compute: Callable[[Any, Measurement], torch.Tensor]
    default: bool = True
    decimals_of_all: int = 3


def _cece(bins: CalibrationBins | ThresholdedBins, measured: Measurement) -> torch.Tensor:
    return bins.cece(measured.include_background, measured.include_absent)


#: The errors that are known by name.
ERRORS: dict[str, Error] = {
    "ece": Error(
        "ECE",
        audited=True,
        decimals_of_all=4,
        sums=CalibrationBins,
        compute=lambda bins, _: bins.ece(),
    ),
    "ace": Error("ACE", sums=CalibrationBins, compute=lambda bins, _: bins.ace()),
    "mce": Error("MCE", sums=CalibrationBins, compute=lambda bins, _: bins.mce()),
    "confidence_gap": Error(
        "Confidence − accuracy",
        higher_is_better=None,
        low=-1.0,
        audited=True,
        sums=CalibrationBins,
        compute=lambda bins, _: bins.confidence_gap(),
    ),
    "adaptive_ece": Error(
        "Adaptive ECE",
        sums=FineBins,
        compute=lambda fine, measured: fine.adaptive_ece(measured.num_bins),
    ),
    "cece": Error("CECE", audited=True, sums=CalibrationBins, compute=_cece),
    "nll": Error(
        "NLL", high=inf, decimals_of_all=4, sums=ScoreSums, compute=lambda scores, _: scores.nll()
    ),
    "brier": Error(
        "Brier score",
        high=2.0,
        decimals_of_all=4,
        sums=ScoreSums,
        compute=lambda scores, _: scores.brier(),
    ),
    "aurc": Error(
        "AURC",
        decimals_of_all=5,
        sums=FineBins,
        compute=lambda fine, _: aurc(fine.counts, fine.errors),
    ),
    "error_auroc": Error(
        "AUROC of errors",
        higher_is_better=True,
        margin=0.01,
        sums=FineBins,
        compute=lambda fine, _: error_auroc(fine.counts, fine.errors),
    ),
    "thresholded_cece": Error(
        "Thresholded CECE", default=False, sums=ThresholdedBins, compute=_cece
    ),
    "smooth_ece": Error(
        "Smooth ECE", default=False, sums=FineBins, compute=lambda fine, _: fine.smooth_ece()
    ),
}

#: Those that an evaluation measures unless others are asked for.
DEFAULT_ERRORS = tuple(name for name, error in ERRORS.items() if error.default)

#: The scores of structures, and the decisions on them (`nacl_monai.metrics.decisions`). A single case
#: has no error of what is expected, no rank correlation, and nothing to be found among others.
SCORES: dict[str, Metric] = {
    "dice": Metric("DSC", higher_is_better=True, margin=0.01, audited=True),
    "hd95": Metric("HD95", decimals=2, high=float_info.max, audited=True),
    "hd95_mm": Metric("HD95 in mm", decimals=2, high=float_info.max, audited=True),
    "crps": Metric("CRPS of the volume in ml", high=float_info.max, audited=True),
    "contour_misses": Metric("5% contour, misses", higher_is_better=None),
    "contour_size": Metric("5% contour, size", higher_is_better=None, high=float_info.max),
    "promised_size": Metric("Contour with a guarantee, size", high=float_info.max),
    "expected_volume_bias": Metric(
        "Expected volume, bias", higher_is_better=None, low=-1.0, high=float_info.max
    ),
    "expected_volume_error": Metric("Expected volume, error", high=float_info.max),
    "expected_beyond": Metric("Expected volume, beyond the margin"),
    "expected_dice": Metric("Expected DSC", higher_is_better=None, margin=0.01),
    "expected_dice_error": Metric("Expected DSC, error"),
    "surprise": Metric("Surprise of the label"),
    "pairwise_dice": Metric(
        "DSC of an ensemble's members with each other", higher_is_better=None, margin=0.01
    ),
    "rank_correlation": Metric(
        "Rank correlation of expected and true DSC", higher_is_better=True, margin=0.01, low=-1.0
    ),
    "worst_found": Metric("Worst tenth found by 20%", higher_is_better=True, margin=0.01),
}


def region_label(region: str, structure: str = "") -> str:
    """The name of a region's voxels in a caption; a region of the user's own goes by its name."""
    label = REGION_WORDS.get(region, (f"Voxels of the region {region}",))[0]
    return f"{label} of the structure {structure}" if structure else label


def _of_region(error: Error, region: str) -> Metric:
    """An error over the voxels of a region."""
    decimals = error.decimals_of_all if region == "all" else error.decimals
    return replace(error, label=error.label + REGION_WORDS[region][1], decimals=decimals)


#: Every number by the name of its column, of all structures together.
METRICS: dict[str, Metric] = SCORES | {
    f"{name}_{region}": _of_region(error, region)
    for region in REGION_WORDS
    for name, error in ERRORS.items()
}


def margins_text(names: Iterable[str], reference: str) -> str:
    """The smallest differences that matter: "5 % of NACL's value, 0.01 of DSC".

    Args:
        names: Metrics.
        reference: What the others are compared with.
    """
    metrics = [METRICS[name] for name in dict.fromkeys(names)]
    known = [metric for metric in metrics if metric.margin is not None]
    fixed = [f"{metric.margin:g} of {metric.label}" for metric in known]
    share = [f"{100 * MARGIN_SHARE:g} % of the value of {reference}"]
    return ", ".join([*(share if len(fixed) < len(metrics) else []), *fixed])


#: The errors that an audit shows, those with a better end first, and the scores.
AUDITED_ERRORS = {
    name: error
    for name, error in sorted(ERRORS.items(), key=lambda item: not item[1].direction)
    if error.audited
}
AUDITED_SCORES = {name: score for name, score in SCORES.items() if score.audited}
#: Evaluations of runs, and audits of earlier versions, have the paper's, whose tables say so below.
AUDITED_SCORES["hd95"] = replace(SCORES["hd95"], label="HD95 in voxels")


def score_columns(
    scores: Mapping[str, torch.Tensor], structures: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Columns of the scores of structures, ``<metric>_<structure>``, and of their means, ``<metric>``.

    Args:
        scores: Metric → ``(cases, structures)``; NaN is undefined.
        structures: Their names.
    """
    columns: dict[str, torch.Tensor] = {}
    for metric, values in scores.items():
        columns |= {f"{metric}_{name}": values[:, k] for k, name in enumerate(structures)}
        columns[metric] = values.double().nanmean(dim=1)
    return columns


def named_errors(names: Iterable[str]) -> dict[str, Error]:
    """The errors of these names.

    Raises:
        InputError: If one is unknown, or if there is none.
    """
    chosen = () if isinstance(names, str) else tuple(names)
    if not chosen or not set(chosen) <= set(ERRORS):
        raise InputError(f"errors: is {names!r}; choose a list from {', '.join(ERRORS)}")
    return {name: ERRORS[name] for name in chosen}


def _is_of(column: str, metric: str) -> bool:
    """Whether a column is ``<metric>`` or ``<metric>_<region or structure>``."""
    return column == metric or column.startswith(f"{metric}_")


def metric_of(column: str) -> str:
    """The metric that a column of ``cases.csv`` holds, of one structure or of all.

    Raises:
        InputError: If the column holds no metric of `METRICS`.

    Example:
        >>> metric_of("dice_RV"), metric_of("ece_foreground")
        ('dice', 'ece_foreground')
    """
    fits = [metric for metric in METRICS if _is_of(column, metric)]
    if fits:  # a region's name may begin with another's
        return max(fits, key=len)
    raise InputError(f"{column}: no known metric; choose from {', '.join(METRICS)}")


def limits_of(column: str) -> tuple[float, float]:
    """The smallest and the largest value that a column can have, of whatever region.

    Example:
        >>> limits_of("ece_wall"), limits_of("confidence_gap_all")
        ((0.0, 1.0), (-1.0, 1.0))
    """
    for name, metric in (SCORES | ERRORS).items():
        if _is_of(column, name):
            return metric.low, metric.high
    return -inf, inf


def columns_of(metric: str, columns: Iterable[object]) -> list[str]:
    """The columns of a metric: all structures, then single ones, those with short names first.

    Example:
        >>> columns_of("dice", ["case", "dice_MYO", "dice", "dice_RV", "expected_dice"])
        ['dice', 'dice_RV', 'dice_MYO']
    """
    longer = [other for other in METRICS if other.startswith(f"{metric}_")]
    names = [name for name in map(str, columns) if _is_of(name, metric)]
    return sorted((n for n in names if not any(_is_of(n, other) for other in longer)), key=len)


def shown_scores(
    columns: Iterable[str], structures: Sequence[str]
) -> Iterator[tuple[str, Metric, str]]:
    """The columns that an audit shows beside the errors of regions, each with metric and structure.

    Args:
        columns: Those of ``cases.csv``.
        structures: Those that decisions are on; of a single one, all structures are the same.
    """
    known = list(columns)
    for score, metric in AUDITED_SCORES.items():
        yield from ((name, metric, structure_of(name)) for name in columns_of(score, known))
    yield from ((name, METRICS[name], "") for name in (*LEADING, *PROPER_SCORES))
    several = structures if len(structures) > 1 else ()
    for name in DECISIONS:
        yield name, METRICS[name], ""
        for structure in several if name not in OF_ORDER else ():
            yield f"{name}_{structure}", METRICS[name], structure


def structure_of(column: str) -> str:
    """The structure of a column ``<metric>_<structure>``; empty where the metric is of all.

    Raises:
        InputError: If the column holds no metric of `METRICS`.

    Example:
        >>> structure_of("dice_RV"), structure_of("ece_foreground")
        ('RV', '')
    """
    return column.removeprefix(metric_of(column)).removeprefix("_")
