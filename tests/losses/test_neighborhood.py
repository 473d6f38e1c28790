"""The prior τ: laws for any labels, and equality with the loop over voxels."""

import math

import monai
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nacl_monai.errors import InputError
from nacl_monai.losses import neighborhood_proportions

CLASSES = 3
SHAPES = [(5, 4), (1, 6), (4, 3, 5), (3, 1, 2)]
IDS = ["2-D", "2-D line", "3-D", "3-D thin"]


@st.composite
def label_maps(draw):
    """Label maps ``(1, 1, *spatial)``, 2-D or 3-D, some axes shorter than the window."""
    dims = draw(st.sampled_from([2, 3]))
    shape = draw(st.lists(st.integers(1, 6), min_size=dims, max_size=dims))
    seed = draw(st.integers(0, 2**16))
    return torch.randint(CLASSES, (1, 1, *shape), generator=torch.Generator().manual_seed(seed))


laws = settings(max_examples=40, deadline=None)
kernels = st.sampled_from([3, 5, 7])
borders = st.sampled_from(["valid", "replicate"])
priors = st.sampled_from(["mean", "gaussian", "blur", "bilateral"])


def tau(labels, prior, kernel_size, border, **settings):
    """τ with, for the bilateral prior, an image that depends on the place alone."""
    shape = labels.shape[2:]
    ramp = sum((torch.arange(n) - (n - 1) / 2).abs().view(-1, *[1] * (len(shape) - 1 - axis))
               for axis, n in enumerate(shape))  # fmt: skip
    image = (0.1 * ramp).sin().expand(labels.shape[0], 2, *shape)
    return neighborhood_proportions(
        labels, CLASSES, kernel_size, prior, 1.3, border, image=image, **settings
    )


@laws
@given(label_maps(), priors, kernels, borders)
def test_proportions_sum_to_one(labels, prior, kernel_size, border):
    """At every voxel, corners included, the proportions are non-negative and sum to 1."""
    result = tau(labels, prior, kernel_size, border)

    assert result.shape == (1, CLASSES, *labels.shape[2:])
    assert (result >= 0).all()
    torch.testing.assert_close(result.sum(1), torch.ones(1, *labels.shape[2:]))


@laws
@given(label_maps(), priors, kernels, borders, st.integers(0, CLASSES - 1))
def test_constant_maps_give_one_hot_proportions(labels, prior, kernel_size, border, label):
    """Where all labels are the same, that class has the proportion 1 and the others 0."""
    constant = torch.full_like(labels, label)
    expected = torch.zeros(1, CLASSES, *labels.shape[2:])
    expected[:, label] = 1

    assert torch.equal(tau(constant, prior, kernel_size, border), expected)


@laws
@given(label_maps(), priors, kernels, borders)
def test_mirrored_labels_give_mirrored_proportions(labels, prior, kernel_size, border):
    """Mirroring the labels along any axis mirrors the proportions."""
    result = tau(labels, prior, kernel_size, border)
    for axis in range(2, labels.ndim):
        mirrored = tau(labels.flip(axis), prior, kernel_size, border)
        torch.testing.assert_close(mirrored, result.flip(axis))


@laws
@given(label_maps(), priors, kernels, borders, st.permutations(range(CLASSES)))
def test_renamed_classes_give_permuted_proportions(labels, prior, kernel_size, border, order):
    """Renaming the classes permutes the channels."""
    order = torch.tensor(order)
    renamed = tau(order[labels], prior, kernel_size, border)

    torch.testing.assert_close(renamed[:, order], tau(labels, prior, kernel_size, border))


@laws
@given(label_maps(), priors, kernels, borders)
def test_proportions_are_linear_in_the_one_hot_labels(labels, prior, kernel_size, border):
    """τ is linear in the one-hot labels: the proportion of a union is the sum of proportions."""
    merged = labels.where(labels != 2, 1)
    parts = tau(labels, prior, kernel_size, border)

    union = tau(merged, prior, kernel_size, border)[:, 1]
    torch.testing.assert_close(union, parts[:, 1] + parts[:, 2])


