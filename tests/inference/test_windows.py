"""What overlapping windows say of a voxel is averaged as probabilities, and handed on as logits."""

import copy
from itertools import product

import pytest
import torch
from monai.data import MetaTensor
from monai.data.utils import compute_importance_map
from monai.inferers import SliceInferer

from nacl_monai.inference import Behind, WindowInferer
from nacl_monai.inference.windows import spacing_of
from nacl_monai.posthoc import DistanceTemperatures, Ensemble, Temperature, VectorScaling
from tests.same import same_values


@pytest.fixture
def network():
    """Three classes of two channels; what it says of a voxel depends on where a window ends."""
    torch.manual_seed(0)
    return torch.nn.Conv3d(2, 3, kernel_size=5, padding=2)


@pytest.fixture
def image():
    torch.manual_seed(1)
    return 3 * torch.rand(2, 2, 13, 8, 11)


def starts(length, window, overlap):
    """Where windows begin along an axis; the last ends with the volume."""
    step = int(window * (1 - overlap))
    found = [0]
    while found[-1] + window < length:
        found.append(min(found[-1] + step, length - window))
    return found


def slow_means(image, network, window, overlap, weights):
    """Every voxel's mean of the probabilities, window by window and voxel by voxel."""
    total, weight = torch.zeros(len(image), 3, *image.shape[2:]), torch.zeros(image.shape[2:])
    axes = (starts(n, m, overlap) for n, m in zip(image.shape[2:], window, strict=True))
    for corner in product(*axes):
        box = tuple(slice(a, a + m) for a, m in zip(corner, window, strict=True))
        probs = network(image[(..., *box)]).softmax(1)
        for place in product(*map(range, window)):
            at = tuple(a + n for a, n in zip(corner, place, strict=True))
            total[(..., *at)] += weights[place] * probs[(..., *place)]
            weight[at] += weights[place]
    return total / weight


@pytest.mark.parametrize(("mode", "overlap"), [("constant", 0.5), ("gaussian", 0.25)])
def test_probabilities_are_those_of_a_slow_loop(network, image, mode, overlap):
    """For two images at once; the weights are MONAI's."""
    window = (8, 8, 6)
    weights = compute_importance_map(window, mode=mode).expand(window)
    inferer = WindowInferer(window, mode=mode, overlap=overlap)

    with torch.no_grad():
        found = inferer(image, network).softmax(1)
        expected = slow_means(image, network, window, overlap, weights)

    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def two_opinions(first, second):
    """A network that says ``first`` of the window that begins at 0, and ``second`` of any other."""

    def network(windows):
        begins = windows[:, :1, :1, :1, :1]
        certain = torch.where(begins == 0, torch.tensor(first), torch.tensor(second))
        logits = torch.cat([certain.logit(), torch.zeros_like(certain)], 1)
        return logits.expand(-1, -1, *windows.shape[2:]).clone()

    return network


def along_the_first_axis(length=12):
    return torch.arange(float(length)).view(1, 1, -1, 1, 1).expand(-1, -1, -1, 4, 4)


@pytest.mark.parametrize(
    ("average", "between"), [("probabilities", (0.99 + 0.6) / 2), ("logits", 0.9241623)]
)
def test_windows_that_disagree(average, between):
    """Two windows of eight share four: 0.99 and 0.6 are 0.795, and their logits those of 0.924."""
    inferer = WindowInferer([8, 4, 4], average=average, overlap=0.5, mode="constant")

    logits = inferer(along_the_first_axis(), two_opinions(0.99, 0.6))

    expected = torch.tensor([0.99] * 4 + [between] * 4 + [0.6] * 4)
    torch.testing.assert_close(logits.softmax(1)[0, 0, :, 0, 0], expected, rtol=1e-5, atol=0)


