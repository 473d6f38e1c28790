"""bins.npz holds the exact sums from which every curve and error follows."""

import numpy as np
import pytest
import torch

from nacl_monai.training import CalibrationError, CaseBins
from tests.training.conftest import CLASSES, REGIONS, probabilities_of


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


def test_fine_bins_are_of_the_same_voxels(bins, evaluated):
    """Per case and region: their voxels, their errors, and how much they claim beyond their hits."""
    for position, volume in enumerate(evaluated[2].values()):
        probabilities, label = probabilities_of(volume)
        hit, inside = probabilities.argmax(axis=0) == label, label != 0
        excess = (probabilities.max(axis=0) - hit)[inside].sum()
        assert bins["fine_counts"][position, 0].sum() == inside.sum()
        assert bins["fine_errors"][position, 0].sum() == (~hit[inside]).sum()
        assert bins["fine_excess"][position, 0].sum() == pytest.approx(excess, abs=1e-4)
    assert bins["fine_counts"].shape == (3, 2, 1024)


def test_fine_bins_are_left_out_where_no_error_needs_them(tmp_path):
    """A file of equal bins alone."""
    calibration = CalibrationError(errors=["ece"])
    probs = torch.tensor([[[[0.1, 0.8]], [[0.9, 0.2]]]])
    calibration.metric_fn(probs, torch.tensor([[[[1, 1]]]]))
    CaseBins(tmp_path, ["background", "left"], calibration).write(None, ["a"], [])

    assert not [key for key in np.load(tmp_path / "bins.npz") if key.startswith("fine_")]


def test_bins_of_the_second_region_are_those_of_the_union(bins, evaluated):
    """Regions keep the order of their names."""
    for position, volume in enumerate(evaluated[2].values()):
        probabilities, label = probabilities_of(volume)
        union = (label != 0) | (probabilities.argmax(axis=0) != 0)
        assert bins["counts"][position, 1].sum(axis=-1).tolist() == [union.sum()] * 4
