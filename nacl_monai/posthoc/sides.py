r"""What a calibrator leaves on each side of the predicted border.

In the voxels at most :data:`SIDE_WIDTH` from the nearest change of the predicted label, on one side,
each patient has the mean probability :math:`s` of the predicted class, which is what the model says, and
the share :math:`r` in which this class is right. Where probabilities are true, or both sides err alike,

.. math::

    (s - r)_{\mathrm{inside}} - (s - r)_{\mathrm{outside}}

has the mean 0 over patients, so that a t test asks for it. A curve by distance alone serves both sides;
where they differ, `signed_distance` has a curve for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import stdtr

from nacl_monai.posthoc.fit import Fit, blocks_by_distance, fit_method
from nacl_monai.posthoc.voxels import RegionLogits, StructureLogits
from nacl_monai.progress import progress_bar
from nacl_monai.tensors import top1

#: In mm, or in voxels of unknown size.
SIDE_WIDTH = 3.0
#: Of fewer patients nothing is said.
FEWEST = 5
#: A difference that is larger so seldom by chance is told.
CHANCE = 0.01


def beyond_chance(of_patients: npt.ArrayLike) -> bool:
    """Whether the mean over patients is so far from 0 that chance does it in less than 1 of 100.

    By a t test, of at least `FEWEST` patients.

    Args:
        of_patients: A number of each patient.

    Example:
        >>> beyond_chance([0.1, 0.2, 0.1, 0.2, 0.1]), beyond_chance([0.1, 0.2, 0.1, 0.2])
        (True, False)
    """
    values = np.asarray(of_patients, dtype=np.float64)
    if len(values) < FEWEST:
        return False
    with np.errstate(divide="ignore", invalid="ignore"):  # all may be alike
        distance = abs(values.mean()) / (values.std(ddof=1) / np.sqrt(len(values)))
    return bool(2 * stdtr(len(values) - 1, -distance) < CHANCE)


@dataclass(frozen=True)
class Sides:
    """What is said and what is right inside and outside of what is predicted, patient by patient.

    Attributes:
        confidence: Mean probability of the predicted class, ``(patients, 2)``: inside, outside.
        accuracy: Share of the voxels in which it is the label.
        unit: Of distances, "mm" or "voxels".
    """

    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]
    unit: str

    @property
    def differ(self) -> bool:
        """Whether the errors of both sides differ by more than chance, by a t test over patients."""
        inside, outside = (self.confidence - self.accuracy).T
        return beyond_chance(inside - outside)

    @property
    def text(self) -> str:
        """What is said and what is right on each side, in one line.

        Example:
            >>> Sides(np.array([[0.91, 0.92]]), np.array([[0.58, 0.94]]), "mm").text[42:]
            'says 91.0% and is right in 58.0%, outside 92.0% and 94.0%'
        """
        inside, outside = self.confidence.mean(0)
        true_inside, true_outside = self.accuracy.mean(0)
        return (
            f"Up to {SIDE_WIDTH:g} {self.unit} inside the predicted border it says {inside:.1%} and is "
            f"right in {true_inside:.1%}, outside {outside:.1%} and {true_outside:.1%}"
        )

    def sentence(self, fit: Fit | None) -> str:
        """The text, with what to try where the sides differ and a fit has one curve for both."""
        if not self.differ:
            return f"{self.text}."
        tried = fit is not None and fit.parameters["knots"][0] < 0
        advised = "" if tried else "; compare --method signed_distance"
        return f"{self.text}: the sides differ by more than chance{advised}."


def fits_to_others(
    fit: Fit, voxels: RegionLogits | StructureLogits, patients: Iterable[str], folds: int = 5
) -> list[tuple[list[str], Fit]]:
    """The patients in parts, drawn once and for all, each with what is fitted to all others.

    Args:
        fit: To all, which the others begin at.
        voxels: Of all.
        patients: At least two.
        folds: As many at most as there are patients.
    """
    drawn = np.random.default_rng(0).permutation(sorted({*patients})).tolist()
    several = [drawn[fold::folds] for fold in range(min(folds, len(drawn)))]
    return [
        (part, fit_method(fit.method, voxels.without(part), fit))
        for part in progress_bar(several, description="Fitting", unit="fold")
    ]


def error_by_side(
    folds: Iterable[tuple[Sequence[str], Fit]], voxels: RegionLogits | StructureLogits
) -> Sides | None:
    """What curves by distance leave on both sides of the border in patients whom they have not seen.

    Args:
        folds: Patients, and what was fitted to others.
        voxels: The voxels of all.

    Returns:
        One row for each patient who has voxels on both sides; None if a fit sees no distance, if nobody
        has, or without folds.
    """
    rows, names = [], {*voxels.patients}
    for patients, fit in folds:
        if not fit.sees_distance:
            return None
        rows += [_sums(voxels.without(names - {patient}), fit.module) for patient in patients]
    if not rows:
        return None
    counts, confidence, accuracy = np.stack(rows, 1)
    both = (counts > 0).all(1)
    if not both.any():
        return None
    unit = (voxels.problems[0] if isinstance(voxels, StructureLogits) else voxels).unit
    return Sides(confidence[both] / counts[both], accuracy[both] / counts[both], unit)


def _sums(voxels: RegionLogits | StructureLogits, module: Any) -> npt.NDArray[np.float64]:
    """Voxels, sums of probabilities, and right ones, each inside and outside, ``(3, 2)``."""
    sums = torch.zeros(3, 2, dtype=torch.float64)
    for logits, after, labels, distances, _ in blocks_by_distance(voxels, module):
        near, predicted = distances <= SIDE_WIDTH, top1(logits, 0)[1]
        confidence, right = after.softmax(0).amax(0), (predicted == labels).double()
        values = torch.stack([torch.ones_like(confidence), confidence, right])
        sides = torch.stack([near & (predicted > 0), near & (predicted == 0)], 1)
        sums += values @ sides.double()
    return sums.numpy()
