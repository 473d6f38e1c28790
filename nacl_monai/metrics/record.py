"""What is measured, and its counts, ``bins.npz``, from which every calibration error follows.

======================== ====================================================================
``cases`` (N,)           names
``regions`` (R,)         names
``classes`` (1 + C,)     "top-1", then the classes, background first
``counts``, …            and ``positives`` (int64), ``confidences`` (float64), (N, R, 1 + C, M): sums
                         over the voxels in the M equal bins (m/M, (m + 1)/M] of [0, 1]; accuracy is
                         ``positives / counts``, mean confidence ``confidences / counts``
``fine_counts``, …       optional: and ``fine_errors``, ``fine_excess``, (N, R, F), in F fine bins
``score_counts`` (N, R)  optional: voxels, and ``score_scores``, (N, R, 2), sums of NLL and Brier score
``patients`` (N,)        optional: which cases belong together
``human_counts``, …      optional: as ``counts``, …, of raters who are predicted by the others
``decision_predicted``   optional: and ``decision_labeled``, ``decision_overlap``, ``decision_expected``,
                         ``decision_expected_overlap``, ``decision_contour``, ``decision_missed`` and
                         ``decision_expected_everywhere`` (float64), (N, S): volumes of structures
                         (`nacl_monai.metrics.decisions`)
``raters``               optional: names; every voxel counts once for each
``definition``           what was counted, as JSON: bins, regions with their widths or margins, the unit
                         of these, structures, decisions with their structures, the ignored label, and
                         the calibrator with its checksum
``checksum``             SHA-256 of all of the above
======================== ====================================================================

Records of different definitions are never joined or compared. Files of earlier versions have no
definition, and perhaps an array ``calibrator``; they are read, and what is missing is "not recorded".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial, reduce
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nacl_monai.errors import InputError
from nacl_monai.inference.records import MARGIN
from nacl_monai.metrics.bins import CalibrationBins, ScoreSums, SumsT, VoxelSums, check_threshold
from nacl_monai.metrics.columns import (
    DEFAULT_ERRORS,
    ERRORS,
    POOLED_ERRORS,
    Error,
    named_errors,
    region_label,
    score_columns,
)
from nacl_monai.metrics.decisions import MISS, Decisions, decision_numbers
from nacl_monai.metrics.fine_bins import FineBins, SparseFineBins, fine_faults
from nacl_monai.metrics.pooled import Pooled, pooled_error, pooled_gap
from nacl_monai.metrics.raters import check_raters
from nacl_monai.metrics.regions import (
    REGIONS,
    Region,
    Spacing,
    decided_by_labels,
    depends_on_labels,
    named_regions,
    region_parameters,
)
from nacl_monai.metrics.sums_file import (
    FINE,
    Entry,
    Form,
    bins_faults,
    blocks,
    check_joined,
    check_shards,
    decision_faults,
    read_arrays,
    read_sums,
    score_faults,
    write_sums,
)
from nacl_monai.metrics.voxels import structure_regions
from nacl_monai.runs import EVALUATE_AGAIN, TOP, check_num_bins
from nacl_monai.words import differences, first_of, first_repeated, leaves, listed

FOREGROUND, NEAR = "foreground", "near"
# The regions of files that record no definition.
_UNRECORDED = {"all", "foreground", "union", "boundary"}
#: What to do where a file is missing.
REMEDY = "run `make evaluate` first"
_HUMAN, _SCORE, _DECISION = "human_", "score_", "decision_"
_AXES = ("num_bins", "regions", "classes", "raters")
_BINS = ("cases", "regions", "classes", "bins")
_SUMS = {"counts": np.int64, "positives": np.int64, "confidences": np.float64}
_FINE = {"counts": np.int64, "excess": np.float64, "errors": np.int64}
# The optional sums of a record, and before their names in the file.
_PARTS: dict[str, tuple[type[VoxelSums], str]] = {
    "fine": (SparseFineBins, FINE),
    "human": (CalibrationBins, _HUMAN),
    "scores": (ScoreSums, _SCORE),
    "decisions": (Decisions, _DECISION),
}
_FORM: Form = {
    **{name: Entry((name,)) for name in ("cases", "regions", "classes")},
    **{name: Entry(_BINS, dtype) for name, dtype in _SUMS.items()},
    **{f"{_HUMAN}{name}": Entry(_BINS, dtype, _HUMAN) for name, dtype in _SUMS.items()},
    **{
        f"{FINE}{name}": Entry(("cases", "regions", "fine bins"), dtype, FINE)
        for name, dtype in _FINE.items()
    },
    f"{_SCORE}counts": Entry(("cases", "regions"), np.int64, _SCORE),
    f"{_SCORE}scores": Entry(("cases", "regions", "scores"), np.float64, _SCORE),
    **{
        f"{_DECISION}{volume.name}": Entry(("cases", "structures"), np.float64, _DECISION)
        for volume in fields(Decisions)
    },
    "patients": Entry(("cases",), group="patients"),
    "raters": Entry(("raters",), group="raters"),
}


@dataclass(frozen=True)
class Record:
    """The counted sums, whose leading axes are cases and regions.

    Attributes:
        cases: Names.
        regions: Names.
        classes: Names, "top-1" first.
        sums: The bins.
        fine: The fine bins, where they were kept.
        scores: The sums of NLL and Brier score, where they were kept.
        patients: The patient of each case, where they are known.
        human: The bins of raters who are predicted by the share of the others, where there are several.
        decisions: The volumes of structures, where they were kept.
        raters: Their names, where ``sums`` are against the share of them.
        definition: What was counted, from `Measurement.definition`; files of earlier versions say less.
        path: The file that it is from.
    """

    cases: list[str]
    regions: list[str]
    classes: list[str]
    sums: CalibrationBins
    fine: SparseFineBins | None = None
    scores: ScoreSums | None = None
    patients: list[str] | None = None
    human: CalibrationBins | None = None
    decisions: Decisions | None = None
    raters: list[str] = field(default_factory=list)
    definition: Mapping[str, Any] = field(default_factory=dict)
    path: Path = Path("bins.npz")

    @property
    def times(self) -> int:
        """How often each voxel counts, which is once for each rater."""
        return max(1, len(self.raters))

    @property
    def calibrator(self) -> list[str]:
        """Name of what the probabilities went through, and its checksum if it has one; else empty."""
        return list(self.definition.get("calibrator", ()))

    @property
    def of_raters(self) -> Record | None:
        """The record of the raters themselves, like that of a model; None with one rater."""
        if self.human is None:
            return None
        return replace(self, sums=self.human, fine=None, scores=None, human=None, decisions=None)

    @property
    def decided(self) -> list[str]:
        """The structures that decisions are on."""
        return list(self.definition.get("decisions", {}).get("structures", ()))

    def bins_of(self, region: str) -> CalibrationBins | None:
        """The bins of the predicted class over a region, ``(cases, structures, M)``; None without it.

        The structures are those that have regions of their own, or one.
        """
        if region not in (*self.regions, *self.whole_regions):
            return None
        positions = [self.regions.index(name) for name in self.regions_of(region)]
        return self.sums[:, positions, 0]

    @cached_property
    def pooled_numbers(self) -> dict[str, Pooled]:
        """Numbers of all cases together, without the bias of noise, with their intervals over patients.

        They are ``ece_<region>`` and ``confidence_gap_<region>`` of every region in which the label has
        no say, the mean over structures where each has its own; and, where decisions were kept,
        those of `DecisionNumbers` for each structure, ``<number>_<structure>``, and as the mean over
        them, ``<number>``.
        """
        numbers: dict[str, Pooled] = {}
        for region in self.whole_regions:
            bins = self.bins_of(region)
            if bins is not None and not depends_on_labels(region):
                for name, pooled in zip(POOLED_ERRORS, (pooled_error, pooled_gap), strict=True):
                    numbers[f"{name}_{region}"] = pooled(bins, self.patients)
        if self.decisions is not None:
            several = {f"_{name}": self.decisions[:, k] for k, name in enumerate(self.decided)}
            for ending, volumes in {"": self.decisions, **several}.items():
                found = decision_numbers(volumes, self.patients).pooled()
                numbers |= {f"{name}{ending}": number for name, number in found.items()}
        return numbers

    @property
    def regions_of_structures(self) -> list[str]:
        """The regions that each of several overlapping structures has for itself; else none."""
        split = map(self.region_and_structure, self.regions)
        return list(dict.fromkeys(region for region, structure in split if structure))

    def region_and_structure(self, region: str) -> tuple[str, str]:
        """A region and the structure that it is of; the latter is empty where it is of all.

        A region of the user's own may have an underscore in its name and is of all: "near_lesion".
        """
        if "structures" in self.definition:
            for structure in sorted(self.definition["structures"], key=len, reverse=True):
                if region.endswith(f"_{structure}"):
                    return region.removesuffix(f"_{structure}"), structure
        else:
            for name in sorted(_UNRECORDED - set(self.regions), key=len, reverse=True):
                if region.startswith(f"{name}_"):
                    return name, region.removeprefix(f"{name}_")
        return region, ""

    def label(self, region: str) -> str:
        """The name of a region's voxels in a caption; the region may be that of one structure."""
        return region_label(*self.region_and_structure(region))

    @property
    def whole_regions(self) -> list[str]:
        """The regions, of all structures together where each has its own."""
        return list(dict.fromkeys(self.region_and_structure(name)[0] for name in self.regions))

    @property
    def main_region(self) -> str:
        """Near the prediction, or else the labels' foreground; of overlapping structures the first's."""
        there = {*self.regions, *self.regions_of_structures}
        known = (self.regions_of(region)[0] for region in (NEAR, FOREGROUND) if region in there)
        return next(known, self.regions[0])

    def regions_of(self, region: str) -> list[str]:
        """The region; where each structure has its own, those of all structures.

        Raises:
            InputError: If the file holds neither.
        """
        if region in self.regions:
            return [region]
        parts = [name for name in self.regions if self.region_and_structure(name)[0] == region]
        if not parts:
            raise InputError(
                f"{self.path}: no region {region!r}; choose from {listed(self.regions)}"
            )
        return parts

    def select(self, region: str, class_name: str = TOP) -> CalibrationBins:
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

    def select_fine(self, region: str) -> FineBins:
        """The fine bins of one region, all cases together: (F,).

        Raises:
            InputError: If the file holds no such region, or no fine bins.
        """
        self.select(region)
        if self.fine is None:
            raise InputError(f"{self.path}: no array 'fine_counts'; {EVALUATE_AGAIN}")
        k, kept = self.regions.index(region), self.fine
        parts = (kept[some, k].pooled() for some in blocks(len(self.cases)))
        fine: FineBins = reduce(FineBins.__add__, parts)
        return fine

    def errors(self, error: str, region: str) -> torch.Tensor:
        """An error of every case in a region, or its mean over structures where each has its own.

        Args:
            error: One that follows from the bins, such as "ece"; where there are fine bins also
                "adaptive_ece", "smooth_ece", "aurc" or "error_auroc"; where there are scores "nll" or
                "brier".
            region: Its name.

        Raises:
            InputError: If there is no such error or region.
        """
        positions = [self.regions.index(name) for name in self.regions_of(region)]
        if error not in self.known_errors:
            raise InputError(f"error: is {error!r}; choose from {', '.join(self.known_errors)}")
        sums, measured = self._kept[ERRORS[error].sums], Measurement(self.sums.num_bins)
        parts = (sums[some, positions] for some in blocks(len(self.cases)))
        return torch.cat([ERRORS[error].compute(part, measured).nanmean(-1) for part in parts])

    @property
    def known_errors(self) -> list[str]:
        """Those that follow from the sums that are kept."""
        return [name for name, error in ERRORS.items() if error.sums in self._kept]

    @property
    def _kept(self) -> dict[type[VoxelSums], Any]:
        """The sums of the voxels by their kind."""
        parts = {CalibrationBins: self.sums, FineBins: self.fine, ScoreSums: self.scores}
        return {kind: sums for kind, sums in parts.items() if sums is not None}

    def columns(self, names: Iterable[str] | None = None) -> dict[str, torch.Tensor]:
        """The columns of ``cases.csv`` that follow from the sums: ``<error>_<region>``, and decisions.

        If each structure has its own regions, their mean over structures is included. Decisions are
        ``<number>_<structure>``, and ``<number>``, their mean.

        Args:
            names: Only these of the columns; by default those of `DEFAULT_ERRORS`.
        """
        regions = (*self.regions, *self.regions_of_structures)
        pairs = {f"{e}_{region}": (e, region) for e in self.known_errors for region in regions}
        numbers = {} if self.decisions is None else self.decisions.case_numbers()
        decisions = score_columns(numbers, self.decided)
        usual = [name for name, (error, _) in pairs.items() if error in DEFAULT_ERRORS]
        chosen = {*usual, *decisions} if names is None else set(names)
        errors = {name: self.errors(*pairs[name]) for name in pairs if name in chosen}
        return errors | {name: decisions[name] for name in decisions if name in chosen}

    def ordered(self, cases: Sequence[str]) -> Record:
        """The same sums with the cases in another order."""
        places = {case: place for place, case in enumerate(self.cases)}
        order = [places[case] for case in cases]
        patients = self.patients and [self.patients[position] for position in order]
        parts = {name: getattr(self, name) for name in ("sums", *_PARTS)}
        sums: dict[str, Any] = {name: part and part[order] for name, part in parts.items()}
        return replace(self, cases=list(cases), patients=patients, **sums)

    def joined(self, rest: Sequence[Record]) -> Record:
        """The cases of this record and others, in order; optional sums if all records have them.

        Raises:
            InputError: If one was counted otherwise; it names the difference.
        """
        parts = [self, *rest]
        check_joined(parts, "evaluate or audit both with the same options")
        check_shards(parts)
        kept: dict[str, Any] = {name: _joined([getattr(p, name) for p in parts]) for name in _PARTS}
        return replace(
            self,
            cases=list(chain.from_iterable(part.cases for part in parts)),
            sums=CalibrationBins.joined([part.sums for part in parts]),
            patients=_joined_names([part.patients for part in parts]),
            definition={key: self.definition[key] for key in self.definition if key != "shard"},
            **kept,
        )

    def difference(self, other: Record) -> str:
        """The differences in how another record was counted, whatever its cases; empty without any.

        Records shown side by side may have other calibrators, ensembles or ignored labels, and be
        of an earlier version.
        """
        ours, theirs = (part._definition("ignored", "ensemble") for part in (self, other))
        if "definition" not in ours.keys() & theirs.keys():
            ours, theirs = ({key: part[key] for key in _AXES} for part in (ours, theirs))
        return first_of(differences(ours, theirs))

    def counted(self) -> dict[str, Any]:
        """The part of the definition in which joined records must agree."""
        return self._definition() | {
            "patients": "unknown" if self.patients is None else "known",
            "calibrator": " ".join(self.calibrator) or "none",
        }

    def _definition(self, *skipped: str) -> dict[str, Any]:
        """The definition, key by key, without some keys."""
        values = (self.sums.num_bins, self.regions, self.classes, self.raters)
        recorded = {"definition": "recorded"} if "regions" in self.definition else {}
        rest = {
            "region" if key == "regions" else key: value
            for key, value in self.definition.items()
            if key not in ("num_bins", "calibrator", "shard", *skipped)
        }
        return dict(zip(_AXES, values, strict=True)) | recorded | dict(leaves(rest))

    def unlike_voxels(self, other: Record) -> str:
        """The region in which the same cases have other numbers of voxels; empty without one.

        Labels decide how many voxels a region has, and how many of each class, unless it depends on
        the prediction, as one of the user's own may.
        """
        for k, region in enumerate(self.regions):
            if decided_by_labels(self.region_and_structure(region)[0]):
                ours, theirs = (part._voxels(k) for part in (self, other))
                for case, count in ours.items():
                    if theirs[case] != count:
                        return f"number of voxels in the region {region} of case {case!r}"
        return ""

    def _voxels(self, region: int) -> dict[str, list[int]]:
        """The voxels of each case in a region: all of them, and those of each class."""
        counts = self.sums.counts[:, region, :1].sum(-1)
        numbers = torch.cat([counts, self.sums.positives[:, region, 1:].sum(-1)], 1)
        return dict(zip(self.cases, numbers.tolist(), strict=True))

    def check(self) -> Record:
        """Refuses sums that no voxels have; returns itself.

        Raises:
            InputError: If a count is negative, more voxels are right than there are, the mean confidence
                of a bin is outside the bin, or two classes have other numbers of voxels; or if a case is
                there twice.
        """
        repeated = first_repeated(self.cases)
        if repeated is not None:
            raise InputError(f"{self.path}: case {repeated!r} is there twice; {EVALUATE_AGAIN}")
        for some in blocks(len(self.cases)):
            top, refuse = self.sums[some, :, 0], partial(self._refuse, self.cases[some])
            refuse(bins_faults(self.sums[some]))
            refuse({} if self.human is None else bins_faults(self.human[some]))
            refuse({} if self.fine is None else fine_faults(self.fine[some, :], top))
            refuse({} if self.scores is None else score_faults(self.scores[some], top))
            refuse({} if self.decisions is None else decision_faults(self.decisions[some]))
        return self

    def _refuse(self, cases: Sequence[str], faults: Mapping[str, npt.NDArray[np.bool_]]) -> None:
        """Names the first fault and the first of its cases, which are the first axis."""
        for fault, where in faults.items():
            if where.any():
                case = cases[int(np.argwhere(where)[0][0])]
                raise InputError(f"{self.path}: {fault}, in case {case!r}; {EVALUATE_AGAIN}")

    def write(self, file: str | Path) -> Path:
        """Writes a ``bins.npz``, whole or not at all; returns its path.

        Raises:
            InputError: If it cannot be written.
        """
        names = {"cases": self.cases, "regions": self.regions, "classes": self.classes}
        optional = {"patients": self.patients, "raters": self.raters}
        names |= {key: values for key, values in optional.items() if values}
        arrays: dict[str, Any] = names | self.sums.arrays()
        for name, (_, prefix) in _PARTS.items():
            sums = getattr(self, name)
            arrays |= {} if sums is None else sums.arrays(prefix)
        return write_sums(file, arrays, self.definition)