@pytest.mark.parametrize("border", ["valid", "replicate"])
@pytest.mark.parametrize("ignore_index", [None, 0, 1, 255])
@pytest.mark.parametrize(
    ("shape", "kernel_size"), [(SHAPES[0], 5), *((shape, 3) for shape in SHAPES)], ids=str
)
class TestEqualsTheLoop:
    """Every prior equals equation 2 computed voxel by voxel."""

    def labels(self, shape, ignore_index):
        values = torch.randint(CLASSES, shape, generator=torch.Generator().manual_seed(3))
        if ignore_index == 255:
            values[..., 0] = 255
        return values

    def check(
        self, reference, labels, prior, kernel_size, weight, border, ignore_index, **settings
    ):
        radius = kernel_size // 2
        expected = reference.proportions(labels, CLASSES, weight, border, ignore_index, radius)
        result = neighborhood_proportions(
            labels[None, None],
            CLASSES,
            kernel_size,
            prior,
            border=border,
            ignore_index=ignore_index,
            dtype=torch.float64,
            **settings,
        )
        torch.testing.assert_close(result[0], expected)

    def test_mean(self, reference, shape, kernel_size, ignore_index, border):
        """Each voxel of the window weighs the same."""
        labels = self.labels(shape, ignore_index)
        self.check(
            reference, labels, "mean", kernel_size, reference.mean_weight, border, ignore_index
        )

    @pytest.mark.parametrize("sigma", [0.2, 2.0])
    def test_gaussian(self, reference, shape, kernel_size, ignore_index, border, sigma):
        """The center weighs as much as all its neighbors in the full window."""
        labels = self.labels(shape, ignore_index)
        weight = reference.svls_weight(sigma, kernel_size // 2, len(shape))
        self.check(
            reference, labels, "gaussian", kernel_size, weight, border, ignore_index, sigma=sigma
        )

    def test_bilateral(self, reference, shape, kernel_size, ignore_index, border):
        """Neighbors weigh by their distance and by the image's difference, over all channels."""
        labels = self.labels(shape, ignore_index)
        image = torch.rand(4, *shape, generator=torch.Generator().manual_seed(5)).double()
        weight = reference.bilateral_weight(image, 1.5, 0.3)
        self.check(
            reference,
            labels, "bilateral", kernel_size, weight, border, ignore_index,
            sigma=1.5, image=image[None], intensity_sigma=0.3,
        )  # fmt: skip


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
    expected = torch.nn.functional.avg_pool3d(
        one_hot, kernel_size, 1, kernel_size // 2, count_include_pad=False
    )
    result = neighborhood_proportions(labels, CLASSES, kernel_size, dtype=torch.float64)

    torch.testing.assert_close(result, expected)


def test_integer_image_weighs_like_the_same_floats():
    """Gray values of uint8 are not subtracted as uint8, which would wrap."""
    image = torch.randint(0, 256, (1, 1, 6, 7), dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (1, 1, 6, 7))
    settings = {"prior": "bilateral", "intensity_sigma": 60.0}

    assert torch.equal(
        neighborhood_proportions(labels, CLASSES, image=image, **settings),
        neighborhood_proportions(labels, CLASSES, image=image.float(), **settings),
    )


def test_defaults_are_a_mean_over_three_voxels_that_exist():
    """The arguments may be given by position, in the documented order."""
    labels = torch.randint(CLASSES, (1, 1, 5, 6))
    expected = neighborhood_proportions(labels, CLASSES)

    assert torch.equal(neighborhood_proportions(labels, CLASSES, 3, "mean", 1.0, "valid"), expected)
    for prior in ("gaussian", "bilateral"):
        image = torch.rand(1, 1, 5, 6)
        by_default = neighborhood_proportions(labels, CLASSES, prior=prior, image=image)
        given = neighborhood_proportions(
            labels, CLASSES, 3, prior, 1.0, "valid", image=image, intensity_sigma=0.1
        )
        assert torch.equal(by_default, given)


def test_bilateral_without_contrast_or_distance_is_mean():
    """On a constant image and with an infinite σ, the bilateral prior is the mean."""
    labels = torch.randint(CLASSES, (2, 1, 6, 5))
    constant = torch.full((2, 4, 6, 5), 7.0)
    result = neighborhood_proportions(
        labels, CLASSES, prior="bilateral", sigma=math.inf, image=constant
    )
    torch.testing.assert_close(result, neighborhood_proportions(labels, CLASSES))


def test_bilateral_respects_edges_of_the_image():
    """Where the image's edge is that of the labels, the bilateral prior is one-hot."""
    labels = torch.zeros(1, 1, 6, 6)
    labels[..., 3:] = 1
    result = neighborhood_proportions(labels, 2, prior="bilateral", image=labels)

    torch.testing.assert_close(result[:, 1:], labels)


def test_windows_without_counted_voxels_have_no_proportions():
    """τ is 0, not NaN, where the whole window is ignored."""
    labels = torch.full((1, 1, 5, 5), 255)
    for prior in ("mean", "gaussian"):
        result = neighborhood_proportions(labels, 2, prior=prior, ignore_index=255)
        assert torch.equal(result, torch.zeros(1, 2, 5, 5))


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


def test_monai_loses_mass_in_the_corner():
    """In the corner of an all-ones map, MONAI's proportion is 4/9, in 3-D 8/27; ours is 1."""
    for dims, share in ((2, 4 / 9), (3, 8 / 27)):
        ones = torch.ones(1, *[6] * dims, dtype=torch.int64)
        corner = (0, 1, *[0] * dims)
        assert monai_prior(ones, 3)[corner].item() == pytest.approx(share)
        assert neighborhood_proportions(ones, CLASSES)[corner].item() == 1


def test_monai_gaussian_disregards_the_kernel_size():
    """MONAI's Gaussian prior is the same for every kernel size, and has no heavy center."""
    labels = torch.zeros(1, 15, 15, dtype=torch.int64)
    labels[0, 7, 7] = 1

    assert torch.equal(monai_prior(labels, 3, "gaussian"), monai_prior(labels, 9, "gaussian"))
    assert monai_prior(labels, 3, "gaussian")[0, 1, 7, 7] < 0.2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_size": 4}, "kernel_size: is 4; pass an odd number, 3 or more"),
        ({"kernel_size": 1}, "kernel_size: is 1; pass an odd number, 3 or more"),
        ({"prior": "median"}, "prior: is 'median'; pass one of mean, gaussian, blur, bilateral"),
        ({"border": "zeros"}, "border: is 'zeros'; pass one of valid, replicate"),
        ({"prior": "gaussian", "sigma": 0.0}, "sigma: is 0.0; pass 0.1 voxels or more"),
        ({"prior": "gaussian", "sigma": math.nan}, "sigma: is nan; pass 0.1 voxels or more"),
        (
            {"prior": "bilateral", "intensity_sigma": 0.0},
            "intensity_sigma: is 0.0; pass a positive number",
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
    """A setting that defines no neighborhood is named in one line, with the remedy."""
    with pytest.raises(InputError) as caught:
        neighborhood_proportions(torch.zeros(1, 1, 4, 4), 2, **settings)
    assert str(caught.value) == message


@pytest.mark.parametrize("shape", [(1, 2, 4, 4, 4), (4, 4), (1, 1, 1, 4, 4, 4)])
def test_labels_of_unusable_shape_are_refused(shape):
    """Labels with several channels, or of other than 2 or 3 spatial axes, are refused."""
    with pytest.raises(InputError) as caught:
        neighborhood_proportions(torch.zeros(shape), 2)
    assert str(caught.value) == (
        f"labels: have the shape {shape}; "
        "pass (batch, 1, *spatial) or (batch, *spatial) in 2-D or 3-D"
    )
