"""Evaluated runs: the numbers in ``RUN/evaluation/``, read and checked.

================== ==========================================================================
``cases.csv``      one row per test case: ``case``, ``dice``, ``hd95``, ``ece_foreground``,
                   ``cece_foreground`` and any further metric, such as ``dice_<structure>``; an empty
                   cell is undefined.
                   An optional column ``patient`` says which volumes belong together.
``bins.npz``       ``cases`` (N,), ``regions`` (R,), ``classes`` (1 + C,): "top-1", then the
                   classes; ``counts``, ``positives`` and ``confidences`` (N, R, 1 + C, M):
                   sums over the voxels in the M equal bins (lo, hi] of [0, 1].
``maps/CASE.npz``  one slice: ``image``, ``label``, ``prediction``, ``confidence`` and
                   ``entropy`` (H, W), ``slice`` and ``classes`` (C,), background first.
================== ==========================================================================

A cross-validation is the runs ``NAME_fold=0_seedN``, ``NAME_fold=1_seedN``, …; named without the fold,
``NAME_seedN``, it is read as one run over the test volumes of all folds.
"""

from __future__ import annotations

import glob
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nacl_monai.errors import InputError
from nacl_monai.metrics import CalibrationBins

METRICS = ("dice", "hd95", "ece_foreground", "cece_foreground")
REMEDY = "run `make evaluate` first"


@dataclass(frozen=True)
class RunBins:
    """The content of ``bins.npz``; the leading axes of ``sums`` are cases and regions."""

    cases: list[str]
    regions: list[str]
    classes: list[str]
    sums: CalibrationBins
    path: Path

    def select(self, region: str, name: str) -> CalibrationBins:
        """The sums of one region and one class ("top-1", or a name): (cases, 1, bins)."""
        for kind, wanted, known in (
            ("region", region, self.regions),
            ("class", name, self.classes),
        ):
            if wanted not in known:
                raise InputError(f"{self.path}: no {kind} {wanted!r}; choose from {_listed(known)}")
        k = self.classes.index(name)
        return self.sums[:, self.regions.index(region), k : k + 1]

    def ordered(self, cases: Sequence[str]) -> RunBins:
        """The same sums with the cases in another order."""
        order = [self.cases.index(case) for case in cases]
        return replace(self, cases=list(cases), sums=self.sums[order])


@dataclass(frozen=True)
class CaseMap:
    """The content of ``maps/CASE.npz``: one slice of one test volume."""

    image: npt.NDArray[np.float32]
    label: npt.NDArray[np.uint8]
    prediction: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.float32]
    entropy: npt.NDArray[np.float32]
    slice: int
    classes: list[str]
    path: Path


@dataclass(frozen=True)
class Run:
    """One evaluated run under the name that tables and figures show.

    Attributes:
        name: the method, as shown.
        folder: the run's folder, which holds ``evaluation/``.
        metrics: one row per case (the index), one float column per metric; NaN is undefined.
        patients: the patient of each case; the case itself where the run does not say.
        bins: the bin sums, cases in the order of ``metrics``.
    """

    name: str
    folder: Path
    metrics: pd.DataFrame
    patients: pd.Series[str]
    bins: RunBins

    @property
    def cases(self) -> list[str]:
        """Names of the test volumes."""
        return [str(case) for case in self.metrics.index]

    def read_map(self, case: str) -> CaseMap:
        """The stored slice of one case."""
        folders = fold_folders(self.folder) or [self.folder]
        paths = [folder / "evaluation" / "maps" / f"{case}.npz" for folder in folders]
        path = next((path for path in paths if path.is_file()), paths[0])
        pictures = ("image", "label", "prediction", "confidence", "entropy")
        arrays = read_arrays(path, (*pictures, "slice", "classes"))
        shapes = {arrays[key].shape for key in pictures}
        if len(shapes) > 1 or arrays["image"].ndim != 2:
            raise InputError(
                f"{path}: {', '.join(pictures)} must be (H, W) and alike, "
                f"not {_listed(sorted(shapes))}; evaluate the run again"
            )
        classes = [str(name) for name in arrays["classes"]]
        highest = max(int(arrays[key].max()) for key in ("label", "prediction"))
        if highest >= len(classes):
            raise InputError(
                f"{path}: label value {highest}, but only {len(classes)} classes "
                f"({_listed(classes)}); evaluate the run again"
            )
        return CaseMap(
            **{key: arrays[key] for key in pictures},
            slice=int(arrays["slice"]),
            classes=classes,
            path=path,
        )


def fold_folders(folder: Path) -> list[Path]:
    """The runs of the cross-validation that ``folder`` names; nothing where it is a single run."""
    if (folder / "evaluation").is_dir():
        return []
    stem, seed, number = folder.name.rpartition("_seed")
    folds = folder.parent.glob(f"{glob.escape(stem)}_fold=[0-9]*{seed}{number}")
    return sorted(folds, key=lambda fold: (len(fold.name), fold.name))


def read_run(folder: str | Path, name: str | None = None) -> Run:
    """Reads an evaluated run, or all folds of a cross-validation as one; its name is the folder's.

    Raises:
        InputError: if a file or column is missing or cannot be read, or if folds do not fit together.
    """
    folds = [_read_single(fold, name) for fold in fold_folders(Path(folder))]
    return _pooled(Path(folder), name, folds) if folds else _read_single(folder, name)


