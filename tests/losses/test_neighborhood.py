"""The prior τ: equality with the loop over voxels, and laws, at any width and spacing."""

import itertools
import math
from inspect import signature

import monai
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from nacl_monai.errors import InputError
from nacl_monai.losses import (
    NACLLoss,
    NeighborhoodPenalty,
    nacl_loss,
    neighborhood_penalty,
    neighborhood_proportions,
)
from nacl_monai.losses.neighborhood import PRIORS, label_spacing, window_of_width
from tests.conftest import refused
from tests.same import same_values

CLASSES = 3
SHAPES = [(5, 4), (1, 6), (4, 3, 5), (3, 1, 2)]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=3),
    st.sampled_from(list(PRIORS)),
    st.sampled_from([3, 5, 7]),
    st.sampled_from(["valid", "replicate"]),
    st.integers(0, CLASSES - 1),
)
def test_constant_maps_give_one_hot_proportions(shape, prior, kernel_size, border, label):
    """Where all labels are the same, that class has the proportion 1, to the bit, and the others 0."""
    constant = torch.full((1, 1, *shape), label)
    expected = torch.zeros(1, CLASSES, *shape)
    expected[:, label] = 1
    image = torch.rand(1, 2, *shape)
    window = (kernel_size, prior, 1.3, border)
    found = neighborhood_proportions(constant, CLASSES, *window, image=image)

    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("window", [(15, 17), (17, 17), (181, 181), (183, 183)])
