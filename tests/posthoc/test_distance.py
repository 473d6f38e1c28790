"""Temperatures follow the distance to the predicted border: its map, the curve, the fit, the truth."""

import math
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from scipy.optimize import minimize
from torch.nn.functional import cross_entropy

from nacl_monai.errors import InputError
from nacl_monai.metrics.regions import border_distances
from nacl_monai.posthoc import (
    Calibrator,
    DistanceTemperatures,
    Fit,
    RegionLogits,
    StructureLogits,
    fit_method,
    module_of,
    read_calibrator,
    write_calibrator,
)
from nacl_monai.posthoc.distance import KNOTS, SIGNED_KNOTS, fit_curve
from tests.metrics.simulated_truth import simulated
from tests.posthoc.shipping import scripted
from tests.same import same_values

CURVE = [2.5, 2.0, 1.5, 1.0, 0.8, 0.5]


def slow_distances(prediction, farthest, sizes):
    """By SciPy, from voxels that a loop over the axes finds."""
    prediction = np.asarray(prediction)
    changes = np.zeros(prediction.shape, bool)
    for axis in range(prediction.ndim):
        for step in (1, -1):
            other = np.roll(prediction, step, axis)
            end = 0 if step == 1 else -1
            np.moveaxis(other, axis, 0)[end] = np.moveaxis(prediction, axis, 0)[end]
            changes |= prediction != other
    if not changes.any():
        return np.full(prediction.shape, farthest)
    return distance_transform_edt(~changes, sampling=sizes).clip(max=farthest)


def blobs(seed, shape=(3, 11, 9, 7)):
    """Logits of a few connected parts."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, shape[0], *(2 for _ in shape[1:]), generator=generator)
    mode = "trilinear" if len(shape) == 4 else "bilinear"
    return 9 * torch.nn.functional.interpolate(coarse, shape[1:], mode=mode, align_corners=True)


@given(
    st.integers(0, 999),
    st.sampled_from([(11, 9, 7), (16, 13), (1, 9, 8)]),
    st.sampled_from([(1.0, 1.0, 1.0), (0.8, 1.25, 5.0), (3.0, 0.4, 0.7)]),
    st.sampled_from([0.5, 3.0, 8.0]),
)
@settings(max_examples=40, deadline=None)
def test_distances_equal_those_of_scipy(seed, shape, sizes, farthest):
    """To the voxels at a change, along all axes, and no farther than asked for."""
    prediction = blobs(seed, (3, *shape)).argmax(1)
    sizes = sizes[: len(shape)]

    found = border_distances(prediction, farthest, [*sizes])

    expected = slow_distances(prediction[0], farthest, sizes)
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)


def test_edge_of_the_image_is_no_change():
    """Where nothing is predicted there is no border, and the last knot holds."""
    prediction = torch.zeros(1, 4, 5, dtype=torch.long)
    assert (border_distances(prediction, 8.0) == 8).all()

    module = DistanceTemperatures(CURVE)
    logits = torch.stack([prediction + 2.0, prediction - 1.0], 1)
    torch.testing.assert_close(module(logits, spacing=[1.0, 1.0]), logits / CURVE[-1])


def slow_module(logits, sizes, curve=CURVE, mask=None):
    """Log T by NumPy's interpolation, of the labels or of a mask."""
    prediction = logits.argmax(0) if mask is None else mask
    distances = slow_distances(prediction, KNOTS[-1], sizes)
    return logits / torch.from_numpy(np.exp(np.interp(distances, KNOTS, np.log(curve)))).float()


@pytest.mark.parametrize(("shape", "sizes"), [((14, 9, 7), (0.8, 1.25, 3.0)), ((20, 17), (1, 1))])
def test_curve_is_that_of_a_slow_interpolation(shape, sizes):
    """In two and three dimensions, image by image, in any dtype; every label stays."""
    logits = torch.cat([blobs(seed, (3, *shape)) for seed in (1, 2)])
    found = DistanceTemperatures(CURVE)(logits, spacing=[*map(float, sizes)])

    expected = torch.stack([slow_module(case, sizes) for case in logits])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    same_values(found.argmax(1), logits.argmax(1))
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert DistanceTemperatures(CURVE, unit="voxels")(logits.to(dtype)).dtype == dtype