def read_record(file: str | Path) -> Record:
    """Reads a ``bins.npz``.

    Args:
        file: The file, or the folder that it is in.

    Raises:
        InputError: If the file is missing, lacks an array, holds arrays of unlike shape, or is not as it
            was written.
    """
    path = Path(file)
    path = path / "bins.npz" if path.is_dir() else path
    arrays, definition = read_sums(path, _FORM, REMEDY, EVALUATE_AGAIN, _lengths)
    parts: dict[str, Any] = {
        name: kind.from_arrays(arrays, prefix)
        for name, (kind, prefix) in _PARTS.items()
        if any(key.startswith(prefix) for key in arrays)
    }
    names = {key: arrays[key] for key, part in _FORM.items() if not part.dtype and key in arrays}
    sums, definition = CalibrationBins.from_arrays(arrays), definition or _earlier(path)
    return Record(**names, **parts, sums=sums, definition=definition, path=path)


def _lengths(definition: Mapping[str, Any]) -> dict[str, int]:
    """The lengths of axes that a definition says."""
    structures = definition.get("decisions", {}).get("structures", ())
    return {"structures": len(structures), "scores": 2}


def _earlier(path: Path) -> dict[str, Any]:
    """The definition in files of earlier versions: a calibrator at most."""
    known = read_arrays(path, (), REMEDY, ["calibrator"])
    return {"calibrator": [str(text) for array in known.values() for text in array]}


