"""The numbers in a run's ``evaluation/``, read file by file and checked.

================== ==========================================================================
``cases.csv``      one row per test case: ``case``, ``dice``, ``hd95``, ``ece_foreground``,
                   ``cece_foreground`` and any further metric, such as ``dice_<structure>``; an empty
                   cell is undefined.
                   An optional column ``patient`` says which cases belong together.
``bins.npz``       ``cases`` (N,), ``regions`` (R,), ``classes`` (1 + C,): "top-1", then the
                   classes; ``counts``, ``positives`` and ``confidences`` (N, R, 1 + C, M):
                   sums over the voxels in the M equal bins (lo, hi] of [0, 1]. Optional:
                   ``fine_counts``, ``fine_errors`` and ``fine_excess`` (N, R, F), in F fine bins.
                   An optional array ``patients`` (N,) says which cases belong together.
``maps/CASE.npz``  one slice: ``image``, ``label``, ``prediction``, ``confidence`` and
                   ``entropy`` (H, W), ``slice`` and ``classes`` (C,), background first.
                   Those of an audit have no ``image``.
================== ==========================================================================
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nacl_monai.errors import InputError
from nacl_monai.metrics import REGIONS, CalibrationBins
from nacl_monai.metrics.adaptive import FINE, FineBins
from nacl_monai.reports.columns import MAIN_METRICS
from nacl_monai.runs import EvaluationFolder, RunFolder

REMEDY = "run `make evaluate` first"
_AGAIN = "evaluate the run again"
# The arrays of ``bins.npz``, and those that it may lack.
_SUMS = {"counts": np.int64, "positives": np.int64, "confidences": np.float64}
_FINE = {f"{FINE}counts": np.int64, f"{FINE}excess": np.float64, f"{FINE}errors": np.int64}
FOREGROUND = "foreground"


@dataclass(frozen=True)
class RunBins:
    """The content of ``bins.npz``; the leading axes of ``sums`` and ``fine`` are cases and regions."""

    cases: list[str]
    regions: list[str]
    classes: list[str]
    sums: CalibrationBins
    path: Path
    fine: FineBins | None = None
    patients: list[str] | None = None

    @property
    def regions_of_structures(self) -> list[str]:
        """The regions that each of several overlapping structures has for itself; else none."""
        starts = {name.partition("_")[0] for name in self.regions} - set(self.regions)
        return [region for region in REGIONS if region in starts]

    @property
    def whole_regions(self) -> list[str]:
        """The regions, of all structures together where each has its own."""
        return list(dict.fromkeys(region.partition("_")[0] for region in self.regions))

    @property
    def main_region(self) -> str:
        """The labels' foreground; of overlapping structures, that of the first."""
        known = FOREGROUND in (*self.regions, *self.regions_of_structures)
        return self.regions_of(FOREGROUND)[0] if known else self.regions[0]

    def select(self, region: str, class_name: str) -> CalibrationBins:
        """The sums of one region and one class ("top-1", or a name): (cases, 1, bins).

        Raises:
            InputError: If the file holds no such region or class.
        """
        for kind, name, names in (
            ("region", region, self.regions),
            ("class", class_name, self.classes),
        ):
            if name not in names:
                raise InputError(f"{self.path}: no {kind} {name!r}; choose from {listed(names)}")
        k = self.classes.index(class_name)
        return self.sums[:, self.regions.index(region), k : k + 1]

    def regions_of(self, region: str) -> list[str]:
        """The region; where each structure has its own, those of all structures.

        Raises:
            InputError: If the file holds neither.
        """
        of_structures = [name for name in self.regions if name.startswith(f"{region}_")]
        if region not in self.regions and not of_structures:
            raise InputError(
                f"{self.path}: no region {region!r}; choose from {listed(self.regions)}"
            )
        return [region] if region in self.regions else of_structures

    def ordered(self, cases: Sequence[str]) -> RunBins:
        """The same sums with the cases in another order."""
        order = [self.cases.index(case) for case in cases]
        fine = self.fine and self.fine[order]
        patients = self.patients and [self.patients[position] for position in order]
        sums = self.sums[order]
        return replace(self, cases=list(cases), sums=sums, fine=fine, patients=patients)

    def select_fine(self, region: str) -> FineBins:
        """The fine bins of one region: (cases, F).

        Raises:
            InputError: If the file holds no such region, or no fine bins.
        """
        self.select(region, self.classes[0])
        if self.fine is None:
            raise InputError(f"{self.path}: no array 'fine_counts'; evaluate the run again")
        return self.fine[:, self.regions.index(region)]


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


