"""Each of several overlapping structures is a problem with two classes."""

import numpy as np
import pytest
import torch
from metric_oracles import slow_bins, slow_errors
from metric_samples import measured, random_case

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
    """One structure of one case, as a problem of two classes, voxel by voxel."""
    inside, labels = torch.from_numpy(probs), torch.from_numpy(mask).long()
    foreground, union = labels == 1, (labels == 1) | (inside > 0.5)
    voxels = {"foreground": foreground, "union": union, "all": None}[region]
    top1 = (
        sums[0] for sums in slow_bins(torch.stack([1 - inside, inside])[None], labels, voxels, 15)
    )
    ece, *_ = slow_errors(*top1)
    return ece


def test_each_structure_has_its_own_error_and_regions(case):
    """Foreground and union are those of the structure; the mean is over structures."""
    probs, masks = case
    metric = measured(probs, masks, errors=["ece"], regions=REGIONS, structures=STRUCTURES)

    errors = metric.by_region(metric.case_errors())
    for region in REGIONS:
        expected = np.array(
            [[slow_ece(probs[n, k], masks[n, k], region) for k in range(2)] for n in range(2)]
        )
        for k, structure in enumerate(STRUCTURES):
            of_structure = errors[f"ece_{region}_{structure}"]
            np.testing.assert_allclose(of_structure, expected[:, k], atol=1e-12, rtol=0)
        np.testing.assert_allclose(errors[f"ece_{region}"], expected.mean(1), atol=1e-12, rtol=0)
    assert metric.aggregate()["ece_all"] == pytest.approx(expected.mean())


def test_two_exclusive_classes_are_one_structure():
    """A softmax of two classes and the sigmoid of one structure are the same network."""
    probs, labels = random_case((2, 2, 4, 5))
    softmax = measured(probs, labels, errors=ERRORS)
    sigmoid = measured(probs[:, 1:], labels[:, None], errors=ERRORS, structures=["one"])

    for name, errors in softmax.case_errors().items():
        torch.testing.assert_close(sigmoid.case_errors()[name], errors, equal_nan=True)


def test_absent_structure_stays_out_of_the_mean(case):
    """A structure that the label lacks has no foreground."""
    probs, masks = case
    absent = masks * np.array([1, 0], np.uint8)[:, None, None, None]
    options = {"regions": ["foreground"], "structures": STRUCTURES}

    numbers = measured(probs, absent, errors=["ece"], **options).aggregate()

    assert numbers["ece_foreground"] == numbers["ece_foreground_WT"]
    assert numbers["empty_foreground_TC"] == 2
    assert np.isnan(numbers["ece_foreground_TC"])


def test_logits_are_taken_through_a_sigmoid(case):
    """Each channel by itself."""
    probs, masks = case
    options = {"errors": ["ece"], "regions": ["all"], "structures": STRUCTURES}

    expected = measured(probs, masks, **options).aggregate()
    logits = np.log(probs / (1 - probs))
    found = measured(logits, masks, from_logits=True, **options).aggregate()

    assert found == pytest.approx(expected, abs=1e-5, nan_ok=True)


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
