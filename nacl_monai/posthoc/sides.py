r"""What a calibrator leaves on each side of the predicted border.

In the voxels at most :data:`WITHIN` from the nearest change of the predicted label, on one side of it,
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
from scipy.stats import ttest_1samp

from nacl_monai.posthoc.fit import Fit
from nacl_monai.posthoc.voxels import RegionLogits, StructureLogits

#: In mm, or in voxels of unknown size.
WITHIN = 3.0
#: Of fewer patients nothing is said.
FEWEST = 5
#: A difference that is larger so seldom by chance is told.
CHANCE = 0.01


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
        return len(inside) >= FEWEST and bool(ttest_1samp(inside - outside, 0).pvalue < CHANCE)

    @property
    def text(self) -> str:
        """What is said and what is right on each side, in one line.

        Example:
            >>> Sides(np.array([[0.91, 0.92]]), np.array([[0.58, 0.94]]), "mm").text[42:]
            'says 91.0% and is right in 58.0%, outside 92.0% and 94.0%'
        """
        (inside, outside), (true_inside, true_outside) = (
            self.confidence.mean(0),
            self.accuracy.mean(0),
        )
        return (
            f"Up to {WITHIN:g} {self.unit} inside the predicted border it says {inside:.1%} and is "
            f"right in {true_inside:.1%}, outside {outside:.1%} and {true_outside:.1%}"
        )


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
    rows = []
    for patients, fit in folds:
        if not fit.sees_distance:
            return None
        names = {*voxels.patients}
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
    problems = voxels.problems if isinstance(voxels, StructureLogits) else [voxels]
    curves = module.temperatures.reshape(len(problems), -1)
    sums = torch.zeros(3, 2, dtype=torch.float64)
    for problem, curve in zip(problems, curves, strict=True):
        for volume in problem:
            for (logits, labels), distances in volume.blocks_with_distances():
                near, predicted = distances <= WITHIN, logits.argmax(0)
                places = module.signed(distances, predicted > 0)
                confidence = module.divided(logits, places, curve).softmax(0).amax(0)
                values = torch.stack(
                    [torch.ones_like(confidence), confidence, (predicted == labels).double()]
                )
                sides = torch.stack([near & (predicted > 0), near & (predicted == 0)], 1)
                sums += values @ sides.double()
    return sums.numpy()
