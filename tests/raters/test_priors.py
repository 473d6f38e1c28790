"""Priors: at a straight border each is the distribution that its docstring says."""

import itertools

import numpy as np
import pytest
from scipy.stats import norm

from nacl_monai.errors import InputError
from nacl_monai.raters.priors import RatedMasks, blur, border_distance


def half_plane(spacing, size=61):
    mask = np.zeros((1, 5, size), bool)
    mask[..., size // 2 :] = True
    return RatedMasks(np.stack([mask, mask]), (1.0, spacing), "one").planes()


@pytest.mark.parametrize("spacing", [0.2, 0.5])
def test_probability_is_the_distribution_of_the_distance(spacing):
    """Its standard deviation is the width, in mm, at any spacing."""
    planes = half_plane(spacing)

    expected = norm(0, 1.5).cdf(planes.distances[0, 2])
    np.testing.assert_allclose(blur(1.5).soften(planes)[0, 2], expected, atol=4e-3)


def test_width_below_a_voxel_is_the_mask_itself():
    """Nothing to soften, and no error in the middle of a fit."""
    planes = half_plane(1.0)
    assert np.array_equal(blur(0.05).soften(planes), planes.masks)


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
