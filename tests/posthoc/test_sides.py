"""What is left on both sides of a predicted border: by a slow loop, and how often by chance."""

import numpy as np
import pytest
import scipy.stats
import torch

from nacl_monai.posthoc import Fit, StructureLogits, error_by_side, fit_method
from nacl_monai.posthoc.sides import CHANCE, FEWEST, Sides, beyond_chance
from tests.posthoc.test_distance import blobs, slow_distances, voxels_of, wrong_inside

SIZES = (1.0, 1.0, 2.0)


def folds_of(method, voxels, patients):
    """Each half is fitted by the other."""
    halves = patients[::2], patients[1::2]
    return [(half, fit_method(method, voxels.without(half))) for half in halves]


def left(method, cases):
    with voxels_of(cases) as voxels:
        patients = [f"patient{k}" for k in range(len(cases))]
        return error_by_side(folds_of(method, voxels, patients), voxels)


def slow_sides(logits, inside, prediction, labels):
    """Mean probability and share of right voxels, voxel by voxel, within 3 mm inside and outside."""
    distances = slow_distances(prediction, 8.0, SIZES)
    sums = np.zeros((3, 2))
    for place in np.ndindex(*distances.shape):
        if distances[place] <= 3:
            side = 0 if inside[place] else 1
            right = int(prediction[place]) == int(labels[place])
            sums[:, side] += 1, float(logits[(slice(None), *place)].softmax(0).max()), right
    return (sums[1:] / sums[0]).T.ravel() if sums[0].all() else None


@pytest.mark.parametrize("method", ["distance", "signed_distance"])
def test_sums_of_each_side_are_those_of_a_slow_loop(method):
    """Each patient behind what the others fitted; a patient who lacks a side is left out."""
    cases = [wrong_inside(seed, (3, 9, 8, 5))[:2] for seed in range(4)]
    with voxels_of(cases) as voxels:
        folds = folds_of(method, voxels, [f"patient{k}" for k in range(4)])
        found = error_by_side(folds, voxels)

    patients = [patient for half, _ in folds for patient in half]
    modules = [fit.module for half, fit in folds for _ in half]
    assert found.unit == "mm"
    expected = []
    for patient, module in zip(patients, modules, strict=True):
        logits, labels = cases[int(patient[-1])]
        calibrated, prediction = module(logits[None], spacing=[*SIZES])[0], logits.argmax(0)
        expected.append(slow_sides(calibrated, prediction > 0, prediction, labels[0]))
    known = [values for values in expected if values is not None]
    assert 1 < len(known) < len(expected)
    inside_and_outside = np.stack([found.confidence, found.accuracy], 2).reshape(-1, 4)
    np.testing.assert_allclose(inside_and_outside, known, rtol=1e-5)


def test_structures_that_overlap_have_their_own_sides():
    """A voxel counts once for each structure, by the border of that structure."""
    logits = blobs(3, (2, 9, 8, 5))[0]
    masks = (logits + torch.randn(logits.shape, generator=torch.Generator().manual_seed(0)) > 0) * 1
    with StructureLogits(["WT", "TC"]) as voxels:
        for patient in ("p0", "p1"):
            voxels.add(logits, masks, patient, voxel=SIZES)
        fit = fit_method("distance", voxels)
        found = error_by_side([(["p0", "p1"], fit)], voxels)
        assert error_by_side([], voxels) is None  # as in a report, which has no folds

    calibrated = fit.module(logits[None], spacing=[*SIZES])[0]
    sums = np.zeros((3, 2))
    for inside, structure, mask in zip(calibrated, logits > 0, masks, strict=True):
        near = slow_distances(structure, 8.0, SIZES) <= 3
        chance = np.where(structure, inside.sigmoid(), 1 - inside.sigmoid())
        for side, part in enumerate((near & structure.numpy(), near & ~structure.numpy())):
            right = structure.numpy()[part] == (mask.numpy()[part] > 0)
            sums[:, side] += part.sum(), chance[part].sum(), right.sum()
    np.testing.assert_allclose(found.confidence, np.tile(sums[1] / sums[0], (2, 1)), rtol=1e-5)
    np.testing.assert_allclose(found.accuracy, np.tile(sums[2] / sums[0], (2, 1)))


def test_a_wrong_inside_beside_a_right_outside_is_told_until_each_has_a_curve():
    """One curve leaves the inside too sure and the outside not sure enough; two leave less."""
    cases = [wrong_inside(seed)[:2] for seed in range(16)]

    one_curve, two_curves = left("distance", cases), left("signed_distance", cases)

    inside, outside = (one_curve.confidence - one_curve.accuracy).mean(0)
    assert inside > 0.02
    assert outside < -0.02
    assert one_curve.differ
    rest = np.subtract(*(two_curves.confidence - two_curves.accuracy).mean(0))
    assert abs(rest) < 0.85 * (inside - outside)


@pytest.mark.parametrize("patients", [FEWEST, 20])
def test_sides_that_err_alike_are_told_apart_as_seldom_as_said(patients):
    """Five hundred studies of patients who differ, whose sides are too sure by as much: 1 in 100."""
    drawn = np.random.default_rng(patients)
    alarms = 0
    for _ in range(500):
        right = drawn.beta(40, 10, (patients, 2))
        alarms += Sides(np.full_like(right, 0.9), right, "mm").differ
    # Chance, three times its standard deviation.
    assert alarms / 500 == pytest.approx(CHANCE, abs=3.3 * np.sqrt(CHANCE / 500))


@pytest.mark.parametrize("patients", range(3, 9))
def test_chance_is_that_of_the_t_test_of_scipy(patients):
    """From five patients on; a difference that is the same in all is no chance."""
    drawn = np.random.default_rng(patients)
    for mean in np.linspace(0, 3, 40):
        values = drawn.normal(mean, 1, patients)
        expected = scipy.stats.ttest_1samp(values, 0).pvalue < CHANCE
        assert beyond_chance(values) == (patients >= FEWEST and expected)
    assert beyond_chance(np.full(patients, 0.5)) == (patients >= FEWEST)
    assert not beyond_chance(np.zeros(patients))


def test_nothing_is_said_of_few_patients_or_of_a_calibrator_without_distances():
    cases = [wrong_inside(seed, (3, 9, 8, 5))[:2] for seed in range(4)]
    sides = Sides(np.full((4, 2), 0.9), np.array([[0.1, 0.9]] * 4) + np.eye(4, 2) / 99, "mm")

    assert not sides.differ
    assert left("temperature", cases) is None


@pytest.mark.parametrize(
    ("knots", "right", "end"),
    [
        (
            [0, 8],
            0.6,
            "94.0%: the sides differ by more than chance; compare --method signed_distance.",
        ),
        ([-9, -1, 0, 8], 0.6, "94.0%: the sides differ by more than chance."),
        ([0, 8], 0.93, "94.0%."),
    ],
)
def test_a_curve_for_each_side_is_advised_where_sides_differ(knots, right, end):
    """Unless each has one, or unless chance may do it."""
    fit = Fit("any", {"temperatures": [1.0] * len(knots), "knots": knots}, 1, 1, 0, "all", (), 1)
    chance = np.array([0.03, -0.03, 0.04, -0.05, 0.01])
    sides = Sides(np.full((5, 2), 0.9), np.stack([right + chance, 0.94 - chance], 1), "mm")

    assert sides.sentence(fit).endswith(end)
