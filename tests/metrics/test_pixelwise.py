"""pECE equals its published algorithm, voxel by voxel."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from metric_oracles import bin_of
from metric_samples import cases, measured, random_case

from nacl_monai.errors import InputError
from nacl_monai.metrics import CalibrationMetric, pixelwise_calibration_error


def slow_pece(probs, labels, mask, num_bins=10, weight=2.0):
    """Algorithm 1 by a loop over voxels and one over bins; probs (B, C, *spatial)."""
    foreground = probs[:, 1:].sum(1).flatten()
    edges = [foreground.numpy().dtype.type(i / num_bins) for i in range(num_bins)] + [2.0]
    bins = [[] for _ in range(num_bins)]
    for p, label, kept in zip(foreground.numpy(), labels.flatten(), mask.flatten(), strict=True):
        if kept:
            bins[bin_of(p, edges)].append((float(p), int(label != 0)))
    voxels = sum(map(len, bins))
    total = 0.0
    for members in filter(None, bins):
        probabilities, inside = zip(*members, strict=True)
        false = [p for p, y in members if y == 0]
        offset = weight * np.mean(false) if false else 0.0
        gap = np.mean(probabilities) - np.mean(inside)
        total += len(members) / voxels * abs(gap + offset)
    return total if voxels else math.nan


@given(cases())
@settings(max_examples=60, deadline=None)
def test_error_equals_the_algorithm(case):
    """Saturated probabilities, those on edges, and ties among them."""
    probs, labels, mask = case

    error = pixelwise_calibration_error(probs, labels, region=mask).item()

    assert error == pytest.approx(slow_pece(probs, labels, mask), abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("weight", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("num_bins", [1, 7])
def test_weight_and_bins_are_chosen(weight, num_bins):
    """In the function and in the metric, whose bins are those of its other errors."""
    probs, labels = random_case((2, 3, 6, 7))
    expected = slow_pece(probs, labels, torch.ones_like(labels), num_bins, weight)
    options = {"errors": ["pece"], "regions": ["all"], "false_positive_weight": weight}
    metric = measured(probs, labels, num_bins=num_bins, **options)

    error = pixelwise_calibration_error(probs, labels, num_bins, "all", weight)

    assert error.item() == pytest.approx(expected, abs=1e-6)
    assert metric.aggregate()["pece_all_pooled"] == pytest.approx(expected, abs=1e-6)


def test_published_settings_are_the_defaults():
    """Ten bins, all voxels, and twice the probability of false positives."""
    probs, labels = random_case((1, 4, 9, 8))

    expected = pixelwise_calibration_error(probs, labels, 10, "all", 2.0)

    assert pixelwise_calibration_error(probs, labels) == expected
    assert CalibrationMetric().options.false_positive_weight == 2.0


def test_half_precision_is_summed_in_single():
    """The probabilities of many classes add up in float32."""
    probs, labels = random_case((1, 9, 6, 6))
    stored = probs.half()
    expected = slow_pece(stored.float(), labels, torch.ones_like(labels))

    error = pixelwise_calibration_error(stored, labels).item()

    assert error == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_weight_that_is_none_is_refused_at_once(weight):
    """A weight is finite, and 0 or more."""
    with pytest.raises(InputError, match="false_positive_weight: is .*; use a finite number"):
        pixelwise_calibration_error(*random_case((1, 2, 3, 3)), false_positive_weight=weight)