def test_each_structure_has_its_curve_and_its_border():
    """A structure's logit is above 0 inside; another's border means nothing to it."""
    logits, sizes = blobs(3, (2, 12, 9, 6)), (0.8, 1.25, 3.0)
    curves = [CURVE, CURVE[::-1]]
    found = DistanceTemperatures(curves)(logits, spacing=[*sizes])

    for k, curve in enumerate(curves):
        expected = slow_module(logits[0, k], sizes, curve, logits[0, k] > 0)
        torch.testing.assert_close(found[0, k], expected, rtol=1e-5, atol=1e-6)


INSIDE = [4.0, 3.5, 3.0, 2.0, 1.5, 1.2]
SIGNED = [*INSIDE[::-1], *CURVE]


def slow_signed(logits, sizes, inside=None):
    """Both sides by NumPy's interpolation, each from its own curve."""
    inside = logits.argmax(0) > 0 if inside is None else inside
    prediction = None if logits.ndim == 4 and len(logits) > 1 else inside
    sides = [slow_module(logits, sizes, curve, prediction) for curve in (INSIDE, CURVE)]
    return torch.where(inside, *sides)


@pytest.mark.parametrize("sizes", [(0.8, 1.25, 3.0), (1.0, 1.0, 1.0)])
def test_each_side_of_the_border_has_its_curve(sizes):
    """Every predicted structure is inside, a border between two as well; every label stays."""
    logits = blobs(2, (4, 14, 9, 7))
    module = DistanceTemperatures(SIGNED, SIGNED_KNOTS)
    found = module(logits, spacing=[*sizes])

    expected = slow_signed(logits[0], sizes)
    torch.testing.assert_close(found[0], expected, rtol=1e-5, atol=1e-6)
    same_values(found.argmax(1), logits.argmax(1))
    both = DistanceTemperatures([SIGNED, SIGNED], SIGNED_KNOTS)
    for k in (0, 1):
        expected = slow_signed(logits[0, k], sizes, logits[0, k] > 0)
        found = both(logits[:, :2], spacing=[*sizes])[0, k]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_alike_sides_are_the_curve_without_a_sign():
    """To the rounding of two interpolations; nothing predicted is the last knot outside."""
    logits = blobs(2, (4, 14, 9, 7))
    alike = DistanceTemperatures([*CURVE[::-1], *CURVE], SIGNED_KNOTS, "voxels")
    torch.testing.assert_close(alike(logits), DistanceTemperatures(CURVE, unit="voxels")(logits))

    empty = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1).expand(1, 2, 4, 5)
    module = DistanceTemperatures(SIGNED, SIGNED_KNOTS, "voxels")
    torch.testing.assert_close(module(empty), empty / CURVE[-1])


@given(st.integers(0, 999), st.floats(0.01, 0.5))
@settings(max_examples=30, deadline=None)
def test_contours_by_threshold_stay_nested_around_the_prediction(seed, threshold):
    """T jumps at the border, but a positive temperature moves no voxel over 1/2.

    So a contour at a threshold up to 1/2 holds the prediction, and one above it is inside.
    """
    logits = blobs(seed, (2, 12, 10, 7))
    predicted = logits.argmax(1) == 1
    probs = DistanceTemperatures(SIGNED, SIGNED_KNOTS, "voxels")(logits).softmax(1)[:, 1]

    assert (probs >= threshold)[predicted].all()
    assert not (probs > 1 - threshold)[~predicted].any()


@pytest.mark.parametrize("curves", [CURVE, [CURVE, CURVE[::-1], CURVE]])
def test_scripted_module_is_the_same_to_the_bit(curves):
    """Saved and loaded, for volumes and slices, with the spacing by name."""
    signed = DistanceTemperatures(SIGNED if curves is CURVE else [SIGNED] * 3, SIGNED_KNOTS)
    shapes = ((3, 11, 9, 7), (3, 11, 9))
    for module, shape in product((DistanceTemperatures(curves), signed), shapes):
        logits, spacing = blobs(5, shape), [0.8, 1.0, 2.0][: len(shape) - 1]
        found = scripted(module)(logits, spacing=spacing)
        torch.testing.assert_close(found, module(logits, spacing=spacing))


