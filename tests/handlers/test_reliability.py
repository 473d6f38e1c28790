"""bins.npz holds the exact sums from which every curve and error follows."""

import numpy as np
import pytest

from tests.handlers.conftest import CLASSES, REGIONS, probabilities_of


@pytest.fixture
def bins(evaluated):
    return np.load(evaluated[0] / "bins.npz")


def test_names(bins, evaluated):
    """Axes are named: cases as they were measured, regions, top-1 and the classes."""
    assert list(evaluated[2]) == list(bins["cases"])
    assert list(bins["regions"]) == REGIONS
    assert list(bins["classes"]) == ["top-1", *CLASSES]
    assert bins["counts"].shape == (3, 2, 4, 15)


def test_sums(bins, evaluated):
    """Counts, positives and confidences are those of a loop over all voxels."""
    for row, volume in enumerate(evaluated[2].values()):
        probabilities, label = probabilities_of(volume)
        columns = [
            (probabilities.max(axis=0), probabilities.argmax(axis=0) == label),
            *[(probabilities[k], label == k) for k in range(3)],
        ]
        for column, (confidence, positive) in enumerate(columns):
            counts, positives, sums = np.zeros(15, int), np.zeros(15, int), np.zeros(15)
            for p, hit, inside in zip(confidence, positive, label != 0, strict=True):
                if inside:
                    index = max(int(np.ceil(p * 15)) - 1, 0)
                    counts[index] += 1
                    positives[index] += hit
                    sums[index] += p
            np.testing.assert_array_equal(counts, bins["counts"][row, 0, column])
            np.testing.assert_array_equal(positives, bins["positives"][row, 0, column])
            np.testing.assert_allclose(sums, bins["confidences"][row, 0, column], atol=1e-4)
