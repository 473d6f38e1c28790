import pytest
import torch
from metric_samples import random_case
from monai.data import MetaTensor

from nacl_monai.errors import InputError
from nacl_monai.metrics import CalibrationMetric, calibration_bins, expected_calibration_error
from nacl_monai.metrics.voxels import aligned, checked_voxels

PROBS, LABELS = random_case((2, 3, 4, 5))


def with_nan():
    probs = PROBS.clone()
    probs[0, 0, 0, 0] = torch.nan
    return probs


BAD = {
    "logits": (PROBS.log() + 2, LABELS, "apply softmax"),
    "one NaN": (with_nan(), LABELS, "hold NaN"),
    "sigmoid": (torch.full_like(PROBS, 0.9), LABELS, "the sum over a voxel's classes is off 1"),
    "one channel": (PROBS[:, :1], LABELS, "at least 2 classes"),
    "integer probabilities": (PROBS.long(), LABELS, "floating-point output of softmax"),
    "spatial shapes": (PROBS, LABELS[:, 1:], "^labels: .* does not fit outputs"),
    "batch sizes": (PROBS, LABELS[:1], "does not fit outputs"),
    "soft labels": (PROBS, PROBS, "are not one-hot"),
    "label too large": (PROBS, LABELS + 1, "0 to 2"),
    "label negative": (PROBS, LABELS - 1, "0 to 2"),
    "label NaN": (PROBS, LABELS * torch.nan, "hold nan"),
    "label between": (PROBS, LABELS.clamp(max=1) + 0.5, "not a class index"),
    "no case": (PROBS[:0], LABELS[:0], "without a voxel; leave empty batches out"),
    "no voxel": (PROBS[:, :, :0], LABELS[:, :, :0], "without a voxel; leave empty batches out"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_one_clear_line(bad):
    """Input that is not a probability or not a label ends in one line that names the fault."""
    probs, labels, message = BAD[bad]

    with pytest.raises(InputError, match=message) as raised:
        checked_voxels(probs, labels)

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("measure", [calibration_bins, CalibrationMetric()])
def test_bins_and_metric_check_what_they_are_given(measure):
    """As every function does."""
    with pytest.raises(InputError, match="hold NaN"):
        measure(with_nan(), LABELS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_softmax_of_any_precision_is_accepted(dtype):
    """The rounding of softmax in its own dtype is not an error, with many classes neither."""
    probs = (4 * torch.randn(1, 40, 30, 30)).to(dtype).softmax(1)

    assert 0 <= expected_calibration_error(probs, torch.ones(1, 30, 30)) <= 1


def test_checked_voxels_have_neither_gradient_nor_metadata():
    """What a metric works with is plain: no gradient, no metadata, no channel."""
    voxels = checked_voxels(MetaTensor(PROBS.clone().requires_grad_()), MetaTensor(LABELS[:, None]))

    assert type(voxels.probs) is type(voxels.labels) is torch.Tensor
    assert not voxels.probs.requires_grad
    assert voxels.labels.shape == LABELS.shape
    assert torch.equal(voxels.probs, PROBS)


def test_labels_move_to_the_device_of_the_probabilities():
    """A label on another device follows the probabilities, as a metric may get both apart."""
    assert aligned("labels", LABELS, PROBS.to("meta")).device.type == "meta"
