"""Priors: at a straight border each is the distribution that its docstring says."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import logistic as logistic_law
from scipy.stats import norm

from nacl_monai.errors import InputError
from nacl_monai.losses import neighborhood_proportions
from nacl_monai.raters.priors import (
    FAMILIES,
    RatedMasks,
    bilateral,
    blur,
    border_distance,
    gaussian,
    hard,
    logistic,
    mean,
    svls,
    window,
)


def half_plane(spacing, size=61, image=None):
    mask = np.zeros((1, 5, size), bool)
    mask[..., size // 2 :] = True
    return RatedMasks(np.stack([mask, mask]), (1.0, spacing), "one", image=image).planes()


@pytest.mark.parametrize("spacing", [0.2, 0.5])
@pytest.mark.parametrize(
    ("prior", "law"),
    [(blur, norm(0, 1.5)), (logistic, logistic_law(0, 1.5 * math.sqrt(3) / math.pi))],
)
def test_probability_is_the_distribution_of_the_distance(prior, law, spacing):
    """Its standard deviation is the width, in mm, at any spacing."""
    planes = half_plane(spacing)
    assert law.std() == pytest.approx(1.5)

    expected = law.cdf(planes.distances[0, 2])
    np.testing.assert_allclose(prior(1.5).soften(planes)[0, 2], expected, atol=4e-3)


def test_mean_has_the_odd_window_whose_width_is_nearest():
    """A window of k voxels has the standard deviation sqrt((k² - 1) / 12) voxels."""
    for size in (1, 3, 5, 7):
        width = 0.5 * math.sqrt((size**2 - 1) / 12) if size > 1 else 0.01
        steps = np.diff(mean(width).soften(half_plane(0.5))[0, 2])
        assert (steps > 0).sum() == size


def test_priors_in_voxels_are_those_of_the_losses():
    """Away from the border of the image, where a loss has nothing and a box is continued."""
    import torch

    masks = np.random.default_rng(1).random((2, 1, 20, 20)) < 0.5
    planes = RatedMasks(masks, (0.7, 0.7), "one").planes()
    labels = torch.from_numpy(masks[:, 0].astype(int))
    inner = (slice(None), slice(4, -4), slice(4, -4))
    for prior, settings in (
        (svls(2.0), {"prior": "gaussian", "sigma": 2.0}),
        (window(5), {"kernel_size": 5}),
        (gaussian(1.0), {"prior": "blur", "kernel_size": 7, "sigma": 1.0}),
    ):
        expected = neighborhood_proportions(labels, 2, **settings)[:, 1].numpy()
        np.testing.assert_allclose(prior.soften(planes)[inner], expected[inner], rtol=1e-6)
    assert np.array_equal(hard().soften(planes), masks[:, 0])


def test_width_below_a_voxel_is_the_mask_itself():
    """Nothing to soften, and no error in the middle of a fit."""
    planes = half_plane(1.0)
    for family in (blur, mean):
        assert np.array_equal(family(0.05).soften(planes), planes.masks)


def test_bilateral_prior_follows_the_image():
    """An edge of the image stops it; without an image it is refused."""
    image = np.zeros((1, 5, 61))
    image[..., 30:] = 1
    planes = half_plane(1.0, image=image)
    np.testing.assert_allclose(bilateral(2.0).soften(planes), planes.masks, atol=1e-6)
    flat = half_plane(1.0, image=0 * image)
    np.testing.assert_allclose(bilateral(2.0).soften(flat), blur(2.0).soften(flat), atol=1e-6)
    with pytest.raises(InputError, match="bilateral: needs images"):
        bilateral(2.0).soften(half_plane(1.0))


def test_families_are_called_what_their_priors_are():
    """A fit finds its widths by the family's name."""
    for name, family in FAMILIES.items():
        prior = family(1.25)
        assert (prior.family, prior.width) == (name, 1.25)
        assert "1.25 mm" in prior.label


def distance_slowly(mask, spacing):
    """To the nearest box of a voxel of the other value."""
    result = np.zeros(mask.shape)
    places = list(itertools.product(*map(range, mask.shape)))
    for here in places:
        gaps = [
            np.sqrt(
                sum(
                    (max(abs(a - b) - 0.5, 0) * size) ** 2
                    for a, b, size in zip(here, there, spacing, strict=True)
                )
            )
            for there in places
            if mask[there] != mask[here]
        ]
        result[here] = min(gaps) * (1 if mask[here] else -1)
    return result


@pytest.mark.parametrize(("shape", "spacing"), [((7, 6), (1.0, 1.0)), ((4, 5, 3), (0.5, 2.0, 3.1))])
def test_distance_is_to_the_faces_between_voxels(shape, spacing):
    """In mm, along oblique ways and for voxels of any size."""
    mask = np.random.default_rng(0).random(shape) < 0.2

    np.testing.assert_allclose(border_distance(mask, spacing), distance_slowly(mask, spacing))


def test_planes_are_those_with_a_border_of_their_own_rater():
    """A plane that a rater left empty, or filled, says nothing; the others vote without the rater."""
    masks = np.zeros((3, 2, 4, 5), bool)
    masks[0, 0, :, 2:] = masks[1, 0, :, 3:] = masks[2, 1, :2] = True
    masks[2, 0] = True
    planes = RatedMasks(masks, (1.0, 1.0), "one").planes()

    assert np.array_equal(planes.masks, [masks[0, 0], masks[1, 0], masks[2, 1]])
    assert planes.votes[:, 0].tolist() == [[1, 1, 1, 2, 2], [1, 1, 2, 2, 2], [0, 0, 0, 0, 0]]
    assert planes.distances[0, 0].tolist() == [-1.5, -0.5, 0.5, 1.5, 2.5]


def test_masks_that_cannot_be_meant_are_refused():
    """One rater alone, shares in place of masks, or a spacing of other axes."""
    masks = np.zeros((2, 1, 4, 4), bool)
    for given, spacing in ((masks[:1], (1.0, 1.0)), (masks * 0.5, (1.0, 1.0)), (masks, (1.0,) * 3)):
        with pytest.raises(InputError, match="^masks: are"):
            RatedMasks(given, spacing, "one")
    assert RatedMasks(masks[:1], (1.0, 1.0), "one", absent=3).others == 3