def test_windows_of_any_size_are_counted_whole(window):
    """Around the sizes whose voxels no longer fit into one byte, and into two."""
    shape = tuple(size + 2 for size in window)
    labels = torch.randint(CLASSES, (1, 1, *shape))
    tau = neighborhood_proportions(labels, CLASSES, list(window), dtype=torch.float64)
    radii = [size // 2 for size in window]
    center = [size // 2 for size in shape]
    pairs = zip(center, radii, strict=True)
    inside = labels[0, 0][tuple(slice(c - r, c + r + 1) for c, r in pairs)]
    counts = torch.bincount(inside.flatten(), minlength=CLASSES)

    torch.testing.assert_close(tau[0, :, *center], counts.double() / math.prod(window))
    torch.testing.assert_close(tau.sum(1), torch.ones_like(tau[:, 0]))


#: Shapes and windows, of which some have one of their own along each axis, no neighbors along one,
#: or more of them than the axis has voxels.
WINDOWS = [
    *((shape, 3, 1.3) for shape in SHAPES),
    *((SHAPES[0], 5, sigma) for sigma in (0.2, 2.0)),
    ((6, 7), (5, 3), (1.3, 0.6)),
    ((5, 6), (3, 1), (0.8, 0.1)),
    ((4, 5, 3), (1, 5, 3), (0.1, 2.0, 0.7)),
    ((2, 6), 7, 1.3),
]


@pytest.mark.parametrize("border", ["valid", "replicate"])
@pytest.mark.parametrize("ignore_index", [None, 1, 255])
@pytest.mark.parametrize("prior", ["mean", "gaussian", "blur", "bilateral"])
@pytest.mark.parametrize(("shape", "kernel_size", "sigma"), WINDOWS, ids=str)
def test_prior_equals_the_loop(reference, shape, kernel_size, sigma, prior, ignore_index, border):
    """Equation 2 computed voxel by voxel, at borders, too."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(CLASSES, (1, 1, *shape), generator=generator)
    image = torch.rand(1, 2, *shape, generator=generator, dtype=torch.float64)
    if ignore_index == 255:
        labels[..., 0] = 255
    radius = [size // 2 for size in reference.each(kernel_size, len(shape))]
    weight = {
        "mean": reference.mean_weight,
        "gaussian": reference.svls_weight(sigma, radius, len(shape)),
        "blur": reference.gaussian_weight(sigma),
        "bilateral": reference.bilateral_weight(image[0], sigma, 0.3),
    }[prior]
    shares = reference.shares_of(labels, CLASSES, ignore_index)[0]
    settings = {"ignore_index": ignore_index, "image": image, "intensity_sigma": 0.3}
    window = (kernel_size, prior, sigma, border)
    found = neighborhood_proportions(labels, CLASSES, *window, dtype=torch.float64, **settings)

    torch.testing.assert_close(found[0], reference.proportions(shares, weight, border, radius))


@pytest.mark.parametrize("border", ["valid", "replicate"])
@pytest.mark.parametrize("prior", ["mean", "gaussian", "blur", "bilateral"])
@pytest.mark.parametrize("shape", SHAPES)
def test_prior_without_the_center_equals_the_loop_over_the_others(reference, shape, prior, border):
    """Equation 6, whose sum is over i ≠ j; without its neighbors, a window has no proportions."""
    labels, image = torch.randint(CLASSES, (1, 1, *shape)), torch.rand(1, 2, *shape).double()
    weight = {
        "mean": reference.mean_weight,
        "gaussian": reference.gaussian_weight(1.3),
        "blur": reference.gaussian_weight(1.3),
        "bilateral": reference.bilateral_weight(image[0], 1.3, 0.3),
    }[prior]
    shares = reference.shares_of(labels, CLASSES)[0]
    expected = [torch.zeros_like(shares), torch.zeros_like(shares[:1])]
    for step in itertools.product((-1, 0, 1), repeat=len(shape)):
        if any(step):
            for j in itertools.product(*map(range, shape)):
                i = tuple(a + b for a, b in zip(j, step, strict=True))
                near = tuple(min(max(a, 0), n - 1) for a, n in zip(i, shape, strict=True))
                if border == "replicate" or near == i:
                    expected[0][(slice(None), *j)] += weight(j, i) * shares[(slice(None), *near)]
                    expected[1][(0, *j)] += weight(j, i)
    settings = {"include_center": False, "image": image, "intensity_sigma": 0.3}
    window = (3, prior, 1.3, border)
    found = neighborhood_proportions(labels, CLASSES, *window, dtype=torch.float64, **settings)

    torch.testing.assert_close(found[0], expected[0] / expected[1].clamp_min(1e-300))


@pytest.mark.parametrize("kernel_size", [3, 5, 7, 9])
@pytest.mark.parametrize("sigma", [0.1, 0.5, 2.0, 100.0])
@pytest.mark.parametrize("dims", [2, 3])
def test_center_weighs_as_much_as_all_neighbors(kernel_size, sigma, dims):
    """In the Gaussian prior a lone voxel keeps one half, for every kernel size and σ."""
    labels = torch.zeros(1, 1, *[11] * dims)
    middle = (0, 1, *[5] * dims)
    labels[(0, 0, *middle[2:])] = 1

    result = neighborhood_proportions(labels, 2, kernel_size, "gaussian", sigma)
    assert result[middle].item() == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("kernel_size", [7, 33])
def test_large_windows_are_counted_exactly(kernel_size):
    """Windows of more voxels of a class than a byte or a short integer counts do not overflow."""
    labels = (torch.rand(1, 1, 34, 35, 36) < 0.01).long() + (torch.rand(34, 35, 36) < 0.005)
    one_hot = (labels == torch.arange(CLASSES).view(1, -1, 1, 1, 1)).double()
    expected = one_hot
    for axis in range(3):  # the mean over a box is a mean of means, along one axis after the other
        size = [kernel_size if axis == other else 1 for other in range(3)]
        padding = [n // 2 for n in size]
        window = (size, 1, padding)
        expected = torch.nn.functional.avg_pool3d(expected, *window, count_include_pad=False)
    result = neighborhood_proportions(labels, CLASSES, kernel_size, dtype=torch.float64)

    torch.testing.assert_close(result, expected)


def test_integer_image_weighs_like_the_same_floats():
    """Gray values of uint8 are not subtracted as uint8, which would wrap."""
    image = torch.randint(0, 256, (1, 1, 6, 7), dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (1, 1, 6, 7))
    settings = {"prior": "bilateral", "intensity_sigma": 60.0}

    images = (image, image.float())
    found = (neighborhood_proportions(labels, CLASSES, image=x, **settings) for x in images)
    torch.testing.assert_close(*found)


def test_defaults_are_those_of_the_penalty():
    """A mean over three voxels that exist."""
    functions = (neighborhood_proportions, neighborhood_penalty)
    of_prior, of_penalty = (signature(function).parameters for function in functions)
    shared = of_prior.keys() & of_penalty.keys() - {"logits", "labels"}

    assert {"kernel_size", "prior", "sigma", "border", "intensity_sigma"} <= shared
    assert all(of_prior[name].default == of_penalty[name].default for name in shared)


def test_bilateral_without_contrast_or_distance_is_mean():
    """On a constant image and with an infinite σ, the bilateral prior is the mean."""
    labels = torch.randint(CLASSES, (2, 1, 6, 5))
    constant = torch.full((2, 4, 6, 5), 7.0)
    settings = {"prior": "bilateral", "sigma": math.inf, "image": constant}
    result = neighborhood_proportions(labels, CLASSES, **settings)
    torch.testing.assert_close(result, neighborhood_proportions(labels, CLASSES))


def test_windows_without_counted_voxels_have_no_proportions():
    """τ is 0, not NaN, where the whole window is ignored."""
    labels = torch.full((1, 1, 5, 5), 255)
    for prior in ("mean", "gaussian"):
        result = neighborhood_proportions(labels, 2, prior=prior, ignore_index=255)
        same_values(result, torch.zeros(1, 2, 5, 5))


def monai_prior(labels, kernel_size, ops="mean"):
    """The prior of MONAI's NACLLoss for labels ``(B, *spatial)``."""
    loss = monai.losses.NACLLoss(CLASSES, labels.ndim - 1, kernel_size, ops)
    return loss.get_constr_target(labels)


@pytest.mark.parametrize("shape", [(2, 9, 8), (1, 7, 6, 8)], ids=["2-D", "3-D"])
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_monai_agrees_inside_only(shape, kernel_size):
    """MONAI's mean prior equals ours away from the border, where its zeros take no part."""
    labels = torch.randint(CLASSES, shape)
    ours = neighborhood_proportions(labels, CLASSES, kernel_size)
    theirs = monai_prior(labels, kernel_size)
    radius = kernel_size // 2
    inside = (..., *[slice(radius, -radius)] * (labels.ndim - 1))

    torch.testing.assert_close(ours[inside], theirs[inside])
    assert (theirs.sum(1) < 0.999).sum() == labels.numel() - ours[inside][:, 0].numel()


def test_monai_gaussian_disregards_the_kernel_size():
    """MONAI's Gaussian prior is the same for every kernel size, and has no heavy center."""
    labels = torch.zeros(1, 15, 15, dtype=torch.int64)
    labels[0, 7, 7] = 1

    priors = [monai_prior(labels, size, "gaussian") for size in (3, 9)]
    torch.testing.assert_close(*priors)
    assert priors[0][0, 1, 7, 7] < 0.2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_size": 4}, "kernel_size: is 4; pass an odd number, 3 or more"),
        (
            {"spacing": [1.0, 3.0]},
            "spacing: is [1.0, 3.0], and has no effect without width_mm; pass both, or kernel_size and "
            "sigma for each axis",
        ),
        (
            {"prior": "bilateral"},
            "image: is missing; pass one, by which prior 'bilateral' weighs neighbors",
        ),
        (
            {"prior": "bilateral", "image": torch.zeros(1, 1, 4, 5)},
            "image: has the shape (1, 1, 4, 5); pass (1, channels, 4, 4), as the labels have it",
        ),
        (
            {"prior": "bilateral", "image": torch.zeros(2, 1, 4, 4)},
            "image: has the shape (2, 1, 4, 4); pass (1, channels, 4, 4), as the labels have it",
        ),
    ],
)
def test_unusable_settings_are_refused(settings, message):
    """In one line, with the remedy; those that NACL shares are in test_settings.py."""
    assert refused(neighborhood_proportions, torch.zeros(1, 1, 4, 4), 2, **settings) == message


