"""Each of several overlapping structures is a problem with two classes."""

import numpy as np
import pytest
import torch
from metric_samples import random_case

from nacl_monai.errors import InputError
from nacl_monai.metrics import ERRORS, CalibrationMetric

REGIONS = ("foreground", "union", "all")
STRUCTURES = ("WT", "TC")


@pytest.fixture(scope="module")
def case():
    """Probabilities and masks of two structures, the second inside the first."""
    rng = np.random.default_rng(1)
    masks = rng.random((2, 2, 5, 6, 4)) < 0.4
    masks[:, 1] &= masks[:, 0]
    return rng.random(masks.shape).astype(np.float32), masks.astype(np.uint8)


def slow_ece(probs, mask, region):
    """One structure of one case, voxel by voxel."""
    bins, voxels = np.zeros((15, 2)), 0
    for p, inside in zip(probs.ravel(), mask.ravel(), strict=True):
        predicted = p > 0.5
        if not {"foreground": inside, "union": inside or predicted, "all": True}[region]:
            continue
        confidence = p if predicted else np.float32(1) - p
        at = next(k for k in range(15) if confidence <= np.float32((k + 1) / 15))
        bins[at] += confidence, predicted == inside
        voxels += 1
    return np.abs(bins[:, 0] - bins[:, 1]).sum() / voxels


def test_each_structure_has_its_own_error_and_regions(case):
    """Foreground and union are those of the structure; the mean is over structures."""
    probs, masks = case
    metric = CalibrationMetric(errors=["ece"], regions=REGIONS, structures=STRUCTURES)
    metric(probs, masks)

    errors = metric.by_region(metric.case_errors())
    for region in REGIONS:
        expected = np.array(
            [[slow_ece(probs[n, k], masks[n, k], region) for k in range(2)] for n in range(2)]
        )
        for k, structure in enumerate(STRUCTURES):
            measured = errors[f"ece_{region}_{structure}"]
            np.testing.assert_allclose(measured, expected[:, k], atol=1e-12, rtol=0)
        np.testing.assert_allclose(errors[f"ece_{region}"], expected.mean(1), atol=1e-12, rtol=0)
    assert metric.aggregate()["ece_all"] == pytest.approx(expected.mean())


def test_two_exclusive_classes_are_one_structure():
    """A softmax of two classes and the sigmoid of one structure are the same network."""
    probs, labels = random_case((2, 2, 4, 5))
    softmax = CalibrationMetric(errors=ERRORS)
    softmax(probs, labels)
    sigmoid = CalibrationMetric(errors=ERRORS, structures=["one"])
    sigmoid(probs[:, 1:], labels[:, None])

    for name, errors in softmax.case_errors().items():
        torch.testing.assert_close(sigmoid.case_errors()[name], errors, equal_nan=True)


def test_absent_structure_stays_out_of_the_mean(case):
    """A structure that the label lacks has no foreground."""
    probs, masks = case
    absent = masks * np.array([1, 0], np.uint8)[:, None, None, None]
    metric = CalibrationMetric(errors=["ece"], regions=["foreground"], structures=STRUCTURES)
    metric(probs, absent)

    numbers = metric.aggregate()
    assert numbers["ece_foreground"] == numbers["ece_foreground_WT"]
    assert numbers["empty_foreground_TC"] == 2
    assert np.isnan(numbers["ece_foreground_TC"])


def test_logits_are_taken_through_a_sigmoid(case):
    """Each channel by itself."""
    probs, masks = case
    results = []
    for values, from_logits in ((probs, False), (np.log(probs / (1 - probs)), True)):
        metric = CalibrationMetric(errors=["ece"], structures=STRUCTURES, from_logits=from_logits)
        metric(values, masks)
        results.append(metric.aggregate()["ece_all"])

    assert results[0] == pytest.approx(results[1], abs=1e-5)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda probs, masks: (probs * 9, masks), "apply sigmoid to logits"),
        (lambda probs, masks: (probs, masks[:, :1]), "with 2 structures (WT, TC)"),
        (lambda probs, masks: (probs, masks * 2), "one mask of 0 and 1 per structure"),
        (lambda probs, masks: (probs[:, :, :0], masks[:, :, :0]), "without a voxel"),
    ],
)
def test_other_input_is_one_line(case, spoil, said):
    """Logits, other channels, other labels, nothing at all."""
    with pytest.raises(InputError) as caught:
        CalibrationMetric(structures=STRUCTURES)(*spoil(*case))

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
