r"""What a promise is made from, ``promise.npz``: for each case and structure, a count of every set.

The sets of a structure with probabilities :math:`p` are

.. math::

    S(t, m) = \{x : p(x) \ge t,\ d(x) \le m\},

where :math:`d` is the distance in mm to the predicted structure (the most probable class; of structures
that may overlap, above one half). Thresholds and margins are fixed (:data:`THRESHOLDS`,
:data:`MARGINS`), so that no image is needed any more, and no label:

===================== =======================================================================
``cases`` (N,)        names
``structures`` (S,)   names
``counts``            (N, S, K, M) int64: voxels in each set
``hits``              labeled voxels in it
``sums``              their probabilities, in units of :math:`2^{-32}`
``spacings`` (N, D)   sizes of a voxel in mm
``patients`` (N,)     optional: which cases belong together
``definition``        thresholds, margins, channels, structures, calibrator, tool; the checksum of the
                      network's weights, the set of the split that the patients are of, the run, and
                      the shard, where they are known; as JSON
``checksum``          SHA-256 of all of the above
===================== =======================================================================

Every sum is of integers, so that no order of voxels, cases or sites changes a bit. The set without
threshold, :math:`S(0, m)`, has the volume, the expected volume and both Dice in it
(:attr:`Curves.volumes`, :attr:`Curves.dice`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from nacl_monai.errors import InputError
from nacl_monai.inference import records
from nacl_monai.inference.promised import MM3_PER_ML, Array, Levels, dice_of, structure_levels
from nacl_monai.inference.promised import SCALE as _SCALE
from nacl_monai.inference.records import MARGINS
from nacl_monai.metrics.sums_file import (
    Entry,
    Form,
    alike_in,
    check_joined,
    check_shards,
    curve_faults,
    read_sums,
    write_sums,
)
from nacl_monai.runs import CURVES_FILE as CURVES_FILE  # noqa: PLC0414 - its name is its writer's, too
from nacl_monai.runs import PROMISE_REMEDY
from nacl_monai.words import first_repeated

if TYPE_CHECKING:
    import torch

_LOGITS = (-16.0, 16.0, 200)
#: No threshold, 200 of them, and one that no voxel reaches.
THRESHOLDS: Array = np.array([0.0, *expit(np.linspace(*_LOGITS)), 2.0])
#: The position of the sets without threshold, and of those without margin.
NO_THRESHOLD, NO_MARGIN = 0, len(MARGINS) - 1
_SUMS = ("counts", "hits", "sums")
_BLOCK = 2**14
_NAMES = records.each(records.name, 1)
_SETS = ("cases", "structures", "thresholds", "margins")
_FORM: Form = {
    **{name: Entry((name,)) for name in ("cases", "structures")},
    **{name: Entry(_SETS, np.int64) for name in _SUMS},
    "spacings": Entry(("cases", "axes"), np.float64),
    "patients": Entry(("cases",), group="patients"),
}
_MAY_BE: dict[str, records.Condition] = {
    "definition": records.definition,
    "cases": _NAMES,
    "structures": _NAMES,
    "patients": records.maybe(records.each(records.text)),
    "spacings": records.each(records.SIZES),
}


def label_curve(levels: Levels, label: Array, mask: Array | None = None) -> dict[str, Array]:
    """The curve of one structure of one case: "counts", "hits" and "sums", each (K, M), int64.

    Args:
        levels: From `structure_levels`.
        label: Where the structure is, boolean.
        mask: The voxels that count, boolean; None for all.
    """
    parts = [part.ravel() if mask is None else part[mask] for part in (*levels, label)]
    shape = len(THRESHOLDS), len(MARGINS)
    sums = np.zeros((len(_SUMS), shape[0] * shape[1]), np.int64)
    for start in range(0, parts[0].size, _BLOCK):
        probs, margins, inside = (part[start : start + _BLOCK] for part in parts)
        inside = inside.astype(bool, copy=False)
        # Most voxels are below all thresholds, and beyond all margins: one cell for all of them.
        near = np.flatnonzero((probs >= float(THRESHOLDS[1])) | (margins < NO_MARGIN) | inside)
        units = np.rint(probs * _SCALE)  # a float sums so many of these exactly
        far = len(probs) - len(near), 0, units.sum(dtype=np.float64)
        probs, inside, units = probs[near], inside[near], units[near]
        cells = _passed(probs) * shape[1] + margins[near]
        of_cells = [
            np.bincount(cells[chosen], weights, sums.shape[1])
            for chosen, weights in ((..., None), (inside, None), (..., units))
        ]
        sums += np.array(of_cells, np.int64)
        sums[:, NO_MARGIN] += np.array([*far[:2], far[2] - units.sum(dtype=np.float64)], np.int64)
    return {
        name: part.reshape(shape)[::-1].cumsum(0)[::-1].cumsum(1)
        for name, part in zip(_SUMS, sums, strict=True)
    }


def _passed(probs: Array) -> Array:
    """The position of the largest threshold that each probability reaches.

    The logit says it except for rounding, so that two comparisons are enough, in place of a search.
    """
    low, high, steps = _LOGITS
    with np.errstate(divide="ignore", over="ignore"):
        logits = np.log(probs / (1 - np.minimum(probs, 1)))
    near = ((logits - low) * ((steps - 1) / (high - low))).clip(0, steps - 1).astype(np.intp)
    above = [THRESHOLDS[near + step] <= probs for step in (1, 2)]
    passed: Array = near + above[0] + above[1]
    return passed


def curves_of_case(
    probs: torch.Tensor,
    labels: Sequence[torch.Tensor],
    mask: torch.Tensor | None,
    structures: Mapping[str, Sequence[int]],
    spacing: Sequence[float],
    *,
    overlapping: bool,
) -> dict[str, Array]:
    """The curves of all structures of a case, each (S, K, M), and its spacing.

    Args:
        probs: ``(C, *spatial)``, any floating dtype, or uint8 for ``round(255 p)``; already checked.
        labels: Where each structure is, ``(*spatial)``, boolean.
        mask: The voxels that count, ``(*spatial)``, boolean; None for all.
        structures: Name → channels.
        spacing: The size of a voxel along each spatial axis, in mm.
        overlapping: Whether each channel is a structure of its own, as after a sigmoid.
    """
    levels = structure_levels(probs, structures, spacing, overlapping)
    counts = None if mask is None else mask.numpy()
    parts = [
        label_curve(level, label.numpy(), counts)
        for level, label in zip(levels, labels, strict=True)
    ]
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]} | {
        "spacings": np.array(spacing, np.float64)
    }


@dataclass(frozen=True)
class Curves:
    """The curves of several cases; see the module for the arrays.

    Attributes:
        cases: Names.
        structures: Names.
        counts: Voxels, (N, S, K, M).
        hits: Labeled voxels.
        sums: Probabilities in units of 2^-32.
        spacings: (N, D), in mm.
        patients: The patient of each case; the cases themselves if unknown.
        definition: What was counted.
        known: Whether patients were given.
        path: The file that they are from.
    """

    cases: list[str]
    structures: list[str]
    counts: Array
    hits: Array
    sums: Array
    spacings: Array
    patients: list[str]
    definition: Mapping[str, Any] = field(default_factory=dict)
    known: bool = True
    path: Path = Path(CURVES_FILE)

    @property
    def voxel_ml(self) -> Array:
        """The volume of a voxel of each case, (N, 1)."""
        volumes: Array = self.spacings.prod(-1)[:, None] / MM3_PER_ML
        return volumes

    @property
    def volumes(self) -> Array:
        """The volume of each labeled structure in ml, (N, S)."""
        volumes: Array = self.hits[:, :, NO_THRESHOLD, NO_MARGIN] * self.voxel_ml
        return volumes

    @property
    def expected_volumes(self) -> Array:
        """The sum of the probabilities within each margin in ml, (N, S, M)."""
        volumes: Array = self.sums[:, :, NO_THRESHOLD] / _SCALE * self.voxel_ml[..., None]
        return volumes

    @property
    def dice(self) -> Array:
        """Dice of the predicted and the labeled structure, (N, S); 1 where both are empty."""
        both = self.hits[:, :, NO_THRESHOLD, 0]
        return _dice(both, self.predicted, self.hits[:, :, NO_THRESHOLD, NO_MARGIN], 1)

    @property
    def expected_dice(self) -> Array:
        r"""Dice as the probabilities within each margin expect it, (N, S, M).

        .. math:: 2 \sum_{\text{predicted}} p \,/\, (|\text{predicted}| + \sum_{d \le m} p)

        Where nothing is predicted, nothing is within a margin, and nothing can be expected: it is 0.
        """
        sums = self.sums[:, :, NO_THRESHOLD] / _SCALE
        return _dice(sums[..., :1], self.predicted[..., None], sums, 0)

    @property
    def predicted(self) -> Array:
        """The number of predicted voxels, (N, S)."""
        voxels: Array = self.counts[:, :, NO_THRESHOLD, 0]
        return voxels

    @property
    def predicted_volumes(self) -> Array:
        """The volume of each predicted structure in ml, (N, S)."""
        volumes: Array = self.predicted * self.voxel_ml
        return volumes

    def having(self, structure: int) -> Curves:
        """The cases whose labels have a structure."""
        rows = np.flatnonzero(self.volumes[:, structure])
        return self if len(rows) == len(self.cases) else self.taken(rows.tolist())

    def without(self, patient: str) -> Curves:
        """The cases of all other patients."""
        return self.chosen({*self.patients} - {patient})

    def chosen(self, patients: Collection[str]) -> Curves:
        """The cases of some patients."""
        return self.taken([k for k, name in enumerate(self.patients) if name in patients])

    def taken(self, rows: Sequence[int]) -> Curves:
        """Some of the cases, in this order."""
        arrays: dict[str, Any] = {name: getattr(self, name)[rows] for name in (*_SUMS, "spacings")}
        cases, patients = ([names[k] for k in rows] for names in (self.cases, self.patients))
        return replace(self, cases=cases, patients=patients, **arrays)

    def counted(self) -> dict[str, Any]:
        """The part of the definition in which joined curves must agree; file layouts may differ."""
        return alike_in(self.definition, self.known) | {"axes": self.spacings.shape[1]}

    def check_usable(self) -> None:
        """Refuses curves of which no promise can be made.

        Raises:
            InputError: If they are a part of others, or of patients who trained the network, or if no
                file can have the name of a case or a structure.
        """
        for name in (*self.cases, *self.structures):
            if fault := records.fault_of_name(name):
                raise InputError(f"{name!r}: {fault}; rename the case or the structure")
        check_shards([self])
        if self.definition["split"] == "train":
            raise InputError(
                f"{self.path}: is of the patients who trained the network, who cannot calibrate it; "
                "evaluate others: --cases_to_evaluate val"
            )

    def joined(self, rest: Sequence[Curves]) -> Curves:
        """The cases of these and other curves, by name, without an image.

        Raises:
            InputError: If one was counted otherwise; a case or a patient is in two of
                them, or only some know patients; or shards are not those of one division.
        """
        parts = [self, *rest]
        check_joined(parts, "make both with the same options, of predictions of one model")
        check_shards(parts)
        _check_apart(parts)
        merged: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in (*_SUMS, "spacings")
        }
        for kind in ("cases", "patients"):
            merged[kind] = [name for part in parts for name in getattr(part, kind)]
        definition = {**self.definition, "shard": None, **_known(parts)}
        if len({part.definition.get("prediction_name") for part in parts}) > 1:
            definition.pop("prediction_name", None)  # images are recognized without it
        whole = replace(self, **merged, definition=definition, path=Path(CURVES_FILE))
        return whole.taken(np.argsort(np.array(whole.cases), kind="stable").tolist())

    def write(self, file: str | Path) -> Path:
        """Writes a ``promise.npz``, whole or not at all; returns its path.

        Raises:
            InputError: If it cannot be written.
        """
        arrays = {name: getattr(self, name) for name in (*_SUMS, "spacings", "cases", "structures")}
        arrays |= {"patients": self.patients} if self.known else {}
        return write_sums(file, arrays, self.definition)


def joined_curves(
    cases: Sequence[str],
    curves: Sequence[Mapping[str, Array]],
    patients: Sequence[str],
    definition: Mapping[str, Any],
) -> Curves:
    """The curves of all cases as one object; without patients, each case is one.

    Args:
        cases: Names.
        curves: Of each case, from `curves_of_case`.
        patients: The patient of each; empty if unknown.
        definition: From `curves_definition`.
    """
    arrays: dict[str, Any] = {
        name: np.stack([curve[name] for curve in curves]) for name in curves[0]
    }
    return Curves(
        list(cases),
        list(definition["structures"]),
        **arrays,
        patients=list(patients) or list(cases),
        definition=definition,
        known=bool(patients),
    )


def _known(parts: Sequence[Curves]) -> dict[str, Any]:
    """How patients are known in all parts; where it differs, only a table can tell new ones."""
    keys = ("known_by", "patient_pattern")
    ways = {tuple(part.definition[key] for key in keys) for part in parts}
    return dict(zip(keys, ways.pop() if len(ways) == 1 else (records.BY_TABLE, None), strict=True))


def _check_apart(parts: Sequence[Curves]) -> None:
    for kind in ("cases", "patients"):
        names = [name for part in parts for name in dict.fromkeys(getattr(part, kind))]
        if (repeated := first_repeated(names)) is not None:
            raise InputError(
                f"{parts[0].path}: {repeated!r} of its {kind} is in another file, too; rename one if "
                "they are not the same"
            )
    seen: dict[bytes, str] = {}
    for part in parts:
        for k, case in enumerate(part.cases):
            sums = b"".join(getattr(part, name)[k].tobytes() for name in _SUMS)
            if part.predicted[k].any() and seen.setdefault(sums, case) != case:
                raise InputError(
                    f"{part.path}: {case!r} has the very sums of {seen[sums]!r}, so that one patient "
                    "would count twice; leave one of them out"
                )


def _dice(both: Array, size: Array, other: Array, of_nothing: float) -> Array:
    with np.errstate(invalid="ignore"):
        return np.where(size + other > 0, dice_of(both, size, other), of_nothing)


def curves_definition(
    channels: Mapping[str, Sequence[int]],
    structures: Mapping[str, Sequence[int]],
    activation: str,
    tool: str,
    calibrator: Sequence[str] = (),
    ignored: int | None = None,
    ensemble: Sequence[Any] = (),
    **identity: str | None,
) -> dict[str, Any]:
    """The definition of what is counted, as files keep it.

    Args:
        channels: Name of each channel → its values in label maps.
        structures: Name → channels.
        activation: "softmax" or "sigmoid".
        tool: Whose layout the predictions have.
        calibrator: Name and checksum of what the probabilities went through.
        ignored: The label of voxels that do not count.
        ensemble: What was averaged, and over how many members.
        **identity: The checksum of the network's ``weights``, the set of the ``split`` that the patients
            are of, the ``run``, the ``shard``, "k/n", and how patients are ``known_by``, perhaps by the
            ``patient_pattern``; None by default, if unknown.
    """
    return {
        "logits": list(_LOGITS),
        "margins": [*MARGINS[:-1], "all"],
        "channels": {name: list(map(int, values)) for name, values in channels.items()},
        "structures": {name: list(map(int, indices)) for name, indices in structures.items()},
        "activation": activation,
        "tool": tool,
        "calibrator": list(calibrator),
        "ignored": ignored,
        **({"ensemble": list(ensemble)} if ensemble else {}),
        **dict.fromkeys(records.IDENTITY),
        **identity,
    }


def read_curves(file: str | Path) -> Curves:
    """Reads a ``promise.npz``.

    Args:
        file: The file, or the folder that it is in.

    Raises:
        InputError: If it is missing, damaged or edited, or was counted by other thresholds.
    """
    path = Path(file)
    path = path / CURVES_FILE if path.is_dir() else path
    lengths = {"thresholds": len(THRESHOLDS), "margins": len(MARGINS)}
    held, definition = read_sums(path, _FORM, PROMISE_REMEDY, PROMISE_REMEDY, lambda _: lengths)
    faults = chain(_faults_of_names(held, definition), _faults_of_sums(held))
    if (fault := next(faults, None)) is not None:
        raise InputError(f"{path}: is not as it was written, {fault}; {PROMISE_REMEDY}")
    known = "patients" in held
    return Curves(
        **{"patients": held["cases"], **held}, definition=definition, known=known, path=path
    )


def _faults_of_names(held: Mapping[str, Any], definition: Mapping[str, Any]) -> Iterator[str]:
    """The faults in names and sizes, and in what was counted."""
    sizes = {"spacings": held["spacings"].tolist(), "definition": definition}
    if fault := records.fault_in({**held, **sizes}, _MAY_BE):
        yield fault
    if definition["logits"] != list(_LOGITS) or held["structures"] != list(
        definition["structures"]
    ):
        yield "its definition cannot be"
    if first_repeated(held["cases"]) is not None:
        yield "a case is there twice"


def _faults_of_sums(held: Mapping[str, Any]) -> Iterator[str]:
    """The faults of sums that no voxels give."""
    counts, hits, sums = (held[name] for name in _SUMS)
    for fault, where in curve_faults(THRESHOLDS, counts, hits, sums).items():
        if where.any():
            yield f"{fault}, in case {held['cases'][int(np.argwhere(where)[0][0])]!r}"
