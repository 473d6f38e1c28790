"""A contrast-enhanced abdomen: organs, vessels, bowel, spine, ribs, muscle and fat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nacl_monai.phantoms.shapes import (
    Array,
    Waves,
    cylinder,
    draw_field,
    draw_turn,
    draw_warp,
    ellipsoid,
    mirrored,
    tube,
)

AIR, FAT, MUSCLE, BONE, MARROW, LUNG, VESSEL, BOWEL, GAS, STOMACH, GALL = range(10, 21)
LIVER, KIDNEY, SPLEEN, PANCREAS = 1, 2, 3, 4  # FLARE's labels

HOUNSFIELD: Mapping[int, float] = {
    AIR: -1000, FAT: -100, MUSCLE: 55, BONE: 600, MARROW: 180, LUNG: -830, VESSEL: 170,
    BOWEL: 35, GAS: -850, STOMACH: 15, GALL: 5,
    LIVER: 110, KIDNEY: 185, SPLEEN: 128, PANCREAS: 88,
}  # fmt: skip


@dataclass(frozen=True)
class Torso:
    """One person's abdomen.

    Attributes:
        warp: How the outline and the organs deviate from the typical ones.
        gut: Random field; bowel is where it is high, and gas where it is highest.
        fat: Thickness of the fat below the skin.
        dome: Height of the diaphragm's top.
        kidney_turn: Rotation of the right kidney; the left one mirrors it.
    """

    warp: Waves
    gut: Waves
    fat: float
    dome: float
    kidney_turn: Array

    def tissues(self, points: Array) -> Array:
        """The tissue at each position."""
        points = points + self.warp(points)
        right, ahead, up = points
        skin = cylinder(points, (0, 0), (0.90, 0.64))
        wall = cylinder(points, (0, 0), (0.90 - self.fat, 0.64 - self.fat))
        inner = cylinder(points, (0, 0.02), (0.82 - self.fat, 0.55 - self.fat))

        out = np.full(right.shape, AIR, np.uint8)
        out[skin < 1] = FAT
        out[wall < 1] = MUSCLE
        ribs = np.cos(17 * np.arctan2(ahead, np.abs(right)) + 14 * up) > 0.3
        out[(wall < 0.96) & (inner > 1.02) & ribs & (up > -0.3)] = BONE
        inside = inner < 1
        out[inside] = FAT
        gut = self.gut(points)
        belly = inside & (ahead > -0.12) & (inner < 0.94)
        out[belly & (gut > -0.2)] = BOWEL
        out[belly & (gut > 1.3) & (ahead > 0.1)] = GAS
        stomach = self.stomach(points)
        out[(stomach < 1) & inside] = STOMACH
        out[(stomach < 0.9) & inside & (ahead > 0.26)] = GAS
        out[(ellipsoid(points, (0.22, 0.24, 0.06), (0.07, 0.10, 0.14)) < 1) & inside] = GALL

        lung = up - self.dome + 1.2 * (right**2 - 0.7 * np.abs(right)) + 0.5 * ahead**2
        organs = (
            (LIVER, self.liver(points)),
            (SPLEEN, ellipsoid(points, (-0.56, -0.16, 0.36), (0.17, 0.28, 0.36))),
            (PANCREAS, self.pancreas(points)),
        )
        for organ, level in organs:
            out[(level < 1) & inside] = organ
        out[inside & (lung > 0) & (inner < 0.99)] = LUNG

        pair = mirrored(points)
        out[cylinder(pair, (0.22, -0.36), (0.12, 0.12)) < 1] = MUSCLE  # psoas
        out[cylinder(pair, (0.15, -0.50), (0.15, 0.07)) < 1] = MUSCLE  # erector spinae
        out[cylinder(points, (0, -0.50), (0.04, 0.09)) < 1] = BONE
        spine = cylinder(points, (0, -0.34), (0.13, 0.12))
        out[spine < 1] = BONE
        out[spine < 0.8] = MARROW
        out[(spine < 1) & (np.cos(16 * up) > 0.75)] = MUSCLE  # discs
        out[cylinder(points, (-0.04, -0.17), (0.06, 0.06)) < 1] = VESSEL  # aorta
        out[cylinder(points, (0.12, -0.17), (0.07, 0.05)) < 1] = VESSEL  # vena cava
        kidney, sinus = self.kidney(points)
        out[kidney < 1] = KIDNEY
        out[(kidney < 1) & (sinus < 1)] = FAT
        return out

    def liver(self, points: Array) -> Array:
        """Level of the liver: a large right lobe, and a left one that tapers across the midline."""
        right = ellipsoid(points, (0.42, 0.0, 0.32), (0.36, 0.42, 0.56))
        left = tube(points, [(0.3, 0.2, 0.42), (-0.22, 0.28, 0.48)], [0.24, 0.1])
        return np.minimum(right, left)

    def stomach(self, points: Array) -> Array:
        """Level of the stomach."""
        path = [(-0.38, 0.02, 0.55), (-0.34, 0.24, 0.25), (-0.05, 0.3, 0.08)]
        return tube(points, path, [0.2, 0.16, 0.09])

    def pancreas(self, points: Array) -> Array:
        """Level of the pancreas, from its head beside the duodenum to its tail at the spleen."""
        path = [(0.18, 0.04, -0.12), (0.10, 0.08, 0.06), (-0.08, 0.06, 0.12), (-0.4, -0.1, 0.24)]
        return tube(points, path, [0.09, 0.09, 0.07, 0.06])

    def kidney(self, points: Array) -> tuple[Array, Array]:
        """Levels of both kidneys and of their sinuses, the left one a little higher."""
        pair = mirrored(points)
        pair[2] += np.where(points[0] > 0, 0.04, -0.04)
        shape = ellipsoid(pair, (0.38, -0.26, -0.14), (0.13, 0.17, 0.40), self.kidney_turn)
        return shape, ellipsoid(pair, (0.28, -0.21, -0.14), (0.09, 0.08, 0.16))


def draw_torso(rng: np.random.Generator) -> Torso:
    """Draws an abdomen."""
    return Torso(
        warp=draw_warp(rng, deviation=0.025, wavelength=0.9),
        gut=draw_field(rng, deviation=1.0, wavelength=0.3, waves=14),
        fat=float(rng.uniform(0.03, 0.12)),
        dome=float(rng.uniform(0.75, 0.95)),
        kidney_turn=draw_turn(rng, 6),
    )