def test_unit_decides_which_images_are_taken():
    """Millimeters need a spacing; a calibrator of voxels is applied to images that know none."""
    logits = blobs(0)
    with pytest.raises(ValueError, match="spacing: is unknown"):
        DistanceTemperatures(CURVE)(logits)
    voxels = DistanceTemperatures(CURVE, unit="voxels")
    with pytest.raises(ValueError, match="spacing: is known"):
        voxels(logits, spacing=[1.0, 1.0, 1.0])
    with pytest.raises(torch.jit.Error, match="spacing: is unknown"):
        torch.jit.script(DistanceTemperatures(CURVE))(logits)
    as_ones = DistanceTemperatures(CURVE)(logits, spacing=[1.0, 1.0, 1.0])
    torch.testing.assert_close(voxels(logits), as_ones)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"temperatures": [1.0, 0.0]}, "temperatures: are .* above 0"),
        ({"temperatures": [1.0]}, "temperatures: are"),
        ({"temperatures": [[1.0, 1.0], [1.0, math.nan]]}, "temperatures: are"),
        ({"temperatures": [1.0], "knots": [0.0]}, "knots: are .* two or more"),
        ({"temperatures": [1.0, 1.0], "knots": [1.0, 2.0]}, "knots: are .* from 0"),
        ({"temperatures": [1.0, 1.0, 1.0], "knots": [0.0, 2.0, 2.0]}, "knots: are .* increase"),
        ({"temperatures": [1.0] * 3, "knots": [-3.0, 0.0, 2.0]}, "knots: are .* have -1 and 0"),
        ({"unit": "cm"}, "unit: is 'cm'; choose from mm, voxels"),
    ],
)
def test_what_is_no_curve_is_refused(parameters, message):
    """By the reader of a damaged file, too."""
    curve = {"temperatures": [2.0, 1.0], "knots": [0.0, 4.0], "unit": "mm", **parameters}
    with pytest.raises(InputError, match=message):
        module_of({"method": "distance", "parameters": curve})


def drawn(seed, curve, shape=(3, 18, 16, 9), spacing=(1.0, 1.0, 2.0)):
    """Logits that a curve makes true, and labels that are drawn from these."""
    logits = blobs(seed, shape)
    true = torch.from_numpy(np.float32(slow_module(logits[0], spacing, curve)))
    return logits[0], drawn_from(true, seed)


