"""The numbers in a run's ``evaluation/``, read file by file and checked.

================== ==========================================================================
``cases.csv``      one row per test case: ``case``, ``dice``, ``hd95``, ``ece_foreground``,
                   ``cece_foreground`` and any further metric, such as ``dice_<structure>``; an empty
                   cell is undefined.
                   An optional column ``patient`` says which cases belong together.
``bins.npz``       the bins of every case (`nacl_monai.reports.run_bins`).
``maps/CASE.npz``  one slice: ``image``, ``label``, ``prediction``, ``confidence`` and
                   ``entropy`` (H, W), ``slice`` and ``classes`` (C,), background first.
                   Those of an audit have no ``image``.
================== ==========================================================================
"""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nacl_monai.errors import InputError
from nacl_monai.reports.columns import MAIN_METRICS
from nacl_monai.runs import EvaluationFolder, RunFolder

#: What NumPy raises over an NPZ file that is damaged, or is none.
UNREADABLE_NPZ = (
    EOFError,
    NotImplementedError,  # of a kind of compression that a flipped bit announces
    OSError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)

REMEDY = "run `make evaluate` first"


@dataclass(frozen=True)
class CaseMap:
    """The content of ``maps/CASE.npz``: one slice of one test case; an audit knows no image."""

    image: npt.NDArray[np.float32] | None
    label: npt.NDArray[np.uint8]
    prediction: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.float32]
    entropy: npt.NDArray[np.float32]
    slice: int
    classes: list[str]
    path: Path


def evaluation_in(folder: str | Path) -> EvaluationFolder:
    """The evaluation of a run; the folder of an audit is one itself."""
    of_run, itself = RunFolder(Path(folder)).evaluation, EvaluationFolder(Path(folder))
    return itself if itself.cases.is_file() and not of_run.path.is_dir() else of_run


def run_of(folder: str | Path) -> RunFolder:
    """The run whose evaluation is read: the folder, or the one above where it is ``RUN/evaluation``."""
    folder = Path(folder)
    for path in (folder.absolute(), folder.resolve()):
        above = RunFolder(path.parent)
        if above.evaluation.path == path and above.evaluation.cases.is_file():
            return above
    return RunFolder(folder)


def read_cases(path: Path) -> tuple[pd.DataFrame, pd.Series[str]]:
    """Metrics and patients by case; names stay text, so that '001' and 'NA' survive.

    Args:
        path: The ``cases.csv`` of an evaluation.

    Returns:
        One float column per metric, and the patient of each case: the case itself where the file
        does not say.

    Raises:
        InputError: If the file is missing, lacks a column or a patient, repeats a case or holds text as
            a metric.
    """
    table = _read_text_table(path)
    missing = [column for column in ("case", *MAIN_METRICS) if column not in table.columns]
    if missing:
        raise InputError(f"{path}: no column {listed(missing)}; evaluate the run again")
    if table.empty:
        raise InputError(f"{path}: no test case in it; check the split and evaluate again")
    repeated = table["case"][table["case"].duplicated()]
    if len(repeated):
        raise InputError(
            f"{path}: case {repeated.iloc[0]!r} is there twice; evaluate the run again"
        )
    table = table.set_index("case")
    patients = table.pop("patient") if "patient" in table else table.index.to_series()
    nobody = patients == ""
    if nobody.any():
        raise InputError(f"{path}: case {nobody.idxmax()!r} has no patient; evaluate the run again")
    for column in table.columns:
        table[column] = _numbers(path, table[column])
    return table, patients


def _numbers(path: Path, column: pd.Series[str]) -> pd.Series[float]:
    try:
        return pd.to_numeric(column).astype(float)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path}: column {column.name!r} holds something that is not a number "
            f"({_one_line(error)}); evaluate the run again"
        ) from error


def _read_text_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{path}: no such file; {REMEDY}")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        torn = _torn_line(path)
    except (ValueError, OSError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV table ({_one_line(error)}); evaluate again") from error
    if torn is not None:
        raise InputError(f"{path}: line {torn} has not the header's cells; evaluate the run again")
    return table


def _torn_line(path: Path) -> int | None:
    """The first line with more or fewer cells than the header; to pandas one that lacks is empty."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = csv.reader(stream)
        cells = len(next(rows))
        return next((rows.line_num for row in rows if row and len(row) != cells), None)


def read_map(path: Path) -> CaseMap:
    """Reads the ``maps/CASE.npz`` of one case.

    Raises:
        InputError: If the file is missing, lacks an array, or holds pictures of unlike shape or
            label values without a class.
    """
    needed = ("label", "prediction", "confidence", "entropy")
    arrays = read_arrays(path, (*needed, "slice", "classes"), optional=["image"])
    _check_pictures(path, {key: arrays[key] for key in ("image", *needed) if key in arrays})
    classes = [str(name) for name in arrays["classes"]]
    highest = max(int(arrays[key].max()) for key in ("label", "prediction"))
    if highest >= len(classes):
        raise InputError(
            f"{path}: label value {highest}, but only {len(classes)} classes "
            f"({listed(classes)}); evaluate the run again"
        )
    return CaseMap(
        **{key: arrays[key] for key in needed},
        image=arrays.get("image"),
        slice=int(arrays["slice"]),
        classes=classes,
        path=path,
    )


def _check_pictures(path: Path, pictures: Mapping[str, npt.NDArray[Any]]) -> None:
    shapes = {picture.shape for picture in pictures.values()}
    if len(shapes) > 1 or pictures["label"].ndim != 2:
        raise InputError(
            f"{path}: {', '.join(pictures)} must be (H, W) and alike, "
            f"not {listed(sorted(shapes))}; evaluate the run again"
        )


def read_arrays(
    path: Path, keys: Sequence[str], remedy: str = REMEDY, optional: Sequence[str] = ()
) -> dict[str, npt.NDArray[Any]]:
    """Arrays of an NPZ file by their names.

    Args:
        path: The file.
        keys: The arrays that it must hold; any other is left alone.
        remedy: What the user can do where it does not, for the message.
        optional: Arrays that are returned where it holds them.

    Raises:
        InputError: If the file is missing, is not an NPZ file or lacks an array.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; {remedy}")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            missing = [key for key in keys if key not in archive]
            arrays = {key: archive[key] for key in (*keys, *optional) if key in archive}
    except UNREADABLE_NPZ as error:
        raise InputError(
            f"{path}: not a readable NPZ file ({_one_line(error)}); {remedy}"
        ) from error
    if missing:
        raise InputError(f"{path}: no array {listed(missing)}; {remedy}")
    return arrays


def listed(names: Sequence[Any], most: int = 8) -> str:
    """The first names, and how many there are if these are not all."""
    shown = ", ".join(str(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} … ({len(names)} in all)"


def first_repeated(names: Sequence[str]) -> str | None:
    """The first name that is there more than once, or None.

    Example:
        >>> first_repeated(["a", "b", "c", "c", "b"])
        'b'
    """
    times = Counter(names)
    return next((name for name in names if times[name] > 1), None)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