@pytest.mark.parametrize("shape", [(1, 2, 4, 4, 4), (4, 4), (1, 1, 1, 4, 4, 4)])
def test_labels_of_unusable_shape_are_refused(shape):
    """Labels with several channels, or of other than 2 or 3 spatial axes, are refused."""
    assert refused(neighborhood_proportions, torch.zeros(shape), 2) == (
        f"labels: have the shape {shape}; "
        "pass (batch, 1, *spatial) or (batch, *spatial) in 2-D or 3-D"
    )


@pytest.mark.parametrize("prior", ["mean", "blur", "bilateral"])
def test_width_is_the_standard_deviation_of_the_weights(prior):
    """In mm, along each axis; of the mean as nearly as an odd window can be."""
    spacing = (0.5, 0.8)
    labels = torch.zeros(1, 1, 61, 61)
    labels[..., 30, 30] = 1
    settings = {"width_mm": 2.0, "spacing": spacing, "image": torch.zeros_like(labels)}
    weights = neighborhood_proportions(labels, 2, prior=prior, **settings)[0, 1].double()
    for axis, size in enumerate(spacing):
        places = (torch.arange(61) - 30) * size
        profile = weights.sum(1 - axis) / weights.sum()
        deviation = float((profile * places**2).sum().sqrt())
        assert deviation == pytest.approx(2.0, rel=0.03 if prior != "mean" else 0.1)  # windows end


