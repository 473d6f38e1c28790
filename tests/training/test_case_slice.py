"""The slice that pictures show, by loops; tests/training/test_slice_maps.py has that of an evaluator."""

import math

import numpy as np
import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.reports.slices import case_slice


def softmax_case(shape, dtype=torch.float32):
    generator = torch.manual_seed(0)
    probs = torch.randn(3, *shape, generator=generator).mul(2).softmax(0)
    return probs.to(dtype), torch.randint(0, 3, (1, *shape), generator=generator)


def test_one_hot_labels_give_the_same_slice():
    """As class indices, with or without their channel."""
    probs, label = softmax_case((5, 4, 3))
    one_hot = torch.stack([label[0] == k for k in range(3)])
    shown = case_slice(probs, label, "abc")

    for other in (one_hot.float(), label[0]):
        for key, array in case_slice(probs, other, "abc").items():
            np.testing.assert_array_equal(array, shown[key])


def test_a_picture_is_its_own_slice():
    """Two axes: nothing is chosen."""
    probs, label = softmax_case((5, 4))
    shown = case_slice(probs, label, "abc", image=label.float())

    assert shown["slice"] == 0
    np.testing.assert_array_equal(shown["label"], np.rot90(label[0].numpy()))
    np.testing.assert_array_equal(shown["image"], shown["label"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_with_in_single_precision(dtype):
    """The entropy of probabilities that were rounded."""
    probs, label = softmax_case((5, 4, 3), dtype)
    shown = case_slice(probs, label, "abc")
    rounded = np.rot90(probs[..., shown["slice"]].double().numpy(), axes=(1, 2))
    entropy = np.vectorize(lambda p: -p * math.log(p))(rounded).sum(0) / math.log(3)

    np.testing.assert_allclose(shown["entropy"], np.minimum(entropy, 1), atol=1e-6)
    assert shown["confidence"].dtype == np.float32


def test_overlapping_structures_are_painted_over_each_other():
    """A part is visible on its whole, in whatever order they are named."""
    probs = torch.tensor([[[0.9, 0.6, 0.2, 0.5]], [[0.3, 0.8, 0.7, 0.1]]])  # (S, x = 1, y = 4)
    part, whole = torch.tensor([[[1, 0, 0, 0]], [[1, 1, 1, 0]]])
    shown = case_slice(
        probs, torch.stack([part, whole]), ["part", "whole"], overlapping=True
    )  # of one column, the last is up

    assert shown["label"][::-1, 0].tolist() == [1, 2, 2, 0]
    assert shown["prediction"][::-1, 0].tolist() == [1, 1, 2, 0]
    np.testing.assert_allclose(shown["confidence"][::-1, 0], [0.7, 0.6, 0.7, 0.5], rtol=1e-6)
    assert shown["classes"].tolist() == ["outside", "part", "whole"]

    def entropy(p):
        return -(p * math.log2(p) + (1 - p) * math.log2(1 - p))

    expected = [max(entropy(p), entropy(q)) for p, q in zip(*probs[:, 0].tolist(), strict=True)]
    np.testing.assert_allclose(shown["entropy"][::-1, 0], expected, rtol=1e-5)


def test_slice_of_overlapping_structures_is_that_of_their_union():
    """The first channel is not a background there."""
    masks = torch.zeros(2, 2, 2, 3)
    masks[0, ..., 2] = 1
    masks[1, 0, 0, 1] = 1
    shown = case_slice(torch.full((2, 2, 2, 3), 0.4), masks, ["a", "b"], overlapping=True)

    assert shown["slice"] == 2


@pytest.mark.parametrize(
    ("factor", "names", "overlapping", "said"),
    [
        (3.0, "abc", False, "beyond"),
        (0.5, "abc", False, "off 1"),
        (3.0, "abc", True, "apply sigmoid"),
        (1.0, "ab", False, "classes: 2 names"),
    ],
)
def test_what_is_no_probability_is_refused(factor, names, overlapping, said):
    """Logits would be drawn as a confidence above 1."""
    probs, label = softmax_case((5, 4, 3))

    with pytest.raises(InputError, match=said):
        case_slice(probs * factor, label, names, overlapping=overlapping)
