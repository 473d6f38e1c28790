"""Hearts are drawn around those typical of their disease."""

import numpy as np
import pytest

from nacl_monai.phantoms.acdc.heart import GROUPS, draw_heart, draw_ripple


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_hearts_vary_around_the_typical_one(group):
    """Over many draws the mean of each size is the disease's own."""
    typical = GROUPS[group]
    hearts = [draw_heart(np.random.default_rng(seed), typical) for seed in range(300)]

    for size in ("cavity", "wall", "shortening", "right", "septum", "scar"):
        drawn = [getattr(heart.disease, size) for heart in hearts]
        assert np.mean(drawn) == pytest.approx(getattr(typical, size), rel=0.06)
        assert (np.std(drawn) > 0) == (getattr(typical, size) > 0)
    assert all(75 <= heart.length <= 102 for heart in hearts)


def test_diseases_differ_as_in_the_clinic():
    """Dilated: large and weak; hypertrophic: thick, most at the septum; infarcted: scarred."""
    assert max(GROUPS, key=lambda name: GROUPS[name].cavity) == "DCM"
    assert min(GROUPS, key=lambda name: GROUPS[name].shortening) == "DCM"
    assert max(GROUPS, key=lambda name: GROUPS[name].wall) == "HCM"
    assert [name for name in GROUPS if GROUPS[name].septum] == ["HCM"]
    assert [name for name in GROUPS if GROUPS[name].scar] == ["MINF"]
    assert max(GROUPS, key=lambda name: GROUPS[name].right) == "RV"


def test_ripple_has_the_amplitudes_asked_for():
    """A harmonic's amplitude deviates by its own standard deviation, its phase is uniform."""
    drawn = np.stack(
        [draw_ripple(np.random.default_rng(seed), [0.5, 0.0, 0.1], twist=2) for seed in range(2000)]
    )

    np.testing.assert_allclose(drawn[:, 0].std(axis=0), [0.5, 0, 0.1], rtol=0.06)
    assert 0 <= drawn[:, 1].min() < 0.1 < 6.2 < drawn[:, 1].max() < 2 * np.pi
    np.testing.assert_allclose(drawn[:, 2].std(axis=0), 2, rtol=0.06)