def drawn_from(true, seed):
    """Labels ``(1, *spatial)`` that are drawn from true logits."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(true.softmax(0).flatten(1).T, 1, generator=generator)
    return labels.T.reshape(1, *true.shape[1:])


@contextmanager
def voxels_of(cases, spacing=(1.0, 1.0, 2.0)):
    """All voxels of volumes, each of another patient."""
    with RegionLogits("all") as voxels:
        for number, (logits, labels) in enumerate(cases):
            voxels.add(logits, labels, f"patient{number}", voxel=spacing)
        yield voxels


def fitted(cases, spacing=(1.0, 1.0, 2.0), method="distance"):
    """The fit on volumes, each of another patient."""
    with voxels_of(cases, spacing) as voxels:
        return fit_method(method, voxels)


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 999), st.sampled_from([CURVE, [0.5] * 6, CURVE[::-1]]))
def test_no_other_curve_is_better(seed, curve):
    """An independent search without slopes, over the slow cross-entropy with the ridge."""
    shape, sizes, knots, ridge = (3, 12, 10, 6), (1.0, 1.0, 2.0), (0.0, 2.0, 5.0), 0.02
    cases = [drawn(seed + k, curve, shape) for k in range(3)]
    with voxels_of(cases) as voxels:
        found = fit_curve(voxels, knots, ridge)
    distances = [slow_distances(outputs.argmax(0), 8.0, sizes) for outputs, _ in cases]

    def slow_nll(theta):
        hot = [torch.from_numpy(np.exp(np.interp(away, knots, theta))) for away in distances]
        pairs = zip(cases, hot, strict=True)
        return np.mean([cross_entropy((case / t)[None], labels) for (case, labels), t in pairs])

    unit = slow_nll(np.zeros(3))
    expected = minimize(
        lambda theta: slow_nll(theta) / unit + ridge / 2 * ((theta - theta.mean()) ** 2).sum(),
        np.zeros(3),
        method="Powell",
        options={"xtol": 1e-6, "ftol": 1e-12},
    )
    np.testing.assert_allclose(np.log(found), expected.x, atol=2e-3)  # where both searches end


def wrong_inside(seed, shape=(3, 18, 16, 9), spacing=(1.0, 1.0, 2.0)):
    """Logits of a network that is far too sure inside and right outside, labels, and the truth."""
    logits = blobs(seed, shape)[0]
    sides = [slow_module(logits, spacing, curve) for curve in (INSIDE, [1.0] * len(KNOTS))]
    true = torch.where(logits.argmax(0) > 0, *sides).float()
    return logits, drawn_from(true, seed), true


def test_a_wrong_inside_beside_a_right_outside_ends_near_the_truth():
    """Within 5 % of the truth's NLL with eight patients; without a sign it does not with 16."""
    cases = [wrong_inside(seed) for seed in range(36)]
    tested = cases[16:]
    right = np.mean([cross_entropy(true[None], labels).item() for _, labels, true in tested])

    def excess(method, patients):
        module = fitted([case[:2] for case in cases[:patients]], method=method).module
        nll = [
            cross_entropy(module(outputs[None], spacing=[1.0, 1.0, 2.0]), labels).item()
            for outputs, labels, _ in tested
        ]
        return np.mean(nll) / right - 1

    assert excess("signed_distance", 8) < 0.05
    assert excess("signed_distance", 16) < 0.05
    assert excess("distance", 16) > 0.06


def test_each_patient_weighs_the_same_however_many_voxels():
    """A patient with nine times the voxels, hot, and one with few, cold: the same as with equal sizes.

    If voxels weighed, the large patient's temperature would win.
    """
    logits, labels = torch.tensor([3.0, 0.0]).view(2, 1, 1, 1), torch.tensor([0, 0, 0, 1])
    hot = logits.expand(2, 4, 1, 1), labels.view(1, 4, 1, 1)  # 3 / log(3)
    cold = logits.expand(2, 20, 1, 1), (torch.arange(20) == 0).long().view(1, 20, 1, 1)

    def knots_of(times):
        parts = (part.repeat(1, times, 1, 1) for part in hot)
        return fitted([tuple(parts), cold]).parameters["temperatures"]

    np.testing.assert_allclose(knots_of(45), knots_of(1), rtol=1e-6)
    # The mean share of errors of both is (1/4 + 1/20) / 2, whatever their numbers of voxels.
    np.testing.assert_allclose(knots_of(45), 3 / math.log(0.85 / 0.15), rtol=1e-4)


def test_ridge_draws_knots_to_their_mean_and_not_to_one():
    """A strong one leaves the temperature that a fit of one finds."""
    cases = [drawn(seed, [3.0] * 4 + [1.5, 1.5]) for seed in range(4)]
    with voxels_of(cases) as voxels:
        single = fit_method("temperature", voxels).parameters["temperature"]
        flat, weak = fit_curve(voxels, ridge=1e4), fit_curve(voxels, ridge=1e-4)

    np.testing.assert_allclose(flat, single, rtol=1e-3)
    assert weak[1] > 1.15 * single > 1.15 * weak[-1]


