"""Maps are functions of the probabilities, recomputed here by NumPy and SciPy."""

import numpy as np
import torch
from scipy.stats import entropy

from nacl_monai.inference.maps import confidence_map, entropy_map, label_map

PROBS = torch.tensor([[0.2, 0.5, 1.0], [0.7, 0.5, 0.0], [0.1, 0.0, 0.0]])


def test_label_is_the_most_probable_class():
    """In a tie the first, as NumPy has it."""
    np.testing.assert_array_equal(label_map(PROBS)[0], PROBS.numpy().argmax(axis=0))


def test_confidence_is_the_largest_probability():
    """Whichever class it is of."""
    np.testing.assert_allclose(confidence_map(PROBS), [[0.7, 0.5, 1.0]], rtol=1e-6)


def test_entropy_is_that_of_scipy_as_a_share_of_the_largest():
    """0 for a certain voxel, however many classes there are."""
    expected = entropy(PROBS.numpy(), axis=0) / np.log(3)

    np.testing.assert_allclose(entropy_map(PROBS)[0], expected, atol=1e-6)


def test_entropy_of_equal_classes_is_1_and_never_more():
    """Rounding would exceed 1 for some numbers of classes."""
    for classes in range(2, 50):
        largest = entropy_map(torch.full((classes, 1), 1 / classes))
        assert 1 - 1e-6 <= largest.item() <= 1
