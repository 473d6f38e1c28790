"""Points are at the centers of voxels, or of their equal parts."""

import numpy as np
import pytest

from nacl_monai.phantoms.acdc.sampling import move_into_heart, positions


def test_points_are_the_centers_of_the_voxels(patient):
    """Steps are the spacing; the plane is centered, and slices begin at the first one."""
    x, y, z = positions(patient)

    columns, rows, slices = patient.shape
    assert (x.shape, y.shape, z.shape) == ((columns, 1, 1), (1, rows, 1), (slices,))
    for line, step in zip((x, y, z), patient.spacing, strict=True):
        np.testing.assert_allclose(np.diff(line.ravel()), step, rtol=1e-4)
    assert x.mean() == pytest.approx(0, abs=1e-4)
    assert y.mean() == pytest.approx(0, abs=1e-4)
    assert z[0] == pytest.approx(patient.first_slice)


def test_parts_of_a_voxel_average_to_its_center(patient):
    """Divided voxels have equally spaced points, symmetric about the center."""
    whole, parts = positions(patient), positions(patient, in_plane=2, through=3)

    for line, fine, number in zip(whole, parts, (2, 2, 3), strict=True):
        pieces = fine.reshape(-1, number)
        np.testing.assert_allclose(pieces.mean(axis=1), line.ravel(), atol=1e-4)
        step = np.diff(line.ravel())[0] / number
        np.testing.assert_allclose(np.diff(fine.ravel()), step, rtol=1e-3)


def test_every_slice_is_shifted_by_its_breath_hold(patient):
    """All parts of a slice move by the same amount."""
    x, y, _ = positions(patient)
    moved_x, moved_y = move_into_heart(patient, x, y, through=2)

    shift = patient.breath_holds.repeat(2, axis=1)
    np.testing.assert_allclose((moved_x - x)[0, 0], shift[0], atol=1e-4)
    np.testing.assert_allclose((moved_y - y)[0, 0], shift[1], atol=1e-4)
