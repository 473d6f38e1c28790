"""Widths in mm and windows of their own along each axis: equal to the loop, at any spacing."""

import itertools
import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from nacl_monai.errors import InputError
from nacl_monai.losses import NACLLoss, NeighborhoodPenalty, nacl_loss, neighborhood_proportions
from nacl_monai.losses.neighborhood import spacing_of, window_of_width

CLASSES = 3
#: For each prior, the weight of a neighbor so many standard deviations away along each axis.
GAUSSIAN = ("gaussian", "blur", "bilateral")


def slowly(labels, kernel_size, sigma, prior, border, image):
    """Equation 2, voxel by voxel, with a window of its own along each axis."""
    shape = labels.shape
    ranges = [range(-(size // 2), size // 2 + 1) for size in kernel_size]

    def gaussian(step):
        return math.exp(-sum(a**2 / (2 * s**2) for a, s in zip(step, sigma, strict=True)))

    everything = sum(gaussian(step) for step in itertools.product(*ranges))
    result = torch.zeros(CLASSES, *shape, dtype=torch.float64)
    for here in itertools.product(*map(range, shape)):
        for step in itertools.product(*ranges):
            there = tuple(a + b for a, b in zip(here, step, strict=True))
            near = tuple(min(max(a, 0), n - 1) for a, n in zip(there, shape, strict=True))
            if border == "valid" and near != there:
                continue
            weight = 1.0 if prior == "mean" else gaussian(step)
            if prior == "gaussian" and not any(step):
                weight = everything - 1
            if prior == "bilateral":
                weight *= math.exp(-(float(image[near] - image[here]) ** 2) / (2 * 0.1**2))
            result[(int(labels[near]), *here)] += weight
    return result / result.sum(0)


@pytest.mark.parametrize("border", ["valid", "replicate"])
@pytest.mark.parametrize("prior", ["mean", *GAUSSIAN])
@pytest.mark.parametrize(
    ("shape", "kernel_size", "sigma"),
    [
        ((6, 7), (5, 3), (1.3, 0.6)),
        ((5, 6), (3, 1), (0.8, 0.1)),
        ((4, 5, 3), (1, 5, 3), (0.1, 2.0, 0.7)),
        ((6, 5), 5, 0.9),
    ],
)
def test_windows_of_their_own_along_each_axis_equal_the_loop(
    shape, kernel_size, sigma, prior, border
):
    """Every prior, at borders, too; an axis may have no neighbors."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, shape, generator=generator)
    image = torch.rand(shape, generator=generator, dtype=torch.float64)
    sizes = [kernel_size] * len(shape) if isinstance(kernel_size, int) else kernel_size
    sigmas = [sigma] * len(shape) if isinstance(sigma, float) else sigma
    result = neighborhood_proportions(
        labels[None, None],
        CLASSES,
        kernel_size,
        prior,
        sigma,
        border,
        image=image[None, None],
        dtype=torch.float64,
    )

    torch.testing.assert_close(result[0], slowly(labels, sizes, sigmas, prior, border, image))


@pytest.mark.parametrize("prior", ["mean", *GAUSSIAN])
def test_equal_windows_along_all_axes_are_one_to_the_bit(prior):
    """One number for all axes, or the same one for each."""
    labels, image = torch.randint(CLASSES, (2, 1, 5, 6, 4)), torch.rand(2, 1, 5, 6, 4)
    one = neighborhood_proportions(labels, CLASSES, 5, prior, 1.3, image=image)
    each = neighborhood_proportions(labels, CLASSES, [5] * 3, prior, [1.3] * 3, image=image)

    assert torch.equal(one, each)


@pytest.mark.parametrize("prior", ["mean", "blur", "bilateral"])
def test_width_is_the_standard_deviation_of_the_weights(prior):
    """In mm, along each axis; of the mean as nearly as an odd window can be."""
    spacing = (0.5, 0.8)
    labels = torch.zeros(1, 1, 61, 61)
    labels[..., 30, 30] = 1
    weights = neighborhood_proportions(
        labels, 2, prior=prior, width_mm=2.0, spacing=spacing, image=torch.zeros_like(labels)
    )[0, 1].double()
    for axis, size in enumerate(spacing):
        places = (torch.arange(61) - 30) * size
        profile = weights.sum(1 - axis) / weights.sum()
        deviation = float((profile * places**2).sum().sqrt())
        assert deviation == pytest.approx(2.0, rel=0.03 if prior != "mean" else 0.1)


@pytest.mark.parametrize("size", [3, 5, 7, 11])
def test_mean_of_a_window_s_own_width_is_that_window(size):
    """The width of k voxels is sqrt((k² - 1) / 12) of them."""
    width = 0.7 * math.sqrt((size**2 - 1) / 12)

    assert window_of_width("mean", width, (0.7, 0.7, 70.0))[0] == [size, size, 1]


def batch(spacing, shape=(8, 9)):
    affine = np.diag([*spacing, *[1.0] * (4 - len(spacing))])
    labels = torch.randint(CLASSES, (2, 1, *shape))
    return torch.randn(2, CLASSES, *shape), MetaTensor(labels, affine=torch.tensor(affine)), labels


@pytest.mark.parametrize(
    ("spacing", "shape"), [((0.8, 1.6), (8, 9)), ((0.5, 1.0, 3.0), (5, 6, 4))], ids=["2-D", "3-D"]
)
def test_spacing_is_that_of_the_labels(spacing, shape):
    """A MetaTensor's affine or the argument, in function, penalty and loss alike."""
    logits, known, plain = batch(spacing, shape)
    settings = {"prior": "blur", "width_mm": 1.1}
    sizes, sigma = window_of_width("blur", 1.1, spacing)
    expected = nacl_loss(logits, plain, prior="blur", kernel_size=sizes, sigma=sigma)

    assert torch.equal(nacl_loss(logits, known, **settings), expected)
    for given in (spacing, np.array(spacing), torch.tensor(spacing, dtype=torch.float64)):
        assert torch.equal(nacl_loss(logits, plain, spacing=given, **settings), expected)
    assert torch.equal(NACLLoss(**settings)(logits, known), expected)
    soft = torch.nn.functional.one_hot(plain[:, 0], CLASSES).movedim(-1, 1)
    soft = MetaTensor(soft.float(), affine=known.affine)
    torch.testing.assert_close(NACLLoss(**settings)(logits, soft), expected)
    shares = neighborhood_proportions(plain, CLASSES, sizes, "blur", sigma)
    assert torch.equal(neighborhood_proportions(known, CLASSES, **settings), shares)
    of_array = neighborhood_proportions(plain, CLASSES, spacing=np.array(spacing), **settings)
    assert torch.equal(of_array, shares)


def test_affine_may_turn_the_axes():
    """Spacing is the length of a step, whatever its direction."""
    affine = torch.tensor([[0.0, -2, 0, 5], [0.5, 0, 0, 7], [0, 0, 3, 1], [0, 0, 0, 1]])
    labels = MetaTensor(torch.zeros(1, 1, 4, 4, 4), affine=affine)

    assert spacing_of(labels, 3) == pytest.approx([0.5, 2.0, 3.0])
    assert spacing_of(labels, 2) == pytest.approx([0.5, 2.0])


def test_what_has_no_width_is_refused():
    """No spacing, several in a batch, less than a voxel, a spacing alone, or no number at all."""
    logits, _, plain = batch((1.0, 1.0))
    with pytest.raises(InputError, match="labels: do not know the size of their voxels"):
        nacl_loss(logits, plain, width_mm=1.0)
    both = MetaTensor(
        plain, affine=torch.stack([torch.eye(4), torch.diag(torch.tensor([2.0, 1, 1, 1]))])
    )
    with pytest.raises(InputError, match="labels: have voxels of"):
        nacl_loss(logits, both, width_mm=1.0)
    with pytest.raises(InputError, match="width_mm: is 0.1, less than the prior 'mean' resolves"):
        nacl_loss(logits, plain, width_mm=0.1, spacing=(1.0, 1.0))
    with pytest.raises(InputError, match="spacing: is"):
        window_of_width("blur", 1.0, (1.0, 0.0))
    for make in (NACLLoss, NeighborhoodPenalty):
        with pytest.raises(InputError, match="width_mm: is -1; pass a positive number"):
            make(width_mm=-1)
        with pytest.raises(InputError, match="kernel_size: is"):
            make(kernel_size=[1, 1])
        with pytest.raises(InputError, match="sigma: is"):
            make(sigma=[1.0, 0.01])
        with pytest.raises(InputError, match="spacing: is .*, and has no effect without width_mm"):
            make(spacing=[1.0, 3.0])
    for use in (
        lambda: nacl_loss(logits, plain, spacing=[1.0, 3.0]),
        lambda: neighborhood_proportions(plain, CLASSES, spacing=np.array([1.0, 3.0])),
    ):
        with pytest.raises(InputError, match="spacing: is .*, and has no effect without width_mm"):
            use()
    with pytest.raises(
        InputError, match="kernel_size: is .3, 3, 3., for 3 axes; the labels have 2"
    ):
        nacl_loss(logits, plain, kernel_size=[3, 3, 3])
