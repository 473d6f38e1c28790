"""Whether the numbers of an evaluation can be, and agree with each other."""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from nacl_monai.differences import differences, first_of
from nacl_monai.errors import InputError
from nacl_monai.metrics import DEFAULT_ERRORS, ERRORS, CalibrationBins
from nacl_monai.metrics.adaptive import FineBins
from nacl_monai.metrics.regions import decided_by_labels
from nacl_monai.metrics.selective import aurc, error_auroc
from nacl_monai.reports.run_bins import RunBins

_AGAIN = "evaluate the run again"
# The smallest and the largest value of each metric; a column is a metric, or ``<metric>_<…>``.
_RANGES = {
    **dict.fromkeys(("dice", "expected_dice"), (0.0, 1.0)),
    **dict.fromkeys(("hd95", "crps", "volume", "rated_volume"), (0.0, sys.float_info.max)),
    **dict.fromkeys(("ece", "ace", "mce", "adaptive_ece", "cece"), (0.0, 1.0)),
    **dict.fromkeys(("thresholded_cece", "smooth_ece"), (0.0, 1.0)),
    "pece": (0.0, math.inf),
    **dict.fromkeys(("aurc", "error_auroc"), (0.0, 1.0)),
    "confidence_gap": (-1.0, 1.0),
    "nll": (0.0, math.inf),
    "brier": (0.0, 2.0),
}
# Errors that follow from the bins.
_RECOMPUTED = {
    "ece": CalibrationBins.ece,
    "ace": CalibrationBins.ace,
    "mce": CalibrationBins.mce,
    "confidence_gap": CalibrationBins.confidence_gap,
    "cece": CalibrationBins.cece,
}
# What follows from the fine bins, where they are kept, and the number of bins.
_FINE_RECOMPUTED: dict[str, Callable[[FineBins, int], torch.Tensor]] = {
    "adaptive_ece": FineBins.adaptive_ece,
    "smooth_ece": lambda fine, _: fine.smooth_ece(),
    "aurc": lambda fine, _: aurc(fine.counts, fine.errors),
    "error_auroc": lambda fine, _: error_auroc(fine.counts, fine.errors),
}
# Files hold six decimals.
_TOLERANCE = 2e-6
# In half precision edges are rounded, and a probability may be a little above 1.
_ROUNDED = 1e-2


def check_values(path: Path, metrics: pd.DataFrame) -> None:
    """Refuses values that no evaluation gives.

    Args:
        path: The file that they are from.
        metrics: One row per case, one column per metric.

    Raises:
        InputError: If a value is outside the range of its metric.
    """
    for column in metrics:
        for metric, (low, high) in _RANGES.items():
            if column == metric or str(column).startswith(f"{metric}_"):
                _check_range(path, metrics[column], low, high)


def _check_range(path: Path, values: pd.Series[float], low: float, high: float) -> None:
    wrong = values[(values < low - _TOLERANCE) | (values > high + _TOLERANCE)]
    if len(wrong):
        raise InputError(
            f"{path}: {values.name} of case {wrong.index[0]!r} is {wrong.iloc[0]:g}, outside "
            f"{low:g} to {high:g}; {_AGAIN}"
        )


def check_structures(path: Path, metrics: pd.DataFrame) -> None:
    """Compares a metric with the mean over its structures.

    Args:
        path: The file that they are from.
        metrics: One row per case, one column per metric.

    Raises:
        InputError: If one is another.
    """
    _check_means(path, metrics, ("dice", "hd95", "expected_dice"))


def check_overlapping(path: Path, metrics: pd.DataFrame, bins: RunBins) -> None:
    """Compares a calibration error with the mean over its structures, where structures overlap.

    Args:
        path: The file that they are from.
        metrics: One row per case, one column per metric.
        bins: Their regions say whether each structure has its own.

    Raises:
        InputError: If one is another.
    """
    names = [f"{error}_{name}" for error in ERRORS for name in bins.regions_of_structures]
    _check_means(path, metrics, names)


def _check_means(path: Path, metrics: pd.DataFrame, names: Iterable[str]) -> None:
    for name in names:
        structures = [column for column in metrics if str(column).startswith(f"{name}_")]
        if structures and name in metrics:
            means = metrics[structures].mean(axis=1).to_numpy()
            _check_equal(path, metrics[name], means, "its structures")


def check_sums(bins: RunBins) -> None:
    """Refuses bin sums that no voxels have.

    Raises:
        InputError: If a count is negative, more voxels are right than there are, the mean confidence of
            a bin is outside the bin, or two classes have other numbers of voxels.
    """
    for sums in (bins.sums, bins.human):
        if sums is not None:
            _check_equal_bins(bins, sums)
    if bins.fine is not None:
        _check_fine(bins, bins.fine)


def _check_equal_bins(bins: RunBins, sums: CalibrationBins) -> None:
    edges = np.linspace(0, 1, sums.num_bins + 1)
    counts, positives, confidences = sums.arrays().values()
    slack = _ROUNDED * counts + 1e-9
    faults = {
        "a count is negative": (counts < 0) | (positives < 0),
        "more voxels are right than there are": positives > counts,
        "a confidence is outside its bin": ~(
            (confidences >= counts * edges[:-1] - slack)
            & (confidences <= counts * edges[1:] + slack)
        ),
        "classes have other numbers of voxels": np.ptp(counts.sum(axis=-1), axis=-1)[..., None] > 0,
    }
    _refuse(bins, faults)


def _refuse(bins: RunBins, faults: Mapping[str, npt.NDArray[np.bool_]]) -> None:
    """Names the first fault and the first of its cases, which are the first axis."""
    for fault, where in faults.items():
        if where.any():
            case = bins.cases[int(np.argwhere(where)[0][0])]
            raise InputError(f"{bins.path}: {fault}, in case {case!r}; {_AGAIN}")


