"""The heart's surfaces: closed, nested, tapering, and thicker where the cavity is smaller."""

import numpy as np
import pytest

from nacl_monai.phantoms.acdc.contours import (
    ANGLES,
    ellipse,
    find_boundaries,
    left_contours,
    papillary_muscles,
    right_ellipse,
    ripple,
    sector,
    taper,
)
from tests.phantoms.acdc.files import LV, MYO

HEIGHTS = np.linspace(0, 0.9, 10)


def voxels(image):
    return np.asarray(image.dataobj)


def test_ripple_is_the_sum_of_its_harmonics_from_the_second_on():
    """Σ a_k cos(kθ + φ_k + c_k h), written out for two harmonics."""
    coefficients = np.array([[0.5, 0.2], [0.1, 0.3], [1.0, -2.0]])
    angle, height = np.array([[0.0], [1.0]]), np.array([0.0, 0.5, 1.0])

    expected = [
        [0.5 * np.cos(2 * t + 0.1 + 1.0 * h) + 0.2 * np.cos(3 * t + 0.3 - 2.0 * h) for h in height]
        for t in angle[:, 0]
    ]
    np.testing.assert_allclose(ripple(coefficients, angle, height), expected)


def test_sector_is_1_in_its_middle_and_falls_to_either_side():
    """The weight is even about the center and almost gone on the other side."""
    angles = 0.7 + np.array([0, 0.5, -0.5, 1.0, np.pi])
    weight = sector(angles, 0.7, sharpness=3)

    assert weight[0] == 1
    assert weight[1] == pytest.approx(weight[2])
    assert 1 > weight[1] > weight[3] > weight[4]
    assert weight[4] == pytest.approx(np.exp(-6))


def test_taper_runs_from_the_base_to_the_tip():
    """The radius is 1 at and above the base, falls, and is 0 from the tip on."""
    radius = taper(np.array([-0.5, 0, 0.3, 0.6, 0.9, 1.2]), tip=0.9)

    np.testing.assert_array_equal(radius[[0, 1, 4, 5]], [1, 1, 0, 0])
    assert 1 > radius[2] > radius[3] > 0
    assert radius[2] == pytest.approx(np.sqrt(1 - (1 / 3) ** 2.2))


def test_ellipse_is_1_on_its_axes():
    """The level is a squared distance in units of the half axes."""
    np.testing.assert_allclose(
        ellipse(np.array([2.0, 0, 4]), np.array([0, 3.0, 0]), 2, 3), [1, 1, 4]
    )


@pytest.mark.parametrize("contraction", [0.0, 1.0])
def test_surfaces_of_the_left_ventricle_are_nested(patient, contraction):
    """From the inside out: blood between trabeculae, annotated cavity, muscle, fat."""
    endo, wet, epi, fat = left_contours(patient.heart, contraction, HEIGHTS)

    assert endo.shape == (len(ANGLES), len(HEIGHTS))
    assert (wet <= endo).all()
    assert (endo < epi).all()
    assert (epi <= fat).all()


def test_muscle_keeps_its_volume(patient):
    """The wall's cross-section grows by as much as the ventricle shortens along its axis."""
    heart = patient.heart
    relaxed, contracted = (left_contours(heart, phase, HEIGHTS) for phase in (0.0, 1.0))
    area = [contour[2] ** 2 - contour[0] ** 2 for contour in (relaxed, contracted)]
    shortened = 1 - 0.4 * heart.disease.shortening

    np.testing.assert_allclose(area[1] * shortened, area[0], rtol=1e-3)


def test_scar_contracts_less(patient):
    """The cavity's radius shrinks least in the middle of an infarcted sector."""
    heart = patient.heart
    scarred = type(heart)(**{**vars(heart), "disease": type(heart.disease)(29, 8, 0.24, scar=0.8)})
    relaxed, contracted = (left_contours(scarred, phase, HEIGHTS)[0] for phase in (0.0, 1.0))
    kept = (contracted / relaxed)[:, 0]

    assert abs(np.angle(np.exp(1j * (ANGLES[kept.argmax(), 0] - heart.scar_angle)))) < 0.01
    assert kept.max() == pytest.approx(1 - 0.24 * 0.2, rel=1e-3)
    assert kept.min() == pytest.approx(0.76, abs=0.01)


def test_right_ventricle_shrinks_in_systole_and_ends_before_the_apex(patient):
    """Its depth falls from end diastole to end systole, and to the left wall's at its tip."""
    radius = np.full(3, 30.0)
    height = np.array([0.0, 0.5, 0.86])
    (center, relaxed, _), (_, contracted, _) = (
        right_ellipse(patient.heart, phase, height, radius) for phase in (0.0, 1.0)
    )

    np.testing.assert_allclose(center, 0.55 * radius)
    assert (contracted[:2] < relaxed[:2]).all()
    np.testing.assert_allclose([relaxed[2], contracted[2]], 0.45 * 30)


def test_papillary_muscles_are_two_within_the_cavity(patient):
    """Each is centered where the heart says; the level there is 0 and large far away."""
    heart, cavity, height = patient.heart, np.array([25.0]), np.array([0.5])
    angle, distance, _ = heart.papillary
    ahead = (distance * 25 * np.cos(angle)).reshape(2, 1, 1)
    aside = (distance * 25 * np.sin(angle)).reshape(2, 1, 1)

    np.testing.assert_allclose(papillary_muscles(heart, ahead, aside, cavity, height), 0, atol=1e-9)
    far = papillary_muscles(heart, ahead * 3, aside * 3, cavity, height)
    assert (far > 10).all()


def test_apex_stays_while_the_valves_descend(patient):
    """At the apex the height is 1 in every phase; a point at the base is above it in systole."""
    heart = patient.heart
    z = np.array([0.0, heart.length], np.float32)
    point = np.zeros((1, 1, 1), np.float32)
    relaxed, contracted = (find_boundaries(heart, phase, point, point, z) for phase in (0.0, 1.0))

    np.testing.assert_allclose(relaxed.height, [0, 1], atol=1e-6)
    assert contracted.height[0] < 0
    assert contracted.height[1] == pytest.approx(1)


def test_systole_empties_the_cavity_and_thickens_the_wall(frames):
    """From ED to ES the LV's volume falls and the muscle's share of the mid-slice rises."""
    for _, ed, _, es in frames:
        ed, es = voxels(ed), voxels(es)
        assert (es == LV).sum() < 0.9 * (ed == LV).sum()
        middle = np.argsort((es == LV).sum(axis=(0, 1)))[-3]
        ratio = [(x == MYO)[..., middle].sum() / (x == LV)[..., middle].sum() for x in (ed, es)]
        assert ratio[1] > ratio[0]