def test_windows_that_agree_give_the_logits_of_the_network(image):
    """And not their logarithms, so that whatever measures logits measures the network's."""
    network = torch.nn.Conv3d(2, 3, kernel_size=1)

    with torch.no_grad():
        found = WindowInferer([8, 8, 6])(image, network)
        torch.testing.assert_close(found, network(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_volume_within_one_window_has_the_logits_of_the_network(network, image, average):
    """A smaller one is padded with zeros on all sides."""
    with torch.no_grad():
        padded = torch.nn.functional.pad(image, (2, 3, 0, 0, 1, 2))
        expected = network(padded)[:, :, 1:14, :, 2:13]
        found = WindowInferer([16, 8, 16], average=average)(image, network)

    torch.testing.assert_close(found, expected)


def test_slices_within_one_window_have_the_logits_of_monais_inferer(image):
    """As before there were patches."""
    network = torch.nn.Conv2d(2, 3, kernel_size=3, padding=1)
    expected = SliceInferer(roi_size=(16, 8), spatial_dim=2, sw_batch_size=16)(image, network)

    torch.testing.assert_close(WindowInferer([16, 8])(image, network), expected)


def test_slices_larger_than_a_window_are_averaged_slice_by_slice(image):
    """What one slice says is the same in a volume and alone."""
    network = torch.nn.Conv2d(2, 3, kernel_size=3, padding=1)
    inferer = WindowInferer([8, 8])
    with torch.no_grad():
        whole = inferer(image, network)
        for depth in range(image.shape[-1]):
            alone = inferer(image[..., depth : depth + 1], network)
            torch.testing.assert_close(alone[..., 0], whole[..., depth])


def test_classes_of_no_probability_have_finite_logits():
    """A probability below the smallest number is that number."""
    network = two_opinions(1.0, 1.0)  # an infinite logit would be NaN in what follows

    def certain(windows):
        return network(windows).clamp(-200, 200)

    logits = WindowInferer([8, 4, 4])(along_the_first_axis(), certain)

    assert logits.isfinite().all()
    assert logits.softmax(1)[0, 0].min() == 1


@pytest.mark.parametrize(
    "calibrator", [Temperature(3.0), VectorScaling([0.5, 1.0, 2.0], [0.3, 0.0, -0.2])]
)
def test_calibrator_sees_the_averaged_logits(network, image, calibrator):
    """As where it was fitted; a temperature changes no label map, though windows disagree."""
    inferer = WindowInferer([8, 8, 6])
    with torch.no_grad():
        plain = inferer(image, network)
        found = inferer(image, Behind(network, calibrator))

    torch.testing.assert_close(found, calibrator(plain))
    if isinstance(calibrator, Temperature):
        same_values(found.argmax(1), plain.argmax(1))


@pytest.mark.parametrize("average", ["probabilities", "logits"])
@pytest.mark.parametrize("behind", [None, Temperature(0.4)], ids=["mean", "temperature"])
def test_each_network_of_an_ensemble_sees_the_volume_by_itself(network, image, average, behind):
    """Its calibrator was fitted to its own averaged logits; what is behind the mean sees the mean."""
    inferer = WindowInferer([8, 8, 6], overlap=0.5, average=average)
    calibrators = Temperature(3.0), VectorScaling([0.5, 1.0, 2.0], [0.3, 0.0, -0.2])
    negated = copy.deepcopy(network)
    negated.weight.data *= -2
    members = [Behind(*pair) for pair in zip((network, negated), calibrators, strict=True)]
    ensemble = Ensemble(members)

    with torch.no_grad():
        first, second = (
            calibrator(inferer(image, member.network)).softmax(1)
            for member, calibrator in zip(members, calibrators, strict=True)
        )
        found = inferer(image, ensemble if behind is None else Behind(ensemble, behind))

    mean = (first + second) / 2
    expected = mean if behind is None else behind(mean.log()).softmax(1)
    torch.testing.assert_close(found.softmax(1), expected, rtol=1e-4, atol=1e-6)


CURVE = [2.5, 2.0, 1.5, 1.0, 0.8, 0.5]
#: An affine holds the nearest float32 of .8 and 1.1, so that distances differ in their last digits.
SIZES = [0.8, 1.1, 3.0]


def located(image):
    """The image with metadata that know its spacing."""
    return MetaTensor(image, affine=torch.diag(torch.tensor([*SIZES, 1.0])))


@pytest.mark.parametrize("roi_size", [[8, 8, 6], [16, 8, 16], [16, 8], [8, 8]])
def test_distance_to_the_border_is_that_in_the_whole_volume(network, image, roi_size):
    """Along all axes, for patches as for slices, of one window or of several."""
    if len(roi_size) == 2:
        network = torch.nn.Conv2d(2, 3, kernel_size=5, padding=2)
    inferer, calibrator = WindowInferer(roi_size), DistanceTemperatures(CURVE)
    with torch.no_grad():
        expected = calibrator(inferer(image, network), spacing=SIZES)
        found = inferer(located(image), Behind(network, calibrator))

    torch.testing.assert_close(found, expected)
    assert not isinstance(found, MetaTensor)


def test_each_member_and_the_mean_of_an_ensemble_know_the_spacing(network, image):
    """Distances to the border of each one's own prediction; that behind the mean to the mean's."""
    inferer, curve = WindowInferer([8, 8, 6]), DistanceTemperatures(CURVE)
    other = copy.deepcopy(network)
    other.weight.data *= -2
    members = Ensemble([Behind(network, curve), Behind(other, curve)])
    with torch.no_grad():
        alone = [curve(inferer(image, member), spacing=SIZES) for member in (network, other)]
        expected = curve(members.mean_of(alone), spacing=SIZES)
        found = inferer(located(image), Behind(members, curve))

    torch.testing.assert_close(found, expected)


def test_image_of_unknown_spacing_has_no_distance_in_millimeters(network, image):
    """Nor has a calibrator of voxels anything to say of one whose spacing is known."""
    inferer, voxels = WindowInferer([8, 8, 6]), DistanceTemperatures(CURVE, unit="voxels")
    with torch.no_grad():
        with pytest.raises(ValueError, match="spacing: is unknown"):
            inferer(image, Behind(network, DistanceTemperatures(CURVE)))
        with pytest.raises(ValueError, match="spacing: is known"):
            inferer(located(image), Behind(network, voxels))
        assert inferer(image, Behind(network, voxels)).isfinite().all()


def test_network_in_its_place_knows_the_spacing_too(image):
    """Where another inferer than this one calls it; of a batch the first image says it."""
    network, calibrator = torch.nn.Conv3d(2, 3, 1), DistanceTemperatures(CURVE)
    whole, batch = located(image), MetaTensor(image, affine=torch.eye(4).expand(2, 4, 4))
    batch.is_batch = True
    with torch.no_grad():
        found = Behind(network, calibrator)(whole)
        expected = calibrator(network(image), spacing=SIZES)
        torch.testing.assert_close(found.as_tensor(), expected)
    assert spacing_of(batch) == [1.0] * 3
