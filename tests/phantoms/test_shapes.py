"""Levels of shapes are below 1 inside, and random fields have the spread asked for."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nacl_monai.phantoms.shapes import (
    cylinder,
    draw_field,
    draw_turn,
    draw_warp,
    ellipsoid,
    mirrored,
    tube,
)


def at(*points):
    """Positions as the shapes take them."""
    return np.array(points, np.float32).T.reshape(3, -1, 1, 1)


def test_ellipsoid_is_1_on_its_surface():
    """The level is the distance in units of the radius in that direction, turned or not."""
    turn = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    points = at((1, 2, 3), (3, 2, 3), (1, 2, 3.5))
    np.testing.assert_allclose(ellipsoid(points, (1, 2, 3), (2, 1, 0.5)).ravel(), [0, 1, 1])
    turned = ellipsoid(points, (1, 2, 3), (2, 1, 0.5), turn).ravel()
    np.testing.assert_allclose(turned, [0, 2, 1], atol=1e-6)


def test_cylinder_is_the_same_at_every_height():
    """The third coordinate has no influence."""
    points = at((0.5, 0, -1), (0.5, 0, 0.3))
    np.testing.assert_allclose(cylinder(points, (0, 0), (0.5, 1)).ravel(), [1, 1])


def test_tube_follows_its_path_and_tapers():
    """Halfway between two corners the radius is the mean; beyond the ends it is a sphere's."""
    points = at((1, 0.75, 0), (1, 0, 1.5), (-1, 0, 0), (3, 4, 0))
    level = tube(points, [(0, 0, 0), (2, 0, 0), (2, 4, 0)], [1.0, 0.5, 0.25])
    np.testing.assert_allclose(level.ravel(), [1, 2, 1, 4])


def test_mirrored_folds_left_onto_right():
    """Only the first coordinate loses its sign, and the argument keeps it."""
    points = at((-1, -2, -3))
    np.testing.assert_array_equal(mirrored(points), at((1, -2, -3)))
    assert points[0] == -1


@pytest.mark.parametrize("draw", [draw_field, draw_warp])
def test_fields_have_the_deviation_asked_for(draw):
    """Over a region of many wavelengths each component's root mean square is the deviation."""
    rng = np.random.default_rng(0)
    field = draw(rng, deviation=0.3, wavelength=0.5)
    values = field(rng.uniform(-20, 20, (3, 40, 40, 40)).astype(np.float32))
    components = values.reshape(-1, 40**3) if draw is draw_warp else values.reshape(1, -1)
    assert len(components) == (3 if draw is draw_warp else 1)
    np.testing.assert_allclose(np.sqrt((components**2).mean(axis=1)), 0.3, rtol=0.05)


def test_turn_is_a_rotation():
    """Orthonormal, of determinant 1."""
    turn = draw_turn(np.random.default_rng(0), 20)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)
