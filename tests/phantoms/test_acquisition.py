"""Images have the signal, the noise and the blur asked for."""

import numpy as np
import pytest

from nacl_monai.phantoms.acquisition import (
    computed_tomography,
    magnetic_resonance,
    signal_of,
    smooth_noise,
)

SHAPE = (40, 40, 40)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_signal_is_looked_up_by_tissue():
    """A tissue without a signal is silent."""
    signal = signal_of(np.array([0, 1, 7, 9]), {1: 0.5, 7: -100.0})
    np.testing.assert_array_equal(signal, [0, 0.5, -100, 0])


def test_smooth_noise_has_unit_deviation(rng):
    """Neighbors along a smoothed axis are alike, along the other they are independent."""
    noise = smooth_noise(rng, SHAPE, (2, 0, 0))
    assert noise.std() == pytest.approx(1, rel=1e-5)
    assert np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1] > 0.8
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.1


def test_noise_of_a_magnitude_image_is_rician(rng):
    """Where nothing gives signal, magnitudes are Rayleigh distributed: mean σ√(π/2)."""
    image = magnetic_resonance(rng, np.zeros(SHAPE, np.float32), noise=0.1)
    assert image.min() >= 0
    assert image.mean() == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.02)
    assert (image**2).mean() == pytest.approx(2 * 0.1**2, rel=0.02)


def test_noise_of_ct_adds_in_squares(rng):
    """In a uniform body the standard deviation is that of texture and noise together."""
    image = computed_tomography(rng, np.full(SHAPE, 40.0, np.float32), noise=12, texture=5)
    assert image.dtype == np.int16
    assert image.mean() == pytest.approx(40, abs=0.5)
    assert image.std() == pytest.approx(13, rel=0.05)


def test_boundary_is_blurred(rng):
    """Partial volume: voxels beside an edge are between the two tissues, others are not."""
    body = np.zeros(SHAPE, np.float32)
    body[20:] = 1000
    image = computed_tomography(rng, body, noise=0, texture=0)
    profile = image.mean(axis=(1, 2))
    assert 20 < profile[19] < 500 < profile[20] < 980
    np.testing.assert_allclose(profile[[15, 25]], [0, 1000], atol=1)
