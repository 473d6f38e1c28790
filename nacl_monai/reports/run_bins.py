"""The bins of an evaluation, ``bins.npz``, from which every calibration error follows.

======================== ====================================================================
``cases`` (N,)           names
``regions`` (R,)         names
``classes`` (1 + C,)     "top-1", then the classes
``counts``, …            and ``positives``, ``confidences``, (N, R, 1 + C, M): sums over the voxels
                         in the M equal bins (lo, hi] of [0, 1]
``fine_counts``, …       optional: and ``fine_errors``, ``fine_excess``, (N, R, F), in F fine bins
``patients`` (N,)        optional: which cases belong together
``human_counts``, …      optional: as ``counts``, …, of raters who are predicted by the others
``raters``               optional: names; every voxel counts once for each
``calibrator`` (1,)      optional: name of what the probabilities went through; in an audit (2,), with
                         its checksum
======================== ====================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nacl_monai.errors import InputError
from nacl_monai.metrics import REGIONS, CalibrationBins
from nacl_monai.metrics.adaptive import FINE, FineBins
from nacl_monai.metrics.raters import HUMAN
from nacl_monai.metrics.sums import SumsT
from nacl_monai.reports.evaluation_files import listed, read_arrays

_AGAIN = "evaluate the run again"
# The arrays of ``bins.npz``, and those that it may lack.
_SUMS = {"counts": np.int64, "positives": np.int64, "confidences": np.float64}
_HUMAN = {f"{HUMAN}{key}": dtype for key, dtype in _SUMS.items()}
_FINE = {f"{FINE}counts": np.int64, f"{FINE}excess": np.float64, f"{FINE}errors": np.int64}
FOREGROUND = "foreground"


@dataclass(frozen=True)
class RunBins:
    """The content of ``bins.npz``; the leading axes of all sums are cases and regions.

    Attributes:
        cases: Names.
        regions: Names.
        classes: Names, "top-1" first.
        sums: The bins.
        path: The file.
        fine: The fine bins, where they were kept.
        patients: The patient of each case, where they are known.
        human: The bins of raters who are predicted by the share of the others, where there are several.
        raters: Their names, where ``sums`` are against the share of them.
        calibrator: Name of what the probabilities went through, and its checksum where the file has it;
            empty where it names nothing.
    """

    cases: list[str]
    regions: list[str]
    classes: list[str]
    sums: CalibrationBins
    path: Path
    fine: FineBins | None = None
    patients: list[str] | None = None
    human: CalibrationBins | None = None
    raters: list[str] = field(default_factory=list)
    calibrator: list[str] = field(default_factory=list)

    @property
    def times(self) -> int:
        """How often each voxel counts: once for each rater."""
        return max(1, len(self.raters))

    @property
    def of_raters(self) -> RunBins | None:
        """The bins of the raters themselves, as those of a model; None where there is one rater."""
        if self.human is None:
            return None
        return replace(self, sums=self.human, fine=None, human=None)

    @property
    def axes(self) -> dict[str, Any]:
        """What must be alike in the sums of two evaluations, whatever their cases."""
        return {
            "num_bins": self.sums.num_bins,
            "regions": self.regions,
            "classes": self.classes,
            "raters": self.raters,
        }

    @property
    def regions_of_structures(self) -> list[str]:
        """The regions that each of several overlapping structures has for itself; else none."""
        starts = {name.partition("_")[0] for name in self.regions} - set(self.regions)
        return [region for region in REGIONS if region in starts]

    def region_and_structure(self, region: str) -> tuple[str, str]:
        """A region and the structure that it is of; the latter is empty where it is of all.

        A region of the user's own may have an underscore in its name and is of all: "near_lesion".
        """
        name, _, structure = region.partition("_")
        return (name, structure) if name in self.regions_of_structures else (region, "")

    @property
    def whole_regions(self) -> list[str]:
        """The regions, of all structures together where each has its own."""
        return list(dict.fromkeys(self.region_and_structure(name)[0] for name in self.regions))

    @property
    def main_region(self) -> str:
        """The labels' foreground; with overlapping structures, that of the first."""
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
        if region in self.regions:
            return [region]
        found = [name for name in self.regions if self.region_and_structure(name)[0] == region]
        if not found:
            raise InputError(
                f"{self.path}: no region {region!r}; choose from {listed(self.regions)}"
            )
        return found

    def ordered(self, cases: Sequence[str]) -> RunBins:
        """The same sums with the cases in another order."""
        order = [self.cases.index(case) for case in cases]
        fine = self.fine and self.fine[order]
        human = self.human and self.human[order]
        patients = self.patients and [self.patients[position] for position in order]
        sums = self.sums[order]
        return replace(
            self, cases=list(cases), sums=sums, fine=fine, patients=patients, human=human
        )

    def joined(self, others: Sequence[RunBins]) -> RunBins:
        """The cases of this and of others, one after the other; optional sums where all have them."""
        parts = [self, *others]
        return replace(
            self,
            cases=list(chain.from_iterable(part.cases for part in parts)),
            sums=CalibrationBins.joined([part.sums for part in parts]),
            fine=_joined([part.fine for part in parts]),
            patients=_joined_names([part.patients for part in parts]),
            human=_joined([part.human for part in parts]),
        )

    def select_fine(self, region: str) -> FineBins:
        """The fine bins of one region: (cases, F).

        Raises:
            InputError: If the file holds no such region, or no fine bins.
        """
        self.select(region, self.classes[0])
        if self.fine is None:
            raise InputError(f"{self.path}: no array 'fine_counts'; evaluate the run again")
        return self.fine[:, self.regions.index(region)]


