r"""``nacl-monai promise --mean``: the mean volume of many patients of whom few are labeled.

A network's volumes alone have its error, and few labels alone say little. Prediction-powered inference
takes both: the mean predicted volume :math:`f` of all N + n patients, and what the labels :math:`y` of n
of them say about the network's error,

.. math::

    \hat\theta &= \frac1{N + n} \sum_{j \le N + n} f_j + \frac1n \sum_{i \le n} (y_i - f_i) \\
    &= \lambda \bar f_N + \overline{(y - \lambda f)}_n, \qquad \lambda = \frac N{N + n} \\
    \mathrm{SE}^2 &= \lambda^2 \operatorname{var}_N(f) / N + \operatorname{var}_n(y - \lambda f) / n.

Whatever the network's error is, the second term takes it back, provided that chance has drawn who is
labeled. The interval is for all patients whom these are drawn from. λ is the best one where the network
is right; one that is fitted to the labels is narrower where it is far from right, and covers less with
20 labels. Variances divide by n − 1, and the interval is Student's with the degrees of freedom of Welch
and Satterthwaite: a normal one covers too little where labels are few. With fewer than
:data:`MIN_LABELS` labels there is none.

References:
    Prediction-Powered Inference (Angelopoulos et al., 2023), arXiv 2301.09633.
    PPI++: Efficient Prediction-Powered Inference (Angelopoulos et al., 2023), arXiv 2311.01453, for λ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from nacl_monai.audits.command import print_faults, show
from nacl_monai.cli import print_written
from nacl_monai.errors import InputError, SettingError
from nacl_monai.evaluations.statistics import Estimate
from nacl_monai.evaluations.tables import Groups, csv_text, read_groups, table_text
from nacl_monai.files import write_text
from nacl_monai.metrics.curves import Curves
from nacl_monai.output import written_folder
from nacl_monai.predictions.options import Options
from nacl_monai.promises.cases import find_new, new_cases
from nacl_monai.promises.check import RANDOM, curves_beside
from nacl_monai.promises.record import Promise, read_promise
from nacl_monai.tensors import Floats

#: The file of all numbers.
_TABLE = "mean.csv"
#: With fewer labeled patients there is no interval.
MIN_LABELS = 20
#: Between the names of two groups.
MINUS = " − "


class Volumes(NamedTuple):
    """The volumes of a structure in ml, a number for each patient.

    Attributes:
        labeled: Of the labeled patients, (n,).
        predicted: Of the same, (n,).
        new: The predicted ones of the others, (N,).
    """

    labeled: Floats
    predicted: Floats
    new: Floats

    def parts(self, share: float | None = None) -> tuple[Floats, Floats]:
        """What labels add to λ of predictions, and λ of the new: N / (N + n), or a share."""
        weight = len(self.new) / (len(self.new) + len(self.labeled)) if share is None else share
        return self.labeled - weight * self.predicted, weight * self.new


def cohort_mean(*groups: Volumes) -> Estimate:
    """The mean volume of a group; or by how much that of a first is larger than that of a second.

    Args:
        *groups: One or two, of different patients.

    Returns:
        The mean in ml; its error is NaN where a group has fewer than `MIN_LABELS` labeled patients, or
        fewer than two new ones.

    Example:
        The network adds 1 ml to each patient:

        >>> volumes, chosen = np.arange(100.0), np.arange(100) % 5 == 0
        >>> mean = cohort_mean(Volumes(volumes[chosen], volumes[chosen] + 1, volumes[~chosen] + 1))
        >>> round(mean.mean, 9)
        49.5
    """
    return _sum_of_means([group.parts() for group in groups])


def labels_alone(*groups: Volumes) -> Estimate:
    """The same by the labels, without any prediction."""
    return _sum_of_means([[group.labeled] for group in groups])


def _sum_of_means(groups: Sequence[Sequence[Floats]]) -> Estimate:
    """The means of a first group's parts, minus those of a second's; the first part has the labels."""
    parts = [*groups[0], *(-part for group in groups[1:] for part in group)]
    labels = [len(group[0]) for group in groups]
    mean, low = float(sum(part.mean() for part in parts)), 0.0 if len(groups) == 1 else -np.inf
    error = freedom = np.nan
    if min(labels) >= MIN_LABELS and min(map(len, parts)) > 1:
        variances = np.array([part.var(ddof=1) / len(part) for part in parts])
        error = float(np.sqrt(variances.sum()))
        freedom = _satterthwaite(variances, np.array([*map(len, parts)]) - 1)
    return Estimate(mean, error, freedom, sum(labels), 1, low)


def _satterthwaite(variances: Floats, divisors: npt.NDArray[np.int_]) -> float:
    spread = (variances**2 / divisors).sum()
    return float(variances.sum() ** 2 / spread if spread else divisors.sum())


def mean_folder(file: Path, new: Path, output: Path, options: Options) -> list[InputError]:
    """Prints the mean volumes of the patients whom a cohort's labeled ones were drawn from.

    Args:
        file: ``promise.json`` with ``promise.npz`` beside it, whose patients are the labeled ones, or
            their folder.
        new: The folder of the predictions of the others.
        output: The folder for ``mean.csv``.
        options: As for an audit, with ``chosen`` and ``groups``.

    Returns:
        The faults of single cases; the means are of the others.

    Raises:
        InputError: If the promise does not hold for these predictions, or the volumes of its patients
            are not known.
        SettingError: If chance has not drawn who is labeled.
    """
    if options.chosen != RANDOM:
        raise SettingError(
            "--chosen: a mean is valid where chance has drawn who is labeled from all patients; if so, "
            "say random; if not, draw some and label them"
        )
    faults: list[InputError] = []
    with written_folder(output, "promise --mean", read=[file, new, *options.files]) as folder:
        promise = read_promise(file)
        known = known_volumes(file, promise)
        study = find_new(file, promise, new, options)
        show(study)
        of_case = dict(zip(known.cases, known.patients, strict=True)) | {**study.patients}
        groups, cases = read_groups(options.groups, of_case), new_cases(study, promise, faults)
        sizes = {case.name: case.predicted_volumes for case in cases}
        tables = [
            pd.DataFrame(volumes, known.cases, known.structures)
            for volumes in (known.volumes, known.predicted_volumes)
        ]
        tables += [pd.DataFrame.from_dict(sizes, orient="index")[known.structures]]
        of_patients = [table.groupby(table.index.map(of_case)).mean() for table in tables]
        table = pd.DataFrame(_rows(of_patients, groups))
        write_text(folder / _TABLE, csv_text(table))
    print_faults(faults)
    print(table_text(table if groups else table.drop(columns=["group", "value"])))
    if table["mean_low_ml"].isna().any():
        enough = f"{MIN_LABELS} labeled patients of each group, and 2 new ones"
        print(f"– is no interval: it takes {enough}")
    print_written([output / _TABLE])
    return faults


def known_volumes(file: Path, promise: Promise) -> Curves:
    """The curves of the labeled patients, whose volumes are those of whole images.

    Raises:
        InputError: If they are not beside the promise, or are of parts of images.
    """
    curves = curves_beside(file, promise)
    if curves is None:
        raise InputError(
            f"{file}: promise.npz is not beside it as it was, and has the volumes of the labeled "
            "patients; put it there"
        )
    if promise.definition.get("ignored") is not None:
        raise InputError(
            f"{file}: voxels without a label were ignored, so that volumes are not those of whole "
            "images; promise anew by labels that are complete"
        )
    return curves


def _rows(tables: Sequence[pd.DataFrame], groups: Groups) -> Iterator[dict[str, Any]]:
    """A row for all patients, for each group, and for the difference of two, by structure.

    Args:
        tables: Volumes by patient and structure: labeled, predicted of the same, predicted of the new.
        groups: Of all of them.
    """
    for structure in map(str, tables[0]):
        columns = [table[structure] for table in tables]
        yield {"structure": structure, "group": "", "value": "", **_row(_volumes(columns))}
        for group, of_patient in groups.items():
            for value, chosen in _compared(columns, of_patient):
                yield {"structure": structure, "group": group, "value": value, **_row(*chosen)}


def _compared(
    columns: Sequence[pd.Series[float]], of_patient: Mapping[str, str]
) -> Iterator[tuple[str, list[Volumes]]]:
    """Each group that has labeled and new patients; and both where there are two."""
    parts = {}
    for value in dict.fromkeys(of_patient.values()):
        part = _volumes([column[column.index.map(of_patient) == value] for column in columns])
        if all(map(len, part)):
            parts[value] = part
    yield from ((value, [part]) for value, part in parts.items())
    if len(parts) == 2:
        yield MINUS.join(parts), [*parts.values()]


def _volumes(columns: Sequence[pd.Series[float]]) -> Volumes:
    labeled, predicted, new = (np.asarray(column, np.float64) for column in columns)
    return Volumes(labeled, predicted, new)


def _row(*groups: Volumes) -> dict[str, Any]:
    """What is known of a group, or of the difference of two."""
    row: dict[str, Any] = {"labeled": sum(len(group.labeled) for group in groups)}
    row["new"] = sum(len(group.new) for group in groups)
    for name, found in (("mean", cohort_mean(*groups)), ("labels_alone", labels_alone(*groups))):
        ends = zip(("low", "high"), found.interval(), strict=True)
        row |= {f"{name}_ml": found.mean} | {f"{name}_{end}_ml": value for end, value in ends}
    alone = [float(np.concatenate(group[1:]).mean()) for group in groups]
    return row | {"predictions_alone_ml": alone[0] - sum(alone[1:])}
