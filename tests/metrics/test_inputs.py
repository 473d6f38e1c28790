"""Whatever form probabilities and labels come in, the numbers are the same."""

import numpy as np
import pytest
import torch
from metric_samples import random_case

from nacl_monai.errors import InputError
from nacl_monai.metrics import CalibrationMetric, expected_calibration_error
from nacl_monai.metrics.inputs import batched, class_indices

PROBS, LABELS = random_case((2, 3, 4, 5, 6))
ONE_HOT = torch.nn.functional.one_hot(LABELS, 3).movedim(-1, 1)


def ece(*arguments, **options):
    metric = CalibrationMetric(errors=["ece"], regions=["foreground"], **options)
    metric(*arguments)
    return metric.case_errors()["ece"][:, 0].tolist()


EXPECTED = ece(PROBS, LABELS)


@pytest.mark.parametrize(
    "arguments",
    [
        (PROBS.numpy(), LABELS.numpy()),
        (list(PROBS.numpy()), list(LABELS.numpy())),
        (PROBS, ONE_HOT),
        (PROBS.numpy(), ONE_HOT.numpy().astype(np.uint8)),
        (list(PROBS), list(ONE_HOT)),
    ],
    ids=["arrays", "lists of arrays", "one-hot", "one-hot arrays", "lists of one-hot"],
)
def test_every_form_gives_the_same_numbers(arguments):
    """Arrays, lists and one-hot labels are read, not refused."""
    assert ece(*arguments) == EXPECTED


@pytest.mark.parametrize("labels", [LABELS[0], LABELS[:1], ONE_HOT[0]])
def test_single_case_needs_no_batch_axis(labels):
    """(C, *spatial) with (*spatial), (1, *spatial) or one-hot is one case."""
    assert ece(PROBS[0].numpy(), labels.numpy()) == EXPECTED[:1]
    assert expected_calibration_error(PROBS[0], labels).item() == EXPECTED[0]


def test_batch_wins_where_both_readings_fit():
    """Three 2-D cases of three classes are no volume of three slices."""
    probs, labels = torch.rand(3, 3, 4, 5), torch.zeros(3, 4, 5)

    assert batched(probs, labels)[0].shape == probs.shape


def test_mask_of_a_single_case_needs_no_batch_axis():
    """A mask has the shape of the labels."""
    mask = torch.rand(LABELS[0].shape) > 0.5
    metrics = [CalibrationMetric(errors=["ece"]) for _ in range(2)]
    metrics[0](PROBS[0], LABELS[0], mask=mask.numpy())
    metrics[1](PROBS[:1], LABELS[:1], mask=mask[None])

    assert metrics[0].case_errors()["ece"].equal(metrics[1].case_errors()["ece"])


def test_logits_become_probabilities():
    """Softmax is the inverse of the logarithm, in single precision."""
    assert ece(PROBS.log(), LABELS, from_logits=True) == pytest.approx(EXPECTED, abs=1e-6)
    assert ece(PROBS[0].log(), LABELS[0], from_logits=True) == pytest.approx(EXPECTED[:1], abs=1e-6)


def test_bytes_are_probabilities_as_far_as_their_rounding_goes():
    """round(255 p) is binned as the number it stands for; sums may be off by its rounding alone."""
    stored = (PROBS * 255).round().to(torch.uint8)
    exact = stored.double() / 255
    bins = torch.zeros(15, 2)
    for voxel in (LABELS != 0).nonzero():
        batch, *place = voxel.tolist()
        if batch == 0:
            p = exact[(0, slice(None), *place)]
            at = min(int(np.ceil(p.max().item() * 15 - 1e-6)) - 1, 14)
            right = p.argmax().item() == LABELS[(0, *place)].item()
            bins[at] += torch.tensor([p.max().item(), float(right)])
    expected = (bins[:, 0] - bins[:, 1]).abs().sum().item() / (LABELS[0] != 0).sum().item()

    assert ece(stored[:1].numpy(), LABELS[:1].numpy()) == pytest.approx([expected], abs=1e-6)
    with pytest.raises(InputError, match="off 1 by"):
        ece(stored // 2, LABELS)


def test_soft_labels_are_no_one_hot_labels():
    """A share of a voxel is no class."""
    with pytest.raises(InputError, match="are not one-hot"):
        class_indices(PROBS, PROBS)