def _joined(parts: Sequence[SumsT | None]) -> SumsT | None:
    """The sums of all cases; None where some are missing."""
    known = [part for part in parts if part is not None]
    return type(known[0]).joined(known) if known and len(known) == len(parts) else None


def _joined_names(parts: Sequence[list[str] | None]) -> list[str] | None:
    """The names of all cases; None where some are missing."""
    known = [part for part in parts if part is not None]
    return list(chain.from_iterable(known)) if len(known) == len(parts) else None


def read_bins(path: Path) -> RunBins:
    """Reads a ``bins.npz``.

    Raises:
        InputError: If the file is missing, lacks an array or holds arrays of unlike shape.
    """
    optional = (*_FINE, *_HUMAN, "patients", "raters", "calibrator")
    arrays = read_arrays(path, ("cases", "regions", "classes", *_SUMS), optional=optional)
    names = {key: list(map(str, arrays[key])) for key in ("cases", "regions", "classes")}
    fine, human = (_all_or_none(path, arrays, keys) for keys in (_FINE, _HUMAN))
    _check_shapes(path, arrays, (*_SUMS, *human), names)
    _check_shapes(path, arrays, tuple(fine), {k: names[k] for k in ("cases", "regions")})
    sums = _typed(arrays)
    return RunBins(
        path=path,
        sums=CalibrationBins.from_arrays(sums),
        fine=FineBins.from_arrays(sums, FINE) if fine else None,
        patients=list(map(str, arrays["patients"])) if "patients" in arrays else None,
        human=CalibrationBins.from_arrays(sums, HUMAN) if human else None,
        raters=list(map(str, arrays.get("raters", ()))),
        calibrator=list(map(str, arrays.get("calibrator", ()))),
        **names,
    )


def _typed(arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """All sums, each as the type that it is computed with."""
    dtypes = _SUMS | _FINE | _HUMAN
    return {key: arrays[key].astype(dtypes[key]) for key in dtypes if key in arrays}


def _all_or_none(
    path: Path, arrays: Mapping[str, npt.NDArray[Any]], keys: Mapping[str, type]
) -> list[str]:
    """Those of the arrays that are there, which are all or none."""
    found = [key for key in keys if key in arrays]
    if found and len(found) < len(keys):
        raise InputError(f"{path}: holds {listed(found)} alone of {listed(list(keys))}; {_AGAIN}")
    return found


def _check_shapes(
    path: Path,
    arrays: Mapping[str, npt.NDArray[Any]],
    keys: Sequence[str],
    axes: Mapping[str, Sequence[str]],
) -> None:
    """Refuses sums that are not numbers, are not alike, or have other leading axes."""
    expected = tuple(map(len, axes.values()))
    for key in keys:
        shape, dtype = arrays[key].shape, arrays[key].dtype
        if not np.issubdtype(dtype, np.number):
            raise InputError(f"{path}: {key} is of the type {dtype.str}, not numbers; {_AGAIN}")
        if shape[:-1] != expected or shape != arrays[keys[0]].shape:
            raise InputError(
                f"{path}: {key} is {shape}, not ({', '.join(axes)}, bins) = "
                f"({', '.join(map(str, expected))}, M); {_AGAIN}"
            )
