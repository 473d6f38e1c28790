"""A voxel's position in the patient agrees with its header, whatever the orientation."""

from itertools import permutations, product

import nibabel
import numpy as np
import pytest

from nacl_monai.phantoms import grids
from nacl_monai.phantoms.grids import Grid

ORIENTATIONS = ["".join(x) for ends in permutations(("LR", "PA", "IS")) for x in product(*ends)]


@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_axes_run_as_named(axes):
    """The orientation is what nibabel reads from the affine, the spacing its columns' length."""
    grid = Grid((3, 4, 5), (1.0, 2.0, 3.0), axes, origin=(7, 8, 9))
    assert "".join(nibabel.aff2axcodes(grid.affine)) == axes
    np.testing.assert_allclose(np.linalg.norm(grid.affine[:3, :3], axis=0), grid.spacing)
    np.testing.assert_array_equal(grid.affine[:3, 3], grid.origin)


@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_positions_are_the_worlds_scaled_to_the_box(axes):
    """A voxel's position is its world position, moved and scaled so that the box is [−1, 1]³."""
    grid = Grid((3, 4, 5), (1.0, 2.0, 3.0), axes, origin=(7, 8, 9))
    (points,) = grid.slabs()
    world = nibabel.affines.apply_affine(grid.affine, np.indices(grid.shape).T).T
    half = np.ptp(world.reshape(3, -1), axis=1)
    order = [next(i for i, c in enumerate(axes) if c in ends) for ends in grids.WORLD]
    half = (half + np.array(grid.spacing)[order]) / 2
    center = world.reshape(3, -1).mean(axis=1)
    expected = (world - center.reshape(3, 1, 1, 1)) / half.reshape(3, 1, 1, 1)
    np.testing.assert_allclose(points, expected, atol=1e-6)


def test_slabs_make_no_difference(monkeypatch):
    """Sampled slab by slab, a function has the values that it has at once."""
    grid = Grid((7, 4, 5), (1, 1, 1), "PIR")
    (whole,) = grid.slabs()
    monkeypatch.setattr(grids, "SLAB", 40)
    assert len(list(grid.slabs())) == 4
    np.testing.assert_array_equal(
        grid.sample(lambda p: np.moveaxis(p, 0, -1)), np.moveaxis(whole, 0, -1)
    )


def test_tilt_turns_the_axes():
    """An oblique scan's axes are turned in the world and stay at right angles."""
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    affine = Grid((3, 3, 3), (1, 2, 3), "RAS", tilt=turn).affine
    np.testing.assert_allclose(affine[:3, :3], turn @ np.diag([1, 2, 3]), atol=1e-7)
