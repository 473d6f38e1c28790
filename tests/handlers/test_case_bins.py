"""bins.npz holds the exact sums from which every curve and error follows."""

import numpy as np
import pytest

from tests.handlers.conftest import CLASSES, REGIONS, probabilities_of


@pytest.fixture
def bins(evaluated):
    return np.load(evaluated[0] / "bins.npz")


def test_axes_are_named(bins, evaluated):
    """Axes are named: cases in the order in which they were measured, regions, top-1 and the classes."""
    assert list(evaluated[2]) == list(bins["cases"])
    assert list(bins["regions"]) == REGIONS
    assert list(bins["classes"]) == ["top-1", *CLASSES]
    assert bins["counts"].shape == (3, 2, 4, 15)


def test_sums_equal_those_of_a_loop(bins, evaluated):
    """Counts, positives and confidences are those of a loop over all voxels."""
    for position, volume in enumerate(evaluated[2].values()):
        probabilities, label = probabilities_of(volume)
        classes = [
            (probabilities.max(axis=0), probabilities.argmax(axis=0) == label),
            *[(probabilities[c], label == c) for c in range(3)],
        ]
        for k, (confidence, positive) in enumerate(classes):
            counts, positives, sums = np.zeros(15, int), np.zeros(15, int), np.zeros(15)
            for p, hit, inside in zip(confidence, positive, label != 0, strict=True):
                if inside:
                    index = max(int(np.ceil(p * 15)) - 1, 0)
                    counts[index] += 1
                    positives[index] += hit
                    sums[index] += p
            np.testing.assert_array_equal(counts, bins["counts"][position, 0, k])
            np.testing.assert_array_equal(positives, bins["positives"][position, 0, k])
            np.testing.assert_allclose(sums, bins["confidences"][position, 0, k], atol=1e-4)


def test_bins_of_the_second_region_are_those_of_the_union(bins, evaluated):
    """Regions keep the order of their names."""
    for position, volume in enumerate(evaluated[2].values()):
        probabilities, label = probabilities_of(volume)
        union = (label != 0) | (probabilities.argmax(axis=0) != 0)
        assert bins["counts"][position, 1].sum(axis=-1).tolist() == [union.sum()] * 4
