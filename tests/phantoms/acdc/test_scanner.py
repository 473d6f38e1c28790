"""The scanner's blur, gain and noise are those that were drawn."""

from dataclasses import replace

import numpy as np
import pytest

from nacl_monai.phantoms.acdc.scanner import acquire, draw_scanner


@pytest.fixture
def scanner(patient):
    return draw_scanner(np.random.default_rng(0), patient)


@pytest.fixture
def even(scanner):
    """The scanner without unevenness."""
    ones = np.ones_like(scanner.texture)
    return replace(scanner, gain=400.0, texture=ones, sensitivity=ones)


def test_settings_are_in_range(patient, scanner):
    """Gain and noise vary within bounds; fields are positive and on the scan's grid."""
    assert 180 <= scanner.gain <= 600
    assert 0.035 <= scanner.noise <= 0.07
    for field in (scanner.sensitivity, scanner.texture, scanner.grain):
        assert field.shape == patient.shape
    assert (scanner.sensitivity > 0).all()
    assert scanner.texture.mean() == pytest.approx(1, abs=0.02)
    assert scanner.texture.std() == pytest.approx(0.09, rel=0.05)


def test_noise_is_rician(patient, even):
    """Without signal, magnitudes have the Rayleigh distribution's mean σ√(π/2)."""
    image = acquire(np.random.default_rng(1), even, np.zeros(patient.shape, np.float32))

    assert image.dtype == np.int16
    assert image.mean() == pytest.approx(400 * even.noise * np.sqrt(np.pi / 2), rel=0.03)


def test_stored_value_is_gain_times_signal(patient, even):
    """A uniform signal without noise is stored as the gain, unevenness included."""
    quiet, flat = replace(even, noise=0.0), np.ones(patient.shape, np.float32)
    np.testing.assert_array_equal(acquire(np.random.default_rng(1), quiet, flat), 400)

    uneven = replace(quiet, texture=2 * flat, sensitivity=3 * flat)
    np.testing.assert_array_equal(acquire(np.random.default_rng(1), uneven, flat), 2400)
    loud = replace(quiet, gain=9000.0)
    np.testing.assert_array_equal(acquire(np.random.default_rng(1), loud, flat), 4095)


def test_blur_stays_in_the_plane(patient, even):
    """A point's light spreads to its neighbors in the slice, and to no other slice."""
    quiet, point = replace(even, noise=0.0), np.zeros(patient.shape, np.float32)
    point[50, 50, 2] = 10
    image = acquire(np.random.default_rng(1), quiet, point)

    assert image[51, 50, 2] == image[50, 49, 2] > 0
    assert not image[..., [1, 3]].any()
