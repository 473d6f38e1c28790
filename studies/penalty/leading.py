r"""The numbers that lead a table, person by person: ``leading.npz``.

An error of all cases together has no score of each person. With the number :math:`\theta` of all
:math:`P` people, and :math:`\theta_{-p}` without one of them, the jackknife's pseudo-values

.. math::

    P \theta - (P - 1)\, \theta_{-p}

take the place of scores, moved alike so that their mean is the number as it is shown. Their variance is
the jackknife's, and the tests of patients and trainings (`nacl_monai.evaluations.statistics`) follow.

======================= ===================================================================
``methods``, ``seeds``  (E,), of each evaluation
``cases``, ``patients`` (N,)
``counts``              and ``positives`` (int32), ``confidences`` (float64), (E, N, K, M): the bins of
                        the predicted class near the prediction, K = 1 unless structures overlap
``predicted``, …        (E, N, S): the volumes of `nacl_monai.metrics.decisions.Decisions`
``promised``            and ``promised_of``, (E, P, S): the volume of a contour that others fitted
                        around each person's structures, and theirs, in ml; where it was promised
======================= ===================================================================

References:
    A Leisurely Look at the Bootstrap, the Jackknife, and Cross-Validation (Efron & Gong, 1983).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from nacl_monai.metrics.bins import CalibrationBins
from nacl_monai.metrics.decisions import MISS, Decisions, decision_numbers
from nacl_monai.metrics.pooled import pooled_error, pooled_gap
from nacl_monai.metrics.record import NEAR, Record

Arrays = Mapping[str, npt.NDArray[Any]]
Array = npt.NDArray[np.float64]

#: What leads, and is tested.
LEADING = ("ece_near", "contour_misses")
#: How far what a contour misses is from the 5 % that it says.
OFFSET = "contour_offset"
#: Tested, too, where contours were promised.
PROMISED = "promised_size"
#: All that follows from the file.
POOLED = (
    *("ece_near", "confidence_gap_near", "contour_misses", "contour_size"),
    *("expected_volume_bias", "expected_volume_error"),
)
_BINS = ("counts", "positives", "confidences")
_VOLUMES = tuple(volume.name for volume in fields(Decisions))


def packed(
    records: Mapping[tuple[str, int], Record],
    promised: Mapping[tuple[str, int], Array] | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """The arrays of the file, of the records that have bins near the prediction and decisions.

    Args:
        records: By method and seed.
        promised: The volumes of promised contours and structures, (2, P, S), people by name.
    """
    known = {key: record for key, record in records.items() if _leads(record)}
    if not known:
        return {}
    first = next(iter(known.values()))
    alike = [record.ordered(first.cases) for record in known.values()]
    methods, seeds = zip(*known, strict=True)
    return {
        "methods": np.array(methods),
        "seeds": np.array(seeds),
        "cases": np.array(first.cases),
        "patients": np.array(first.patients or first.cases),
        **_stacked(_BINS, [record.bins_of(NEAR) for record in alike]),
        **_stacked(_VOLUMES, [record.decisions for record in alike]),
        **_promised([(promised or {}).get(key) for key in known]),
    }


def _promised(volumes: Sequence[Array | None]) -> dict[str, Array]:
    """Two arrays (E, P, S), if every evaluation has its promise."""
    if any(several is None for several in volumes):
        return {}
    return dict(zip(("promised", "promised_of"), np.stack(volumes, axis=1), strict=True))


def _leads(record: Record) -> bool:
    return record.decisions is not None and record.bins_of(NEAR) is not None


def _stacked(names: Sequence[str], sums: Sequence[Any]) -> dict[str, npt.NDArray[Any]]:
    """Some sums of all evaluations; numbers of voxels near a structure fit 32 bits."""
    parts = {name: np.stack([getattr(part, name).numpy() for part in sums]) for name in names}
    return {k: v.astype(np.int32) if v.dtype == np.int64 else v for k, v in parts.items()}


def numbers(arrays: Arrays) -> pd.DataFrame:
    """`POOLED` of each method and seed, and the size of what was promised."""
    table = pd.DataFrame(
        {"method": method, "seed": seed, **{name: found[name].value for name in POOLED}}
        for method, seed, found in _evaluations(arrays)
    )
    if PROMISED not in tested(arrays):
        return table
    sums = (arrays[name].sum(1)[..., None] for name in ("promised", "promised_of"))
    return table.assign(**{PROMISED: _ratio(*sums)})


def tested(arrays: Arrays) -> tuple[str, ...]:
    """The numbers that have a score of each person."""
    if not arrays:
        return ()
    return (*LEADING, PROMISED) if "promised" in arrays else LEADING


def _evaluations(arrays: Arrays) -> Iterator[tuple[str, int, dict[str, Any]]]:
    patients = [str(name) for name in arrays["patients"]]
    for k, (method, seed) in enumerate(zip(arrays["methods"], arrays["seeds"], strict=True)):
        bins = CalibrationBins(*(torch.as_tensor(arrays[name][k]) for name in _BINS))
        volumes = Decisions(*(torch.as_tensor(arrays[name][k]) for name in _VOLUMES))
        found = {
            "ece_near": pooled_error(bins, patients),
            "confidence_gap_near": pooled_gap(bins, patients),
            **decision_numbers(volumes, patients).pooled(),
        }
        yield str(method), int(seed), found


def scores(arrays: Arrays, name: str) -> pd.DataFrame:
    """The pseudo-values of a leading number, as `patient_scores` has scores of other metrics.

    Args:
        arrays: Of the file.
        name: One of `tested`, or `OFFSET`.
    """
    table = numbers(arrays)
    shown = (table["contour_misses"] - MISS).abs() if name == OFFSET else table[name]
    people, owner = np.unique(arrays["patients"], return_inverse=True)
    owner = np.arange(len(people)) if name == PROMISED else owner
    columns = {}
    for k, value in enumerate(shown):
        above, below, statistic = _parts(arrays, k, name)
        sums = [np.zeros((len(people), *part.shape[1:])) for part in (above, below)]
        for total, part in zip(sums, (above, below), strict=True):
            np.add.at(total, owner, part)
        of_all = statistic(*(total.sum(0) for total in sums))
        without = statistic(*(total.sum(0) - total for total in sums))
        pseudo = len(people) * of_all - (len(people) - 1) * without
        key = str(arrays["methods"][k]), int(arrays["seeds"][k])
        columns[key] = pd.Series(pseudo - pseudo.mean() + value, people)
    table = pd.concat(columns, axis=1, names=["method", "seed"]).rename_axis("patient")
    long = table.stack("seed", future_stack=True)
    return long[list(dict.fromkeys(map(str, arrays["methods"])))]


def _parts(arrays: Arrays, k: int, name: str) -> tuple[Array, Array, Callable[..., Array]]:
    """The arrays to add over cases, (N, K, M) twice, and the number that follows from the sums."""
    if name == "ece_near":
        excess = arrays["confidences"][k] - arrays["positives"][k]
        return excess, arrays["counts"][k].astype(np.float64), _error
    if name == PROMISED:
        volumes = (arrays[part][k][..., None] for part in ("promised", "promised_of"))
        return *volumes, _ratio
    predicted = arrays["predicted"][k] > 0
    missed, labeled = (
        np.where(predicted, arrays[n][k], 0)[..., None] for n in ("missed", "labeled")
    )
    return missed, labeled, _offset if name == OFFSET else _ratio


def _offset(above: Array, below: Array) -> Array:
    return np.abs(_ratio(above, below) - MISS)


def _error(excess: Array, counts: Array) -> Array:
    """The mean over K, of bins (…, K, M), of those with a voxel."""
    with np.errstate(invalid="ignore"):
        errors: Array = np.nanmean(np.abs(excess).sum(-1) / counts.sum(-1), axis=-1)
    return errors


def _ratio(above: Array, below: Array) -> Array:
    with np.errstate(invalid="ignore"):
        ratios: Array = np.nanmean(above[..., 0] / below[..., 0], axis=-1)
    return ratios
