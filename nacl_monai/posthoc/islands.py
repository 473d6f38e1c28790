r"""The probability that a predicted island is real, from its largest probability and its size.

Calibrated voxels are not calibrated islands: the largest probability of many voxels is chosen for being
large. Of an island with the largest probability :math:`p` and the volume :math:`v` in mm³,

.. math:: P(\text{real}) = f + (1 - f)\, \sigma(a + b \operatorname{logit} p + c \ln v),

with four numbers for each structure. The floor :math:`f`, at most one half, is the share of the smallest
and least sure islands that touch a labeled voxel all the same. They are the most probable numbers, given
all predicted islands, where intercept and slopes (of standardized features) and
:math:`\operatorname{logit} 2f + 4` are normal with a variance of 10, so that islands of one kind
alone, or kinds that a line divides, lead to no infinite number. ``islands.json`` keeps them, and
whose islands they were fitted to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy
from scipy.special import expit, logit

from nacl_monai.files import read_checked, write_text
from nacl_monai.inference import records
from nacl_monai.metrics.islands import Islands
from nacl_monai.tensors import Floats

#: The file of the fit.
ISLANDS_FILE = "islands.json"
_REMEDY = "write it anew: nacl-monai calibrate PREDICTIONS LABELS --components"
_CLIP = 1e-6  # a probability of 1 has no logit
_VARIANCE = 10.0
_LEAST_SPREAD, _TINY = 1e-9, 1e-12
#: What ``islands.json`` holds.
ISLANDS: dict[str, records.Condition] = {
    "numbers": records.mapped(
        records.each(records.number(), 4, 4).where(lambda value: 0 <= value[3] <= 1 / 2)
    ),
    "islands": records.mapped(records.each(records.whole(), 2, 2)),
    "definition": records.definition_of_islands,
    "patients": records.each(records.text, 1),
    "cases": records.each(records.name, 1),
    "known_by": records.any_of(*records.WAYS),
    "patient_pattern": records.maybe(records.pattern),
    records.CHECKSUM: records.text,
}


def features(score: npt.ArrayLike, mm3: npt.ArrayLike) -> Floats:
    """1, the logit of the largest probability, and the logarithm of the volume, (n, 3)."""
    score, mm3 = np.asarray(score, float), np.asarray(mm3, float)
    clipped = score.clip(_CLIP, 1 - _CLIP)
    return np.stack([np.ones_like(score), logit(clipped), np.log(mm3)], axis=-1)


def fit_real(score: npt.ArrayLike, mm3: npt.ArrayLike, real: npt.ArrayLike) -> Floats:
    """The numbers a, b, c and f; "one half" where there is no island.

    Args:
        score: The largest probability of each island.
        mm3: Its volume.
        real: Whether it is real.

    Example:
        >>> a, b, c, f = fit_real([0.6, 0.7, 0.9, 0.99], [8] * 4, [False, False, True, True])
        >>> bool(b > 0), bool(c == 0), round(float(f), 2)
        (True, True, 0.01)
    """
    real = np.asarray(real, bool)
    if not len(real):
        return np.zeros(4)
    plain = features(score, mm3)
    mean, spread = plain[:, 1:].mean(0), plain[:, 1:].std(0)
    spread = np.where(spread > _LEAST_SPREAD, spread, np.inf)
    x = np.concatenate([plain[:, :1], (plain[:, 1:] - mean) / spread], 1)

    def loss(beta: Floats) -> float:
        found = _probability(x, beta[:3], expit(beta[3]) / 2)
        prior = (beta[:3] ** 2).sum() + (beta[3] + 4) ** 2
        return float(prior / (2 * _VARIANCE) - np.log(np.where(real, found, 1 - found)).sum())

    beta = scipy.optimize.minimize(loss, [0.0, 1.0, 1.0, -4.0], method="BFGS").x
    slopes = beta[1:3] / spread
    return np.array([beta[0] - slopes @ mean, *slopes, expit(beta[3]) / 2])


def _probability(x: Floats, beta: Floats, floor: float) -> Floats:
    found: Floats = floor + (1 - floor) * expit(x @ beta)
    return found.clip(_TINY, 1 - _TINY)


@dataclass(frozen=True)
class RealIslands:
    """The fit to the islands of each structure, and the patients whose islands they were.

    Attributes:
        numbers: Structure → a, b, c and f.
        islands: Structure → how many islands were predicted, and how many of them are real.
        definition: As in ``components.npz``.
        patients: Whose islands they are.
        cases: Their cases.
        known_by: How patients were known, as in ``calibrator.json``.
        patient_pattern: The regular expression that told them, if one did.
    """

    numbers: Mapping[str, Sequence[float]]
    islands: Mapping[str, Sequence[int]]
    definition: Mapping[str, Any]
    patients: Sequence[str]
    cases: Sequence[str]
    known_by: str
    patient_pattern: str | None = None

    @classmethod
    def fitted(cls, islands: Islands) -> RealIslands:
        """The fit to all islands."""
        numbers, counts = {}, {}
        for name in islands.structures:
            rows = islands.of(name, labeled=False)
            counts[name] = [len(rows), int(rows["hit"].sum())]
            numbers[name] = fit_real(rows["score"], rows["mm3"], rows["hit"]).tolist()
        definition = islands.definition
        how = definition["known_by"], definition["patient_pattern"]
        people = sorted({*islands.patients})
        return cls(numbers, counts, definition, people, islands.cases, *how)

    def probability(self, structure: str, score: npt.ArrayLike, mm3: npt.ArrayLike) -> Floats:
        """P(real) of islands of a structure, by their largest probabilities and volumes."""
        *beta, floor = self.numbers[structure]
        return _probability(features(score, mm3), np.array(beta), floor)

    def write(self, file: Path) -> Path:
        """Writes ``islands.json``; returns its path.

        Raises:
            InputError: If it cannot be written.
        """
        return write_text(file, records.sealed_text(asdict(self), indent=1, allow_nan=False))


def real_file(path: Path) -> Path:
    """The ``islands.json`` that a path is, or that is in it."""
    return path / ISLANDS_FILE if path.is_dir() else path


def read_real(file: Path) -> RealIslands:
    """Reads an ``islands.json``.

    Args:
        file: The file, or the folder that it is in.

    Raises:
        InputError: If it is missing, damaged or edited.
    """
    give = f"give the {ISLANDS_FILE} of calibrate --components"
    record = read_checked(real_file(file), _fault_in, _REMEDY, give)
    known = [entry.name for entry in fields(RealIslands) if entry.name in record]
    return RealIslands(**{name: record[name] for name in known})


def _fault_in(record: Mapping[str, Any]) -> str:
    """`nacl_monai.inference.records.fault_in` for ``islands.json``."""
    if fault := records.fault_in(record, ISLANDS):
        return fault
    structures = record["definition"]["structures"].keys()
    alike = record["numbers"].keys() == record["islands"].keys() == structures
    return "" if alike else "its structures differ"
