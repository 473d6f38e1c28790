r"""Islands, the connected components of a structure: which are real, which are found, and their sums.

**The definition.** Voxels that share a face, an edge or a corner are connected (26 neighbors in three
dimensions, 8 in two). A predicted island is real if at least one of its voxels is labeled; a labeled one
is found if at least one of its voxels is predicted. Overlap is decided before islands that are smaller
than the minimum, in mm³, are left out on both sides. The score of a predicted island is the
largest probability in it, or what is fitted to it (`nacl_monai.posthoc.islands`); that of a labeled one
is the largest of the predicted islands that it meets, or 0 of a missed one: no score finds an island
without a predicted voxel.

``components.npz`` has a row for each island:

===================== =======================================================================
``case``              (I,) the position of its case
``structure``         that of its structure
``labeled``           whether it is a labeled one
``mm3``               its volume
``score``             see above
``hit``               whether it is real, or found
``cases`` (N,)        names; also of those without an island
``structures`` (S,)   names
``patients`` (N,)     optional: which cases belong together
``definition``        as of ``promise.npz``, with connectivity, overlap and minimum; as JSON
``checksum``          SHA-256 of all of the above
===================== =======================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy

from nacl_monai.errors import InputError
from nacl_monai.inference import records
from nacl_monai.inference.promised import Array
from nacl_monai.metrics.sums_file import (
    Entry,
    Form,
    alike_in,
    check_joined,
    check_shards,
    read_sums,
    write_sums,
)
from nacl_monai.words import first_repeated

#: The file of the rows.
COMPONENTS_FILE = "components.npz"
#: The columns of a row, as the file has them.
_ROWS = {
    "case": np.int64,
    "structure": np.int64,
    "labeled": np.bool_,
    "mm3": np.float64,
    "score": np.float64,
    "hit": np.bool_,
}
_FORM: Form = {
    **{name: Entry((name,)) for name in ("cases", "structures")},
    **{name: Entry(("islands",), kind) for name, kind in _ROWS.items()},
    "patients": Entry(("cases",), group="patients"),
}
_REMEDY = "make it again: nacl-monai audit PREDICTIONS LABELS --components"


def label_islands(mask: Array) -> tuple[Array, int]:
    """The number of its island at each voxel, 0 outside, and how many there are.

    Example:
        >>> label_islands(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]]))[1]
        2
    """
    numbers, count = scipy.ndimage.label(mask, np.ones((3,) * mask.ndim))
    return numbers, int(count)


def peaks_of(numbers: Array, count: int, probs: Array) -> Array:
    """The largest probability of each island, by the number of its island at each voxel."""
    peaks = np.zeros(count + 1)
    inside = numbers > 0
    np.maximum.at(peaks, numbers[inside], probs[inside])
    return peaks[1:].clip(0, 1)


def count_islands(
    predicted: Array,
    probs: Array,
    labeled: Array,
    voxel: float,
    least: float = 0.0,
    score: Callable[[Array, Array], Array] = lambda peaks, _: peaks,
) -> dict[str, Array]:
    """The predicted and the labeled islands of one structure of one case, a row each.

    Args:
        predicted: Where the structure is predicted, boolean.
        probs: Its probability.
        labeled: Where it is labeled, boolean.
        voxel: The volume of a voxel in mm³.
        least: The volume of the smallest island that counts, in mm³.
        score: From the largest probability and the volume of predicted islands; by default the former.

    Returns:
        The columns "labeled", "mm3", "score" and "hit".

    Example:
        >>> rows = count_islands(
        ...     np.array([[1, 1, 0, 1, 0, 0]]) > 0,
        ...     np.array([[0.6, 0.9, 0.1, 0.7, 0.1, 0.2]]),
        ...     np.array([[0, 1, 0, 0, 0, 1]]) > 0,
        ...     voxel=2.0,
        ... )
        >>> rows["mm3"].tolist(), rows["score"].tolist(), rows["hit"].tolist()
        ([4.0, 2.0, 2.0, 2.0], [0.9, 0.7, 0.9, 0.0], [True, False, True, False])
    """
    (found, count), (true, of_label) = label_islands(predicted), label_islands(labeled)
    both = np.unique(np.stack([found[predicted & labeled], true[predicted & labeled]]), axis=1)
    volumes = [np.bincount(numbers.ravel())[1:] * voxel for numbers in (found, true)]
    scores, best = score(peaks_of(found, count, probs), volumes[0]), np.zeros(of_label)
    np.maximum.at(best, both[1] - 1, scores[both[0] - 1])
    hits = [
        np.isin(np.arange(1, n + 1), met) for n, met in zip((count, of_label), both, strict=True)
    ]
    mm3 = np.concatenate(volumes)
    kept = mm3 >= least
    rows = {
        "labeled": np.arange(count + of_label) >= count,
        "mm3": mm3,
        "score": np.concatenate([scores, best]),
        "hit": np.concatenate(hits),
    }
    return {name: column[kept] for name, column in rows.items()}


@dataclass(frozen=True)
class Islands:
    """The islands of several cases.

    Attributes:
        rows: A row for each island, with the columns of the file.
        cases: Names.
        structures: Names.
        patients: The patient of each case; the cases themselves if unknown.
        definition: What was counted.
        known: Whether patients were given.
        path: The file that they are from.
    """

    rows: pd.DataFrame
    cases: list[str]
    structures: list[str]
    patients: list[str]
    definition: Mapping[str, Any] = field(default_factory=dict)
    known: bool = True
    path: Path = Path(COMPONENTS_FILE)

    @property
    def minimum(self) -> float:
        """The volume of the smallest island that counts, in mm³."""
        return float(self.definition["minimum_mm3"])

    @property
    def named(self) -> pd.DataFrame:
        """The rows with names, as ``components.csv`` has them."""
        case, structure = (self.rows[name].to_numpy() for name in ("case", "structure"))
        named: dict[str, Any] = {
            "case": np.array(self.cases)[case],
            "patient": np.array(self.patients)[case],
            "structure": np.array(self.structures)[structure],
            "kind": np.where(self.rows["labeled"], "labeled", "predicted"),
        }
        return pd.DataFrame(named).join(self.rows.drop(columns=["case", "structure", "labeled"]))

    def of(self, structure: str, *, labeled: bool) -> pd.DataFrame:
        """The predicted or the labeled islands of a structure."""
        rows = self.rows
        return rows[
            (rows["structure"] == self.structures.index(structure)) & (rows["labeled"] == labeled)
        ]

    def of_patients(self, chosen: Collection[str]) -> Islands:
        """The islands of some patients; all cases keep their positions."""
        kept = np.isin(self.patients, [*chosen])
        return replace(self, rows=self.rows[kept[self.rows["case"].to_numpy()]])

    def counted(self) -> dict[str, Any]:
        """The part of the definition in which joined islands must agree."""
        return alike_in(self.definition, self.known)

    def joined(self, rest: Sequence[Islands]) -> Islands:
        """These and other islands; the caller makes sure that no case is in two.

        Raises:
            InputError: If one was counted otherwise, or shards are not those of one division.
        """
        parts = [self, *rest]
        check_joined(parts, "make both with the same options, of predictions of one model")
        check_shards(parts)
        cases = [name for part in parts for name in part.cases]
        patients = [name for part in parts for name in part.patients]
        order = np.argsort(cases, kind="stable")
        places, starts = np.argsort(order), np.cumsum([0, *(len(part.cases) for part in parts)])
        rows = [
            part.rows.assign(case=places[part.rows["case"].to_numpy() + start])
            for part, start in zip(parts, starts, strict=False)
        ]
        return replace(
            self,
            rows=pd.concat(rows).sort_values("case", kind="stable", ignore_index=True),
            cases=[cases[k] for k in order],
            patients=[patients[k] for k in order],
            definition={**self.definition, "shard": None},
        )

    def write(self, file: Path) -> Path:
        """Writes a ``components.npz``, whole or not at all; returns its path.

        Raises:
            InputError: If it cannot be written.
        """
        arrays: dict[str, Any] = {
            name: self.rows[name].to_numpy(kind) for name, kind in _ROWS.items()
        }
        arrays |= {"cases": self.cases, "structures": self.structures}
        arrays |= {"patients": self.patients} if self.known else {}
        return write_sums(file, arrays, self.definition)


def joined_islands(
    cases: Sequence[str],
    counted: Sequence[Sequence[Mapping[str, Array]]],
    patients: Sequence[str],
    definition: Mapping[str, Any],
) -> Islands:
    """The islands of all cases as one object; without patients, each case is one.

    Args:
        cases: Names.
        counted: Of each case the rows of each structure, from `count_islands`.
        patients: The patient of each; empty if unknown.
        definition: As in the file.
    """
    tables = [
        pd.DataFrame({"case": case, "structure": structure, **rows})
        for case, of_case in enumerate(counted)
        for structure, rows in enumerate(of_case)
    ]
    whole = pd.concat(tables, ignore_index=True).astype(_ROWS)
    names = list(definition["structures"])
    return Islands(
        whole, [*cases], names, [*patients] or [*cases], definition, known=bool(patients)
    )


def read_islands(file: Path) -> Islands:
    """Reads a ``components.npz``.

    Raises:
        InputError: If it is missing, damaged or edited.
    """
    held, definition = read_sums(file, _FORM, _REMEDY, _REMEDY)
    if fault := _fault(held, definition):
        raise InputError(f"{file}: is not as it was written, {fault}; {_REMEDY}")
    rows = pd.DataFrame({name: held.pop(name) for name in _ROWS})
    known = "patients" in held
    named = {"patients": held["cases"], **held}
    return Islands(rows, **named, definition=definition, known=known, path=file)


def _fault(held: Mapping[str, Any], definition: Any) -> str:
    """The first fault of rows that no islands give; empty without one."""
    cases, structures = held["cases"], held["structures"]
    defined = records.definition_of_islands(definition)
    if not defined or [*definition["structures"]] != structures:
        return "its definition cannot be"
    if first_repeated(cases) is not None:
        return "a case is there twice"
    bounds: dict[str, tuple[float, float]] = {
        "case": (0, len(cases) - 1),
        "structure": (0, len(structures) - 1),
    }
    bounds |= {"mm3": (definition["minimum_mm3"], np.inf), "score": (0, 1)}
    within = [((held[n] >= low) & (held[n] <= high)).all() for n, (low, high) in bounds.items()]
    return "" if all(within) else "its rows cannot be"