def test_fit_says_what_it_found():
    """The NLL is that of the module that its record makes; no class changes."""
    cases = [drawn(seed, CURVE) for seed in range(6)]
    fit = fitted(cases)

    assert fit.text().startswith("knots 0 1 2 3 5 8, temperatures ")
    assert "unit mm over 6 patients" in fit.text()
    assert fit.moved == 0
    nll = [cross_entropy(outputs[None], labels).item() for outputs, labels in cases]
    assert fit.nll_before == pytest.approx(np.mean(nll), rel=1e-5)
    assert fit.nll < fit.nll_before
    module = module_of({"method": fit.method, "parameters": fit.parameters})
    after = [
        cross_entropy(module(outputs[None], spacing=[1.0, 1.0, 2.0]), labels).item()
        for outputs, labels in cases
    ]
    assert fit.nll == pytest.approx(np.mean(after), rel=1e-5)


def test_voxels_to_be_ignored_count_for_the_distance_alone():
    """The prediction is there, too; its border is as near."""
    logits, labels = drawn(0, CURVE)
    hidden = torch.rand(labels.shape, generator=torch.Generator().manual_seed(0)) < 0.4
    with RegionLogits("all") as voxels:
        voxels.add(logits, labels.masked_fill(hidden, 9), "p", ignore_index=9, voxel=(1, 1, 2))
        (kept,) = voxels
    expected = slow_distances(logits.argmax(0), 8.0, (1, 1, 2))[~hidden[0].numpy()]
    np.testing.assert_allclose(kept.distances, expected, rtol=1e-5)


def test_patients_know_their_spacing_all_or_none():
    """A calibrator is of mm or of voxels; without those who do not know it, it is of mm."""
    with RegionLogits("all") as voxels:
        for name, spacing in (("a", (1.0, 1.0, 2.0)), ("b", None), ("c", (1.0, 1.0, 2.0))):
            voxels.add(*drawn(1, CURVE), name, voxel=spacing)
        with pytest.raises(InputError, match="spacing of b: is unknown, but that of others is"):
            fit_method("distance", voxels)
        assert voxels.without(["b"]).unit == "mm"
    assert fitted([drawn(1, CURVE)], spacing=None).parameters["unit"] == "voxels"


def test_curve_of_each_structure_is_that_of_its_own_fit():
    """As if its sigmoid were a softmax of two classes."""
    cases = [drawn(seed, CURVE, (2, 18, 16, 9)) for seed in range(4)]
    hot = [drawn(seed + 9, CURVE[::-1], (2, 18, 16, 9)) for seed in range(4)]
    alone = [fitted([(case - case[:1], labels) for case, labels in part]) for part in (cases, hot)]
    with StructureLogits(["A", "B"]) as structures:
        for number, pair in enumerate(zip(cases, hot, strict=True)):
            logits = torch.stack([outputs[1] - outputs[0] for outputs, _ in pair])
            masks = torch.cat([labels for _, labels in pair])
            structures.add(logits, masks, f"patient{number}", voxel=(1.0, 1.0, 2.0))
        fit = fit_method("distance", structures)

    expected = [single.parameters["temperatures"] for single in alone]
    np.testing.assert_allclose(fit.parameters["temperatures"], expected, rtol=1e-4)
    assert fit.nll == pytest.approx(np.mean([single.nll for single in alone]), rel=1e-5)
    assert " / " in fit.text()


def test_where_every_voxel_is_right_there_is_no_fit():
    """Colder is always better there."""
    logits = blobs(0)[0]
    with pytest.raises(InputError, match="temperatures: none fit, since colder is always better"):
        fitted([(logits, logits.argmax(0)[None])])


def test_where_the_logits_are_worse_than_chance_the_end_of_the_search_is_named():
    """So that nobody takes it for a calibrator."""
    logits = blobs(0)[0]
    assert fitted([(logits, logits.argmin(0)[None])]).bound == "temperature 100"


def test_certain_background_around_a_structure_changes_no_fit():
    """The mean over all voxels is smaller there; the ridge is as strong as before."""
    cases = [drawn(seed, CURVE) for seed in range(4)]
    certain = torch.tensor([900.0, -900.0, -900.0])[:, None, None, None].expand(3, 18, 16, 40)
    wide = []
    for logits, labels in cases:
        logits[0, :, :, -1] += 900  # no border where the background begins
        labels[..., -1] = 0
        labels_around = torch.zeros(1, 18, 16, 40, dtype=torch.long)
        wide.append((torch.cat([logits, certain], -1), torch.cat([labels, labels_around], -1)))
    found, expected = (fitted(volumes).parameters["temperatures"] for volumes in (wide, cases))
    np.testing.assert_allclose(found, expected, rtol=1e-3)


