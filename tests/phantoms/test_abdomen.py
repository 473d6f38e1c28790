"""An abdomen has its organs on their sides, whatever its draw."""

import numpy as np
import pytest

from nacl_monai.phantoms.abdomen import (
    AIR,
    BONE,
    FAT,
    HOUNSFIELD,
    KIDNEY,
    LIVER,
    LUNG,
    PANCREAS,
    SPLEEN,
    draw_torso,
)
from nacl_monai.phantoms.grids import Grid

GRID = Grid((48, 48, 48), (1, 1, 1), "RAS")


@pytest.fixture(scope="module", params=range(3))
def tissues(request):
    """An abdomen in a coarse grid whose axes run right, anterior and superior."""
    return GRID.sample(draw_torso(np.random.default_rng(request.param)).tissues)


def test_every_tissue_has_hounsfield_units(tissues):
    """None is left without a value; air is darkest and bone brightest."""
    assert set(np.unique(tissues)) <= set(HOUNSFIELD)
    assert min(HOUNSFIELD, key=HOUNSFIELD.get) == AIR
    assert max(HOUNSFIELD, key=HOUNSFIELD.get) == BONE


def test_organs_lie_on_their_sides(tissues):
    """Liver right, spleen left, kidneys on both sides and behind the pancreas, lung on top."""
    points = {
        organ: np.argwhere(tissues == organ) for organ in (LIVER, SPLEEN, KIDNEY, PANCREAS, LUNG)
    }

    assert points[SPLEEN][:, 0].max() < 23.5 < points[LIVER][:, 0].mean()
    assert 0.3 < (points[KIDNEY][:, 0] > 23.5).mean() < 0.7
    assert points[KIDNEY][:, 1].mean() < points[PANCREAS][:, 1].mean()
    assert points[LUNG][:, 2].mean() > points[LIVER][:, 2].mean()


def test_air_surrounds_the_body_and_fat_is_its_first_layer(tissues):
    """From the right side inwards: air, then fat."""
    line = tissues[::-1, 24, 24].tolist()

    assert line[0] == AIR
    assert next(tissue for tissue in line if tissue != AIR) == FAT


def test_levels_are_below_1_inside_the_organs():
    """Where the torso shows an organ, the level of its shape is below 1."""
    torso = draw_torso(np.random.default_rng(0))
    (points,) = GRID.slabs()
    tissues = torso.tissues(points)
    moved = points + torso.warp(points)

    assert (torso.liver(moved)[tissues == LIVER] < 1).all()
    assert (torso.pancreas(moved)[tissues == PANCREAS] < 1).all()
    kidney, sinus = torso.kidney(moved)
    assert (kidney[tissues == KIDNEY] < 1).all()
    assert (sinus[tissues == KIDNEY] >= 1).all()