def _check_fine(bins: RunBins, fine: FineBins) -> None:
    """Refuses fine bins that no voxels have, or that are of other voxels than the equal ones."""
    counts, _, errors = fine.arrays().values()
    top = bins.sums[:, :, 0]
    wrong = (top.counts - top.positives).sum(-1).numpy()
    faults = {
        "a count of the fine bins cannot be": ((counts < 0) | (errors < 0) | (errors > counts)).any(
            -1
        ),
        "the fine bins are of other voxels": (counts.sum(-1) != top.counts.sum(-1).numpy())
        | (errors.sum(-1) != wrong),
    }
    _refuse(bins, faults)


def check_recomputed(path: Path, metrics: pd.DataFrame, bins: RunBins) -> None:
    """Compares the calibration errors in ``cases.csv`` with those that follow from the bins.

    Args:
        path: The file of the metrics.
        metrics: One row per case.
        bins: The cases in the same order.

    Raises:
        InputError: If one is another.
    """
    for error, region in _errors_and_regions(bins):
        if f"{error}_{region}" in metrics:
            computed = region_errors(bins, error, region).numpy()
            _check_equal(path, metrics[f"{error}_{region}"], computed, "the bins")


def recomputed(bins: RunBins) -> pd.DataFrame:
    """What an evaluation has of the errors that follow from the bins alone, one row per case.

    The columns are ``<error>_<region>``. Where each structure has its own regions, that is the mean over
    structures, too.
    """
    columns = {
        f"{error}_{region}": region_errors(bins, error, region).numpy()
        for error, region in _errors_and_regions(bins)
        if error in DEFAULT_ERRORS
    }
    return pd.DataFrame(columns, index=pd.Index(bins.cases, name="case"))


def _errors_and_regions(bins: RunBins) -> Iterator[tuple[str, str]]:
    """What follows from the bins: each error of each region, or its mean over structures."""
    return itertools.product(_errors(bins), (*bins.regions, *bins.regions_of_structures))


def _errors(bins: RunBins) -> tuple[str, ...]:
    return (*_RECOMPUTED, *(_FINE_RECOMPUTED if bins.fine is not None else ()))


def region_errors(bins: RunBins, error: str, region: str) -> torch.Tensor:
    """An error of every case in a region, or its mean over structures where each has its own.

    Args:
        bins: The bins.
        error: "ece", "ace", "mce", "confidence_gap" or "cece"; where there are fine bins also
            "adaptive_ece", "smooth_ece", "aurc" or "error_auroc".
        region: Its name.

    Raises:
        InputError: If there is no such error or region.
    """
    positions = [bins.regions.index(name) for name in bins.regions_of(region)]
    if error in _RECOMPUTED:
        return _RECOMPUTED[error](bins.sums[:, positions]).nanmean(-1)
    if error in _FINE_RECOMPUTED and bins.fine is not None:
        fine = bins.fine[:, positions]
        return _FINE_RECOMPUTED[error](fine, bins.sums.num_bins).nanmean(-1)
    raise InputError(f"error: is {error!r}; choose from {', '.join(_errors(bins))}")


def _check_equal(
    path: Path, written: pd.Series[float], computed: npt.NDArray[Any], source: str
) -> None:
    wrong = ~np.isclose(written, computed, rtol=0, atol=_TOLERANCE, equal_nan=True)
    if wrong.any():
        k = int(wrong.argmax())
        raise InputError(
            f"{path}: {written.name} of case {written.index[k]!r} is {written.iloc[k]:g}, but {source} "
            f"give {computed[k]:g}; {_AGAIN}"
        )


def check_summary(path: Path, metrics: pd.DataFrame) -> None:
    """Compares the means in ``summary.json``, where there are some, with those of the cases.

    Raises:
        InputError: If one is another, or the file is damaged.
    """
    if not path.is_file():
        return
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        columns = summary.get("metrics", {}).items()
        means = {name: _nan_if_none(column["mean"]) for name, column in columns}
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is damaged; {_AGAIN}") from error
    for name, mean in means.items():
        computed = metrics[name].mean() if name in metrics else math.nan
        if not np.isclose(mean, computed, rtol=1e-6, atol=_TOLERANCE, equal_nan=True):
            raise InputError(
                f"{path}: the mean of {name} is {mean}, but the cases give {computed:g}; {_AGAIN}"
            )


def _nan_if_none(value: float | None) -> float:
    return math.nan if value is None else float(value)


def unlike_voxels(bins: RunBins, others: RunBins, same_cases: bool = True) -> str:
    """How bins, regions, classes or, of the same cases, voxels of two evaluations differ; or nothing.

    Labels decide how many voxels a region has, and how many of each class, unless it depends on the
    prediction, as one of the user's own may.
    """
    unlike = differences(bins.axes, others.axes)
    if unlike or not same_cases:
        return first_of(unlike)
    decided = (
        name for name in bins.regions if decided_by_labels(bins.region_and_structure(name)[0])
    )
    for region in decided:
        ours, theirs = (_voxels(part, region) for part in (bins, others))
        cases = [case for case, count in ours.items() if theirs[case] != count]
        if cases:
            return f"number of voxels in the region {region} of case {cases[0]!r}"
    return ""


def _voxels(bins: RunBins, region: str) -> Mapping[str, list[int]]:
    """The voxels of each case in a region: all of them, and those of each class."""
    at = bins.regions.index(region)
    counts, positives = bins.sums.counts[:, at, :1].sum(-1), bins.sums.positives[:, at, 1:].sum(-1)
    numbers = np.concatenate([counts.numpy(), positives.numpy()], axis=1).tolist()
    return dict(zip(bins.cases, numbers, strict=True))