KINDS = pytest.mark.parametrize(
    ("spread", "dims"),
    [
        pytest.param(spread, dims, marks=() if (spread, dims) == (2, 2) else pytest.mark.nightly)
        for dims in (2, 3)
        for spread in (1, 2, 3)
    ],
)


@lru_cache(2)
def truth_of(spread, dims):
    return simulated(300, spread, dims=dims, size=48 if dims == 2 else 28)


def fit_to(truth, images, temperature=1.0, method="distance"):
    """Of several images side by side, as one with several balls."""
    spacing = (1.0,) * (truth.labels.ndim - 1)
    parts = [images[start : start + 20] for start in range(0, len(images), 20)]
    logits = [torch.cat([*truth.logits[part]], -1) / temperature for part in parts]
    labels = [torch.cat([*truth.labels[part]], -1)[None] for part in parts]
    return fitted(zip(logits, labels, strict=True), spacing, method)


def doubts(truth):
    """The knots whose voxels are in doubt: one in a hundred of them, if these had a mean."""
    distances = border_distances(truth.logits.argmax(1), KNOTS[-1])
    probs = truth.probs()[:, 1]
    ends = [-1.0, *(np.diff(KNOTS) / 2 + KNOTS[:-1]), 9.0]
    doubt = [
        (probs * (1 - probs))[(distances >= low) & (distances < high)].mean()
        for low, high in pairwise(ends)
    ]
    return np.array(doubt) > 0.01


@KINDS
def test_truth_keeps_a_temperature_of_one_at_every_knot(spread, dims):
    """With 300 images, where voxels are in doubt; a factor of two is found, and as flat."""
    truth = truth_of(spread, dims)
    known = doubts(truth)
    assert known.sum() >= 2
    for factor in (1.0, 0.5, 2.0):
        fit = fit_to(truth, range(300), factor)
        found = np.array(fit.parameters["temperatures"]) * factor
        np.testing.assert_allclose(found[known], 1, atol=0.05)  # chance, of 300 images


@KINDS
@pytest.mark.parametrize("by_distance", ["distance", "signed_distance"])
def test_few_images_of_the_truth_cost_half_a_percent_at_most(spread, dims, by_distance):
    """The NLL of all 300, behind a curve that twenty have fitted, in each of five draws.

    Or as much as one temperature of the same twenty costs, which is what chance alone does.
    """
    truth = truth_of(spread, dims)
    before = cross_entropy(truth.logits, truth.labels)
    for start in range(0, 100, 20):
        curve, single = (
            fit_to(truth, range(start, start + 20), method=method).module
            for method in (by_distance, "temperature")
        )
        costs = [
            cross_entropy(module(truth.logits, spacing=[1.0] * dims), truth.labels) / before
            for module in (curve, single)
        ]
        assert costs[0] <= max(1.005, costs[1] + 0.0005)


@pytest.mark.parametrize("curves", [CURVE, [CURVE, CURVE[::-1]]])
def test_file_keeps_the_curve_and_its_unit(curves, tmp_path):
    """What is read is what was written; another unit is refused."""
    parameters = {"knots": [*KNOTS], "temperatures": curves, "unit": "voxels"}
    fit = Fit("distance", parameters, 0.5, 0.25, 0.0, "all", ("a",), 7)
    file = tmp_path / "calibrator.json"
    write_calibrator(file, Calibrator(fit, ("a",), "dataset", weights="x", average="logits"))

    assert read_calibrator(file).fit.parameters == parameters
    record = {"method": "distance", "parameters": {**parameters, "unit": "cm"}}
    with pytest.raises(InputError, match="unit: is 'cm'"):
        module_of(record)
