"""A patient: heart, chest, and the geometry of the scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from nacl_monai.phantoms.acdc.heart import GROUPS, Heart, draw_heart
from nacl_monai.phantoms.shapes import Array

FRAMES = (1, 2, 3)  # of the cine; the real ones have about thirty


@dataclass(frozen=True)
class Chest:
    """What surrounds the heart: offsets and signals that vary between patients."""

    shift: tuple[float, float]
    diaphragm: float
    liver: float
    stomach: float
    aorta: tuple[float, float]


@dataclass(frozen=True)
class Patient:
    """Everything about a patient but the noise and the annotator's error."""

    number: int
    group: str
    stature: float
    weight: float
    ed_frame: int
    es_frame: int
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    first_slice: float
    breath_holds: Array
    affine: Array
    heart: Heart
    chest: Chest

    @property
    def name(self) -> str:
        """The official folder name."""
        return f"patient{self.number:03d}"

    @property
    def phases(self) -> dict[int, float]:
        """Contraction of each annotated frame: 0 at end diastole, 1 at end systole."""
        return {self.ed_frame: 0.0, self.es_frame: 1.0}

    @property
    def other_frame(self) -> int:
        """The cine's frame that nobody annotates."""
        return (set(FRAMES) - self.phases.keys()).pop()


def draw_patient(rng: np.random.Generator, number: int) -> Patient:
    """Draws a patient's body and the geometry of the scan."""
    group = list(GROUPS)[(number - 1) % len(GROUPS)]
    heart = draw_heart(rng, GROUPS[group])
    in_plane = float(np.round(rng.uniform(1.37, 1.9), 4))
    thickness = float(rng.choice([10.0, 8.0, 7.0], p=[0.75, 0.15, 0.10]))
    first_slice = float(rng.uniform(-0.6, 0.4) * thickness)
    slices = int(np.clip(np.ceil((heart.length - first_slice) / thickness), 6, 10))
    # A fine matrix comes with a small voxel, as a scanner's field of view is limited both ways.
    rows, columns = np.clip(np.round(rng.uniform(195, 212, size=2) / in_plane), 110, 140)
    shape = (int(rows), int(columns), slices)
    spacing = (in_plane, in_plane, thickness)
    ed_frame, es_frame = ((1, 2), (1, 3), (2, 3))[rng.integers(3)]
    return Patient(
        number=number,
        group=group,
        stature=float(np.round(rng.normal(171, 9))),
        weight=float(np.round(rng.normal(76, 13))),
        ed_frame=ed_frame,
        es_frame=es_frame,
        shape=shape,
        spacing=spacing,
        first_slice=first_slice,
        breath_holds=rng.normal(0, 0.8, size=(2, slices)),
        affine=short_axis_affine(rng, shape, spacing),
        heart=heart,
        chest=Chest(
            shift=(float(rng.normal(0, 5)), float(rng.normal(0, 4))),
            diaphragm=float(rng.normal(34, 4)),
            liver=float(rng.uniform(0.34, 0.46)),
            stomach=float(rng.uniform(0.25, 0.6)),
            aorta=(float(rng.normal(60, 5)), float(rng.normal(48, 5))),
        ),
    )


def short_axis_affine(
    rng: np.random.Generator, shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> Array:
    """Oblique voxel-to-world matrix (RAS+) of a short-axis stack, a little different each time.

    The heart's axis points left, forward and down; the image's right is the patient's left and
    back, so that the right ventricle appears on the left, as cardiologists look at it.
    """
    to_apex = np.array([-0.66, 0.57, -0.49])
    down = np.array([0.0, -0.50, -0.85])
    to_apex /= np.linalg.norm(to_apex)
    down -= to_apex * (down @ to_apex)
    down /= np.linalg.norm(down)
    axes = np.stack([np.cross(to_apex, down), down, to_apex], axis=1)
    turned = Rotation.from_rotvec(np.deg2rad(rng.normal(0, 6, size=3))).as_matrix() @ axes
    affine = np.eye(4)
    affine[:3, :3] = turned * spacing
    heart_in_world = np.array([-25.0, 15.0, 10.0]) + rng.normal(0, 12, size=3)
    affine[:3, 3] = heart_in_world - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    # NIfTI stores single precision: rounding here makes the matrix in memory the one on disk.
    return affine.astype(np.float32).astype(np.float64)
