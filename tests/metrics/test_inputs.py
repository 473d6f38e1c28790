import pytest
import torch
from metric_samples import random_case

from nacl_monai.errors import InputError
from nacl_monai.metrics import (
    CalibrationMetric,
    adaptive_calibration_error,
    brier_score,
    calibration_bins,
    classwise_calibration_error,
    expected_calibration_error,
    negative_log_likelihood,
)

PROBS, LABELS = random_case((2, 3, 4, 5))


def with_nan():
    probs = PROBS.clone()
    probs[0, 0, 0, 0] = torch.nan
    return probs


BAD = {
    "logits": (PROBS.log() + 2, LABELS, "apply softmax"),
    "one NaN": (with_nan(), LABELS, "contain NaN"),
    "sigmoid": (torch.full_like(PROBS, 0.9), LABELS, "must sum to 1"),
    "one channel": (PROBS[:, :1], LABELS, "two or more classes"),
    "integer probabilities": (PROBS.long(), LABELS, "must be floating"),
    "spatial shapes": (PROBS, LABELS[:, 1:], "do not fit"),
    "batch sizes": (PROBS, LABELS[:1], "do not fit"),
    "one-hot": (PROBS, PROBS.round(), "not one-hot"),
    "label too large": (PROBS, LABELS + 1, "classes 0 to 2"),
    "label negative": (PROBS, LABELS - 1, "classes 0 to 2"),
    "label NaN": (PROBS, LABELS * torch.nan, "classes 0 to 2"),
    "label between": (PROBS, LABELS.clamp(max=1) + 0.5, "whole numbers"),
}
METRICS = {
    "bins": calibration_bins,
    "ece": expected_calibration_error,
    "cece": classwise_calibration_error,
    "adaptive": adaptive_calibration_error,
    "nll": negative_log_likelihood,
    "brier": brier_score,
    "metric": lambda probs, labels: CalibrationMetric()(probs, labels),
    "metric, decollated": lambda probs, labels: CalibrationMetric()(list(probs), list(labels)),
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_one_clear_line(metric, bad):
    """Input that is no probability or no label ends in one line that names the fault."""
    if "metric" in metric and bad == "batch sizes":
        pytest.skip("a metric pairs the cases before it looks at them")
    probs, labels, message = BAD[bad]

    with pytest.raises(InputError, match=message) as raised:
        METRICS[metric](probs, labels)

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_softmax_of_any_precision_is_accepted(dtype):
    """The rounding of softmax in its own dtype is no error, with many classes neither."""
    probs = (4 * torch.randn(1, 40, 30, 30)).to(dtype).softmax(1)

    assert 0 <= expected_calibration_error(probs, torch.ones(1, 30, 30)) <= 1


def test_mask_of_another_shape():
    """A mask that fits no voxel grid is refused."""
    with pytest.raises(InputError, match="mask"):
        calibration_bins(PROBS, LABELS, mask=LABELS[:, 1:] > 0)


def test_no_bins():
    """There is at least one bin."""
    with pytest.raises(InputError, match="num_bins"):
        calibration_bins(PROBS, LABELS, num_bins=0)
    with pytest.raises(InputError, match="num_bins"):
        adaptive_calibration_error(PROBS, LABELS, num_bins=0)
