"""A head: cortex, white matter, deep nuclei, ventricles, cerebellum, brain stem, skull and scalp.

Tissues carry the labels of MRBrainS18, with further numbers for what is outside the brain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np

from nacl_monai.phantoms.shapes import (
    Array,
    Waves,
    column,
    draw_field,
    draw_warp,
    ellipsoid,
    length,
    mirrored,
    tube,
)

OUTSIDE, CORTEX, BASAL_GANGLIA, WHITE_MATTER = 0, 1, 2, 3
FLUID, VENTRICLE, CEREBELLUM, BRAIN_STEM = 5, 6, 7, 8
SKULL, SCALP = 11, 12

# Signals relative to white matter in T1. FLAIR nulls fluid; IR is inversion recovery.
SIGNALS: Mapping[str, Mapping[int, float]] = {
    "t1": {
        CORTEX: 0.72, BASAL_GANGLIA: 0.80, WHITE_MATTER: 1.0, FLUID: 0.28, VENTRICLE: 0.25,
        CEREBELLUM: 0.82, BRAIN_STEM: 0.95, SKULL: 0.15, SCALP: 1.25,
    },
    "t2": {
        CORTEX: 0.80, BASAL_GANGLIA: 0.68, WHITE_MATTER: 0.55, FLUID: 1.60, VENTRICLE: 1.75,
        CEREBELLUM: 0.72, BRAIN_STEM: 0.60, SKULL: 0.10, SCALP: 0.80,
    },
    "flair": {
        CORTEX: 0.82, BASAL_GANGLIA: 0.74, WHITE_MATTER: 0.62, FLUID: 0.28, VENTRICLE: 0.18,
        CEREBELLUM: 0.72, BRAIN_STEM: 0.64, SKULL: 0.12, SCALP: 0.90,
    },
    "ir": {
        CORTEX: 0.42, BASAL_GANGLIA: 0.60, WHITE_MATTER: 1.0, FLUID: 0.18, VENTRICLE: 0.15,
        CEREBELLUM: 0.62, BRAIN_STEM: 0.92, SKULL: 0.10, SCALP: 0.70,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Head:
    """One person's head.

    Attributes:
        warp: How this head deviates from the typical one.
        folds: Random field of the direction from the brain's center; sulci run where it is zero.
        sulci: Depth of the sulci below the brain's surface.
        cortex: Thickness of the cortex.
        ventricles: Size of the ventricles relative to typical ones.
    """

    warp: Waves
    folds: Waves
    sulci: float
    cortex: float
    ventricles: float

    def tissues(self, points: Array) -> Array:
        """The tissue at each position."""
        points = points + self.warp(points)
        pair = mirrored(points)
        # Depths below the surfaces, about as long as distances; in a union the greatest counts.
        cerebrum = np.maximum(
            0.68 * (1 - ellipsoid(points, (0, 0, 0.12), (0.62, 0.76, 0.74))),
            0.28 * (1 - ellipsoid(pair, (0.30, 0.16, -0.36), (0.25, 0.42, 0.34))),  # temporal
        )
        cerebellum = 0.30 * (1 - ellipsoid(pair, (0.16, -0.40, -0.48), (0.34, 0.30, 0.30)))
        path = [(0, 0.0, -0.1), (0, -0.06, -0.45), (0, -0.18, -0.8)]
        stem = 0.13 * (1 - tube(points, path, [0.12, 0.16, 0.1]))
        brain = reduce(np.maximum, (cerebrum, cerebellum, stem))

        out = np.full(brain.shape, OUTSIDE, np.uint8)
        out[brain > -0.18] = SCALP
        out[brain > -0.11] = SKULL
        out[brain > -0.025] = FLUID
        out = np.where(cerebrum > 0, self._cerebrum(points, pair, cerebrum), out)
        out[(np.maximum(cerebellum, stem) > -0.02) & (points[2] < -0.2)] = FLUID
        out[(cerebellum > 0) & (points[2] < -0.2)] = CEREBELLUM
        out[(stem > 0) & (points[2] < -0.15)] = BRAIN_STEM
        return out

    def _cerebrum(self, points: Array, pair: Array, depth: Array) -> Array:
        """Tissues of the cerebrum, by depth below its surface and by the deep structures."""
        away = points - column((0, 0, 0.12))
        fold = self.folds(away / np.maximum(length(away), 0.1))
        deep = ellipsoid(points, (0, 0.0, 0.0), (0.3, 0.42, 0.36))
        midline = pair[0] + 0.6 * np.clip(1 - deep, 0, None)
        depth = np.minimum(depth, midline)
        fluid = 0.012 + self.sulci * np.exp(-((fold / 0.16) ** 2))
        gray = self.cortex + self.sulci * 1.1 * np.exp(-((fold / 0.55) ** 2))

        out = np.full(depth.shape, WHITE_MATTER, np.uint8)
        out[depth < gray] = CORTEX
        out[depth < fluid] = FLUID
        for center, radii in (
            ((0.13, 0.24, 0.06), (0.07, 0.15, 0.18)),  # caudate nucleus
            ((0.27, 0.08, -0.04), (0.09, 0.21, 0.17)),  # putamen and pallidum
            ((0.11, -0.12, 0.00), (0.10, 0.16, 0.17)),  # thalamus
        ):
            out[ellipsoid(pair, center, radii) < 1] = BASAL_GANGLIA
        lateral = tube(
            pair,
            [(0.09, 0.34, 0.02), (0.07, 0.10, 0.20), (0.12, -0.22, 0.16), (0.24, -0.46, 0.02)],
            [0.055, 0.060, 0.075, 0.04],
        )
        third = ellipsoid(points, (0, -0.02, -0.08), (0.025, 0.2, 0.16))
        out[np.minimum(lateral, third) < self.ventricles] = VENTRICLE
        return out


def draw_head(rng: np.random.Generator) -> Head:
    """Draws a head."""
    return Head(
        warp=draw_warp(rng, deviation=0.022, wavelength=1.2),
        folds=draw_field(rng, deviation=1.0, wavelength=0.62, waves=14),
        sulci=float(rng.uniform(0.07, 0.12)),
        cortex=float(rng.uniform(0.05, 0.06)),
        ventricles=float(rng.uniform(0.8, 1.5)),
    )
