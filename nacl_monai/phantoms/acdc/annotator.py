"""The labels: exact, and as an expert draws them who misses the true boundary a little."""

from __future__ import annotations

import numpy as np

from nacl_monai.phantoms.acdc.contours import find_boundaries
from nacl_monai.phantoms.acdc.heart import Heart
from nacl_monai.phantoms.acdc.patient import Patient
from nacl_monai.phantoms.acdc.sampling import move_into_heart, positions
from nacl_monai.phantoms.acquisition import smooth_noise
from nacl_monai.phantoms.shapes import Array

BACKGROUND, RIGHT_VENTRICLE, MYOCARDIUM, LEFT_VENTRICLE = 0, 1, 2, 3
ANNOTATOR_ERROR = 0.8  # standard deviation along each axis of the plane, in voxels
SMOOTHNESS = 5  # over how many voxels it is smooth
# The same of an error in mm, in its own size: with much less, a border that is off winds and is longer.
SMOOTHNESS_OF_ERROR = 5
FRAME_ERROR = 2.0  # that of the shift along z, in mm


def label_points(heart: Heart, contraction: float, x: Array, y: Array, z: Array) -> Array:
    """Label of each point by ACDC's convention; arguments as for `find_boundaries`."""
    at = find_boundaries(heart, contraction, x, y, z)
    below_valves = (at.height >= 0) & (at.height < 1)
    ventricle = (at.radius < at.epi) & below_valves
    right = (at.right < 1) & (at.radius >= at.epi) & (at.height >= heart.right_base)
    out = np.full(at.radius.shape, BACKGROUND, np.uint8)
    out[right] = RIGHT_VENTRICLE
    out[ventricle] = MYOCARDIUM
    out[ventricle & (at.radius < at.endo)] = LEFT_VENTRICLE
    return out


def exact_labels(patient: Patient, contraction: float) -> Array:
    """Labels at the voxels' centers, without an annotator's error."""
    x, y, z = positions(patient)
    return label_points(patient.heart, contraction, *move_into_heart(patient, x, y), z)


def annotate(
    rng: np.random.Generator,
    patient: Patient,
    contraction: float,
    error: float | None = None,
    frame_error: float = FRAME_ERROR,
) -> Array:
    """Labels as an annotator draws them, who deviates smoothly and anew in each slice.

    The error displaces the points at which the anatomy is looked up, so the order of the structures
    stays: muscle still separates the two cavities. Along z it is one shift of the whole frame: the
    annotator's choice of the most basal slice.

    Two annotators without a shift are, across a border, normally distributed about each other with a
    standard deviation of √2 times the error.

    Args:
        rng: Random stream of the annotator.
        patient: Whose heart it is.
        contraction: 0 at end diastole, 1 at end systole.
        error: Standard deviation along each axis of the plane, in mm, smooth over five times as much;
            by default 0.8 voxels, smooth over 5.
        frame_error: Standard deviation of the shift along z, in mm.
    """
    x, y, z = positions(patient)
    x, y = move_into_heart(patient, x, y)
    size, width = ANNOTATOR_ERROR * patient.spacing[0], float(SMOOTHNESS)
    if error is not None:
        size, width = error, SMOOTHNESS_OF_ERROR * error / patient.spacing[0]
    dx, dy = (size * smooth_noise(rng, patient.shape, (width, width, 0)) for _ in range(2))
    dz = np.float32(rng.normal(0, frame_error))
    return label_points(patient.heart, contraction, x + dx, y + dy, z + dz)