def _read_single(folder: str | Path, name: str | None) -> Run:
    folder = Path(folder)
    evaluation = folder / "evaluation"
    if not evaluation.is_dir():
        raise InputError(f"{folder}: no folder 'evaluation' in this run; {REMEDY}")
    metrics, patients = read_cases(evaluation / "cases.csv")
    bins = _read_bins(evaluation / "bins.npz")
    cases = [str(case) for case in metrics.index]
    if sorted(cases) != sorted(bins.cases):
        raise InputError(
            f"{bins.path}: its cases are not those of cases.csv "
            f"({_difference(bins.cases, cases)}); evaluate the run again"
        )
    return Run(
        name=folder.resolve().name if name is None else name,
        folder=folder,
        metrics=metrics,
        patients=patients,
        bins=bins.ordered(cases),
    )


def _pooled(folder: Path, name: str | None, folds: Sequence[Run]) -> Run:
    """One run over the cases of all folds."""
    cases = [case for fold in folds for case in fold.cases]
    bins = folds[0].bins
    for fold in folds:
        if (fold.bins.regions, fold.bins.classes) != (bins.regions, bins.classes):
            raise InputError(
                f"{fold.bins.path}: its regions or classes are not those of {bins.path}; "
                "evaluate all folds alike"
            )
        for case in fold.cases:
            if cases.count(case) > 1:
                raise InputError(f"{fold.folder}: case {case!r} is tested in another fold, too")
    arrays = [fold.bins.sums.arrays() for fold in folds]
    sums = {key: np.concatenate([of[key] for of in arrays]) for key in arrays[0]}
    return Run(
        name=folder.resolve().name if name is None else name,
        folder=folder,
        metrics=pd.concat([fold.metrics for fold in folds]),
        patients=pd.concat([fold.patients for fold in folds]),
        bins=replace(bins, cases=cases, sums=CalibrationBins.from_arrays(sums)),
    )


def read_runs(folders: Sequence[str | Path], names: Sequence[str] | None = None) -> list[Run]:
    """Reads runs to compare: the same test cases, in the same order, under different names.

    Raises:
        InputError: if a run cannot be read, or if the runs cannot be compared.
    """
    if names is not None and len(names) != len(folders):
        raise InputError(f"--names: {len(names)} names for {len(folders)} runs; give one per run")
    runs = [read_run(folder, names[i] if names else None) for i, folder in enumerate(folders)]
    repeated = [name for name, times in Counter(run.name for run in runs).items() if times > 1]
    if repeated:
        raise InputError(f"two runs are called {repeated[0]!r}; tell them apart with --names")
    first = runs[0]
    for run in runs[1:]:
        if sorted(run.cases) != sorted(first.cases):
            raise InputError(
                f"{run.folder}: its test cases are not those of {first.folder} "
                f"({_difference(run.cases, first.cases)}); evaluate both on the same split"
            )
    return [
        replace(
            run,
            metrics=run.metrics.loc[first.cases],
            patients=run.patients.loc[first.cases],
            bins=run.bins.ordered(first.cases),
        )
        for run in runs
    ]


def read_cases(path: Path) -> tuple[pd.DataFrame, pd.Series[str]]:
    """Metrics and patients by case; names stay text, so that '001' and 'NA' survive."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; {REMEDY}")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not a CSV table ({_line(error)}); evaluate again") from error
    missing = [column for column in ("case", *METRICS) if column not in table.columns]
    if missing:
        raise InputError(f"{path}: no column {_listed(missing)}; evaluate the run again")
    if table.empty:
        raise InputError(f"{path}: no test case in it; check the split and evaluate again")
    repeated = table["case"][table["case"].duplicated()]
    if len(repeated):
        raise InputError(f"{path}: case {repeated.iloc[0]!r} stands twice; evaluate the run again")
    table = table.set_index("case")
    patients = table.pop("patient") if "patient" in table else table.index.to_series()
    for column in table.columns:
        try:
            table[column] = pd.to_numeric(table[column]).astype(float)
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{path}: column {column!r} holds something that is not a number "
                f"({_line(error)}); evaluate the run again"
            ) from error
    return table, patients


def _read_bins(path: Path) -> RunBins:
    dtypes = {"counts": np.int64, "positives": np.int64, "confidences": np.float64}
    arrays = read_arrays(path, ("cases", "regions", "classes", *dtypes))
    names = {key: [str(name) for name in arrays[key]] for key in ("cases", "regions", "classes")}
    expected = tuple(len(of) for of in names.values())
    for key in dtypes:
        shape = arrays[key].shape
        if shape[:-1] != expected or shape != arrays["counts"].shape:
            raise InputError(
                f"{path}: {key} is {shape}, not (cases, regions, classes, bins) = "
                f"({', '.join(map(str, expected))}, M); evaluate the run again"
            )
    sums = CalibrationBins.from_arrays({key: arrays[key].astype(of) for key, of in dtypes.items()})
    return RunBins(path=path, sums=sums, **names)


def read_arrays(
    path: Path, keys: Sequence[str], remedy: str = REMEDY
) -> dict[str, npt.NDArray[Any]]:
    """Arrays of an NPZ file; an `InputError` with the remedy if it is missing or lacks one."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; {remedy}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [key for key in keys if key not in archive]
            arrays = {key: archive[key] for key in keys if key not in missing}
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a readable NPZ file ({_line(error)}); {remedy}") from error
    if missing:
        raise InputError(f"{path}: no array {_listed(missing)}; {remedy}")
    return arrays


def _listed(names: Sequence[Any], most: int = 8) -> str:
    shown = ", ".join(str(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} … ({len(names)} in all)"


def _difference(ours: Sequence[str], theirs: Sequence[str]) -> str:
    extra, missing = sorted(set(ours) - set(theirs)), sorted(set(theirs) - set(ours))
    parts = [("only here: ", extra), ("missing here: ", missing)]
    return "; ".join(word + _listed(names, most=3) for word, names in parts if names)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