def _joined(parts: Sequence[SumsT | None]) -> SumsT | None:
    """The sums of all cases; None where some are missing."""
    kept = [part for part in parts if part is not None]
    return type(kept[0]).joined(kept) if kept and len(kept) == len(parts) else None


def _joined_names(parts: Sequence[list[str] | None]) -> list[str] | None:
    """The names of all cases; None where some are missing."""
    kept = [part for part in parts if part is not None]
    return list(chain.from_iterable(kept)) if len(kept) == len(parts) else None


@dataclass(frozen=True)
class Measurement:
    """The arguments of `nacl_monai.metrics.CalibrationMetric`, which documents them.

    Raises:
        InputError: As there.

    Example:
        >>> Measurement(regions=["boundary"]).definition()
        {'num_bins': 15, 'regions': {'boundary': {'width': 3.0, 'unit': 'voxels'}}, 'structures': [], \
'ignored': None, 'calibrator': []}
    """

    num_bins: int = 15
    errors: Iterable[str] = DEFAULT_ERRORS
    regions: Iterable[str] | Mapping[str, Region | None] = tuple(REGIONS)
    include_background: bool = True
    include_absent: bool = True
    boundary_width: float = 3.0
    spacing: Spacing | str | None = None
    margin: float = MARGIN
    margin_spacing: Spacing | str | None = None
    structures: Sequence[str] = ()
    decisions: Mapping[str, Sequence[int]] | None = None
    from_logits: bool = False
    ignore_index: int | None = None
    num_raters: int = 1
    rater: int | None = None
    threshold: float = 0.001
    step: float | None = None

    def __post_init__(self) -> None:
        check_num_bins(self.num_bins)
        check_raters(self.num_raters, self.rater)
        check_threshold(self.threshold)
        _ = self.computed, self.functions  # unknown names are refused at once

    def __getstate__(self) -> dict[str, Any]:
        """The arguments alone: another process looks functions up again, which cannot be pickled."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def computed(self) -> dict[str, Error]:
        """The errors by their names."""
        return named_errors(self.errors)

    @cached_property
    def functions(self) -> dict[str, Region]:
        """The functions of the regions by their names."""
        return named_regions(self.regions)

    @property
    def region_names(self) -> tuple[str, ...]:
        """The names of the regions; where structures may overlap, those of each."""
        return structure_regions(self.functions, self.structures)

    @property
    def decided(self) -> tuple[str, ...]:
        """The names of the structures that decisions are on."""
        return tuple(self.structures or self.decisions or ())

    def definition(
        self, calibrator: Sequence[str] = (), ignored: int | None = None
    ) -> dict[str, Any]:
        """The definition of what is counted, as files keep it.

        Args:
            calibrator: Name of what the probabilities went through, and its checksum.
            ignored: The label of voxels that do not count, where masks say which these are.
        """
        margin = _sized("margin", self.margin, self.margin_spacing)
        sizes = {"width": _sized("width", self.boundary_width, self.spacing), "margin": margin}
        regions = {name: _region(name, self.functions[name], sizes) for name in self.functions}
        on = {"structures": list(self.decided), "miss": MISS, **margin}
        return {
            "num_bins": self.num_bins,
            "regions": regions,
            "structures": list(self.structures),
            **({"decisions": on} if self.decided else {}),
            "ignored": self.ignore_index if ignored is None else ignored,
            "calibrator": list(calibrator),
        }


def _sized(name: str, size: float, spacing: Spacing | str | None) -> dict[str, Any]:
    return {name: size, "unit": "voxels" if spacing is None else "mm"}


def _region(name: str, region: Region, sizes: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """What decides on the voxels of a region: its width or margin, and a function of the user's own."""
    used = [sizes[parameter] for parameter in sizes if parameter in region_parameters(region)]
    sized = {key: value for part in used for key, value in part.items()}
    if REGIONS.get(name) is region:
        return sized
    return sized | {"function": str(getattr(region, "__qualname__", type(region).__name__))}