def read_cases(path: Path) -> tuple[pd.DataFrame, pd.Series[str]]:
    """Metrics and patients by case; names stay text, so that '001' and 'NA' survive.

    Args:
        path: The ``cases.csv`` of an evaluation.

    Returns:
        One float column per metric, and the patient of each case: the case itself where the file
        does not say.

    Raises:
        InputError: If the file is missing, lacks a column, repeats a case or holds text as a metric.
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
    for column in table.columns:
        try:
            table[column] = pd.to_numeric(table[column]).astype(float)
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{path}: column {column!r} holds something that is not a number "
                f"({_one_line(error)}); evaluate the run again"
            ) from error
    return table, patients


def _read_text_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{path}: no such file; {REMEDY}")
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not a CSV table ({_one_line(error)}); evaluate again") from error


def read_bins(path: Path) -> RunBins:
    """Reads a ``bins.npz``.

    Raises:
        InputError: If the file is missing, lacks an array or holds arrays of unlike shape.
    """
    optional = (*_FINE, "patients")
    arrays = read_arrays(path, ("cases", "regions", "classes", *_SUMS), optional=optional)
    names = {key: [str(name) for name in arrays[key]] for key in ("cases", "regions", "classes")}
    fine = [key for key in _FINE if key in arrays]
    if fine and len(fine) < len(_FINE):
        raise InputError(f"{path}: holds {listed(fine)} alone of {listed(list(_FINE))}; {_AGAIN}")
    _check_shapes(path, arrays, tuple(_SUMS), names)
    _check_shapes(path, arrays, tuple(fine), {k: names[k] for k in ("cases", "regions")})
    sums = {
        key: arrays[key].astype(dtype) for key, dtype in (_SUMS | _FINE).items() if key in arrays
    }
    return RunBins(
        path=path,
        sums=CalibrationBins.from_arrays(sums),
        fine=FineBins.from_arrays(sums, FINE) if fine else None,
        patients=None if "patients" not in arrays else [str(name) for name in arrays["patients"]],
        **names,
    )


def _check_shapes(
    path: Path,
    arrays: Mapping[str, npt.NDArray[Any]],
    keys: Sequence[str],
    axes: Mapping[str, Sequence[str]],
) -> None:
    """Refuses sums that are not alike, or have other leading axes."""
    expected = tuple(map(len, axes.values()))
    for key in keys:
        shape = arrays[key].shape
        if shape[:-1] != expected or shape != arrays[keys[0]].shape:
            raise InputError(
                f"{path}: {key} is {shape}, not ({', '.join(axes)}, bins) = "
                f"({', '.join(map(str, expected))}, M); {_AGAIN}"
            )


def read_map(path: Path) -> CaseMap:
    """Reads the ``maps/CASE.npz`` of one case.

    Raises:
        InputError: If the file is missing, lacks an array, or holds pictures of unlike shape or
            label values without a class.
    """
    needed = ("label", "prediction", "confidence", "entropy")
    arrays = read_arrays(path, (*needed, "slice", "classes"), optional=["image"])
    pictures = [key for key in ("image", *needed) if key in arrays]
    shapes = {arrays[key].shape for key in pictures}
    if len(shapes) > 1 or arrays["label"].ndim != 2:
        raise InputError(
            f"{path}: {', '.join(pictures)} must be (H, W) and alike, "
            f"not {listed(sorted(shapes))}; evaluate the run again"
        )
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
        InputError: If the file is missing, is no NPZ file or lacks an array.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; {remedy}")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            missing = [key for key in keys if key not in archive]
            arrays = {key: archive[key] for key in (*keys, *optional) if key in archive}
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
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


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