@pytest.mark.parametrize("size", [3, 5, 7, 11])
def test_mean_of_a_window_s_own_width_is_that_window(size):
    """The width of k voxels is sqrt((k² - 1) / 12) of them."""
    width = 0.7 * math.sqrt((size**2 - 1) / 12)

    assert window_of_width("mean", width, (0.7, 0.7, 70.0))[0] == [size, size, 1]


def labeled(spacing, shape=(8, 9)):
    affine = np.diag([*spacing, *[1.0] * (4 - len(spacing))])
    labels = torch.randint(CLASSES, (2, 1, *shape))
    return torch.randn(2, CLASSES, *shape), MetaTensor(labels, affine=torch.tensor(affine)), labels


@pytest.mark.parametrize(
    ("spacing", "shape"), [((0.8, 1.6), (8, 9)), ((0.5, 1.0, 3.0), (5, 6, 4))], ids=["2-D", "3-D"]
)
def test_spacing_is_that_of_the_labels(spacing, shape):
    """A MetaTensor's affine or the argument, in function, penalty and loss alike."""
    logits, known, plain = labeled(spacing, shape)
    settings = {"prior": "blur", "width_mm": 1.1}
    sizes, sigma = window_of_width("blur", 1.1, spacing)
    expected = nacl_loss(logits, plain, prior="blur", kernel_size=sizes, sigma=sigma)

    torch.testing.assert_close(nacl_loss(logits, known, **settings), expected)
    for size in (spacing, np.array(spacing), torch.tensor(spacing, dtype=torch.float64)):
        torch.testing.assert_close(nacl_loss(logits, plain, spacing=size, **settings), expected)
    torch.testing.assert_close(NACLLoss(**settings)(logits, known), expected)
    soft = torch.nn.functional.one_hot(plain[:, 0], CLASSES).movedim(-1, 1)
    soft = MetaTensor(soft.float(), affine=known.affine)
    torch.testing.assert_close(NACLLoss(**settings)(logits, soft), expected)
    shares = neighborhood_proportions(plain, CLASSES, sizes, "blur", sigma)
    torch.testing.assert_close(neighborhood_proportions(known, CLASSES, **settings), shares)
    of_array = neighborhood_proportions(plain, CLASSES, spacing=np.array(spacing), **settings)
    torch.testing.assert_close(of_array, shares)


def test_affine_may_turn_the_axes():
    """Spacing is the length of a step, whatever its direction."""
    affine = torch.tensor([[0.0, -2, 0, 5], [0.5, 0, 0, 7], [0, 0, 3, 1], [0, 0, 0, 1]])
    labels = MetaTensor(torch.zeros(1, 1, 4, 4, 4), affine=affine)

    assert label_spacing(labels, 3) == pytest.approx([0.5, 2.0, 3.0])
    assert label_spacing(labels, 2) == pytest.approx([0.5, 2.0])


SEVERAL = torch.stack([torch.eye(4), torch.diag(torch.tensor([2.0, 1, 1, 1]))])


@pytest.mark.parametrize(
    ("affine", "settings", "line"),
    [
        (None, {"width_mm": 1.0}, "labels: do not know the size of their voxels"),
        (SEVERAL, {"width_mm": 1.0}, "labels: have voxels of"),
        (None, {"width_mm": 1.0, "spacing": (1.0, 0.0)}, "spacing: is [1.0, 0.0]; pass positive"),
        (
            torch.eye(4),
            {"width_mm": 0.1},
            "width_mm: is 0.1, less than the prior 'mean' resolves",
        ),
        (None, {"spacing": np.array([1.0, 3.0])}, "spacing: is"),
        (
            None,
            {"kernel_size": [3, 3, 3]},
            "kernel_size: is [3, 3, 3], for 3 axes; the labels have 2",
        ),
    ],
)
def test_what_has_no_width_is_refused(affine, settings, line):
    """No spacing, several in a batch, less than a voxel, a spacing alone, or one of other axes."""
    labels = torch.randint(CLASSES, (2, 1, 8, 9))
    if affine is not None:
        labels = MetaTensor(labels, affine=affine)
    logits = torch.randn(2, CLASSES, 8, 9)
    assert refused(nacl_loss, logits, labels, **settings).startswith(line)


@pytest.mark.parametrize("module", [NACLLoss, NeighborhoodPenalty])
@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"spacing": [1.0, 3.0]}, "spacing: is .*, and has no effect without width_mm"),
        ({"spacing": (1.0, 0.0), "width_mm": 1.0}, "spacing: is .*; pass positive numbers of mm"),
    ],
)
def test_spacing_that_cannot_be_used_is_refused(module, settings, line):
    """When the module is made."""
    with pytest.raises(InputError, match=line):
        module(**settings)
