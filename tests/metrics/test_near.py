"""Regions that the prediction decides: against slow loops, and wherever a region has a name."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_oracles import slow_bins, slow_boundary_band
from metric_samples import cases, random_case
from monai.data.meta_tensor import MetaTensor
from scipy.ndimage import distance_transform_edt

import nacl_monai.metrics.decisions as decisions_module
import nacl_monai.metrics.regions as regions_module
from nacl_monai.audits.options import KNOWN_REGIONS
from nacl_monai.errors import InputError
from nacl_monai.metrics import (
    REGIONS,
    CalibrationMetric,
    expected_calibration_error,
    region_mask,
)
from nacl_monai.metrics.columns import REGION_WORDS
from nacl_monai.metrics.regions import (
    depends_on_labels,
    distances_to,
    foreground,
    named_regions,
    region_masks,
    region_of_fit,
    within,
)
from nacl_monai.metrics.voxels import checked_voxels
from nacl_monai.posthoc import RegionLogits
from nacl_monai.training import CalibrationError

PREDICTED = ("near", "predicted", "predicted_boundary")


def slow_near(prediction, margin, sizes):
    """Every voxel against every predicted voxel; one case."""
    grid = prediction.numpy()
    places = list(np.ndindex(grid.shape))
    inside = [place for place in places if grid[place]]
    near = np.zeros(grid.shape, dtype=bool)
    for place in places:
        distances = (math.dist(np.multiply(place, sizes), np.multiply(o, sizes)) for o in inside)
        near[place] = min(distances, default=math.inf) <= margin + 1e-6
    return torch.from_numpy(near)


shapes = st.lists(st.integers(1, 6), min_size=2, max_size=3)
margins = st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0, 20.0])


@given(shapes, margins, st.sampled_from([None, 0.7, 2.5]), st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_near_equals_slow_loop(shape, margin, first_spacing, seed):
    """All within the margin, 2-D and 3-D, in voxels and in mm; the labels have no say."""
    generator = torch.Generator().manual_seed(seed)
    prediction = (torch.rand(1, *shape, generator=generator) < 0.1) * 2
    labels = torch.randint(0, 3, (1, *shape), generator=generator)
    sizes = [first_spacing or 1.0] + [1.0] * (len(shape) - 1)

    mask = region_mask(
        "near", labels, prediction, margin=margin, spacing=sizes if first_spacing else None
    )

    assert torch.equal(mask[0], slow_near(prediction[0], margin, sizes))


@given(st.integers(0, 999), st.sampled_from([0.6, 2.0, 4.5]))
@settings(max_examples=30, deadline=None)
def test_distances_equal_those_of_scipy(seed, farthest):
    """In a larger image, of which only a box is looked at, and no farther than they are asked for."""
    generator = torch.Generator().manual_seed(seed)
    structure = torch.zeros(1, 15, 9, 17, dtype=torch.bool)
    structure[0, 6:9, 2:4, 7:10] = torch.rand(3, 2, 3, generator=generator) < 0.3
    sizes = (0.8, 1.25, 2.0)

    distances = distances_to(structure, farthest, sizes)[0].numpy()

    expected = np.full(distances.shape, np.inf)
    if structure.any():
        expected = distance_transform_edt(~structure[0].numpy(), sampling=sizes)
    expected[expected > farthest + 1e-6] = np.inf
    np.testing.assert_allclose(distances, expected, rtol=1e-6)


@given(st.integers(0, 999))
@settings(max_examples=20, deadline=None)
def test_one_map_of_distances_answers_for_every_margin(seed):
    """It is computed once for the largest of them."""
    generator = torch.Generator().manual_seed(seed)
    structure = torch.rand(2, 7, 8, generator=generator) < 0.05
    distances = distances_to(structure, 3.0, (0.5, 1.0))

    for margin in (0.0, 0.5, 1.0, 1.5, 3.0):
        expected = within(distances_to(structure, margin, (0.5, 1.0)), margin)
        assert torch.equal(within(distances, margin), expected)


def test_what_is_exactly_as_far_as_the_margin_is_near():
    """Whatever the rounding: thirty voxels of 0.1 mm are 3 mm."""
    prediction = torch.zeros(1, 1, 40, dtype=torch.long)
    prediction[0, 0, 0] = 1

    for size, last in ((0.1, 30), (1.0, 3), (0.3, 10), (3.0, 1), (3.1, 0)):
        mask = region_mask("near", prediction, prediction, spacing=(1.0, size))
        assert mask.sum() == last + 1


def test_each_case_has_its_own_spacing_and_prediction():
    """Cases of a batch do not meet."""
    prediction = torch.zeros(3, 5, 9, dtype=torch.long)
    prediction[:2, 2, 4] = 1
    spacings = [(1.0, 3.0), (3.0, 1.0), (1.0, 1.0)]

    batch = region_mask("near", prediction, prediction, spacing=spacings)

    assert batch.sum((1, 2)).tolist() == [7, 9, 0]
    for k, spacing in enumerate(spacings):
        alone = region_mask("near", *[prediction[k : k + 1]] * 2, spacing=spacing)
        assert torch.equal(batch[k : k + 1], alone)


@given(cases(), st.sampled_from([1.0, 2.0]))
@settings(max_examples=25, deadline=None)
def test_bands_and_structures_are_those_of_the_prediction(case, width):
    """As the region of the label's boundary, but around what is predicted."""
    probs, labels, _ = case
    prediction = probs.max(1).indices

    assert torch.equal(region_mask("predicted", labels, prediction), prediction != 0)
    sizes = [0.7, *[1.0] * (labels.ndim - 2)]
    band = region_mask("predicted_boundary", labels, prediction, width=width, spacing=sizes)
    for k, one in enumerate(prediction):
        assert torch.equal(band[k], slow_boundary_band(one, width, sizes))


@given(cases(), st.integers(0, 999))
@settings(max_examples=25, deadline=None)
def test_labels_have_no_say_in_them(case, seed):
    """Not even where voxels are ignored, which are out of every region."""
    probs, labels, ignored = case
    generator = torch.Generator().manual_seed(seed)
    others = torch.randint(0, probs.shape[1], labels.shape, generator=generator)
    chosen = named_regions(PREDICTED)

    for one, index in ((labels, None), (labels.where(~ignored, 255), 255)):
        counted = torch.ones_like(ignored) if index is None else ~ignored
        ours = region_masks(chosen, checked_voxels(probs, one, None, index))
        theirs = region_masks(chosen, checked_voxels(probs, others))
        for mask, other in zip(ours, theirs, strict=True):
            assert torch.equal(mask, other & counted)


def test_commands_know_all_regions():
    """By names that are known without torch."""
    assert set(KNOWN_REGIONS) == set(REGIONS) == set(REGION_WORDS)


def test_those_in_which_labels_have_a_say_are_told_apart():
    """By what each function asks for."""
    assert [name for name in REGIONS if depends_on_labels(name)] == [
        *("foreground", "union", "boundary")
    ]


@given(cases(), st.sampled_from(PREDICTED))
@settings(max_examples=25, deadline=None)
def test_metric_takes_them_by_name(case, region):
    """With the sums of a loop over the voxels of the region, case by case."""
    probs, labels, _ = case
    metric = CalibrationMetric(5, regions=[region], errors=["ece"], margin=1.0)
    metric(probs, labels)
    mask = region_mask(region, labels, probs.max(1).indices, margin=1.0)

    bins = metric.case_bins()[:, 0]

    for k in range(len(probs)):
        one = slice(k, k + 1)
        counts, positives, sums = slow_bins(probs[one], labels[one], mask[one], 5)
        np.testing.assert_array_equal(bins.counts[k], counts)
        np.testing.assert_array_equal(bins.positives[k], positives)
        np.testing.assert_allclose(bins.confidences[k], sums)


def test_empty_prediction_has_no_number_and_is_counted():
    """Dice and NLL over all voxels tell what was missed."""
    probs = torch.tensor([[[0.9, 0.9], [0.1, 0.1]], [[0.9, 0.2], [0.1, 0.8]]])
    labels = torch.tensor([[1, 1], [0, 1]])
    metric = CalibrationMetric(errors=["ece"], regions=PREDICTED, margin=0.0)
    metric(probs[:, :, None], labels[:, None])

    numbers = metric.aggregate()

    assert numbers["empty_near"] == numbers["empty_predicted"] == 1
    assert numbers["ece_near"] == pytest.approx(0.2) == numbers["ece_predicted_pooled"]
    assert math.isnan(expected_calibration_error(probs[:1], labels[:1], region="near"))


def test_overlapping_structures_have_their_own():
    """Each is near its own prediction alone."""
    probs = torch.full((1, 2, 1, 9), 0.1)
    probs[0, 0, 0, 0] = probs[0, 1, 0, 8] = 0.9
    metric = CalibrationMetric(errors=["ece"], regions=["near"], structures=["WT", "TC"], margin=2)
    metric(probs, torch.zeros(1, 2, 1, 9))

    assert metric.region_names == ("near_WT", "near_TC")
    assert metric.case_bins().voxels().tolist() == [[3, 3]]
    assert metric.case_bins().positives[0, :, 0].sum(-1).tolist() == [2, 2]


def test_raters_share_them_and_the_distance_is_found_once(monkeypatch):
    """What one rater marks moves no border of the region."""
    probs, labels = random_case((1, 3, 6, 7))
    raters = torch.stack([labels, (labels + 1) % 3, torch.zeros_like(labels)], 1)
    calls = []
    monkeypatch.setattr(
        regions_module,
        "distances_to",
        lambda *arguments: calls.append(1) or distances_to(*arguments),
    )
    shared = CalibrationMetric(errors=["ece"], regions=PREDICTED, num_raters=3)
    shared(probs, raters)

    assert len(calls) == 1
    for rater, one in enumerate(raters.unbind(1)):
        alone, against = (
            CalibrationMetric(errors=["ece"], regions=PREDICTED, **options)
            for options in ({}, {"num_raters": 3, "rater": rater})
        )
        alone(probs, one)
        against(probs, raters)
        assert torch.equal(3 * alone.case_bins().voxels(), shared.case_bins().voxels())
        assert torch.equal(alone.case_bins().counts, against.case_bins().counts)


@pytest.mark.parametrize(
    ("decisions", "distances"),
    [({"a": [1], "b": [2]}, 2), ({"b": [2]}, 2), ({"all": [0, 1, 2]}, 2)],
)
def test_decisions_on_the_whole_foreground_have_its_distances(monkeypatch, decisions, distances):
    """What is near the foreground is near any structure; of others it is computed, too."""
    probs, labels = random_case((2, 3, 6, 7))
    probs = (2 * probs + torch.tensor([1.0, 0, 0]).view(3, 1, 1)) / 3
    options = {"errors": ["ece"], "margin": 0.5, "margin_spacing": (0.5, 0.8), "ignore_index": 2}
    alone = CalibrationMetric(regions=["near"], **options)
    alone(probs, labels)
    mine = CalibrationMetric(regions={"near": foreground}, decisions=decisions, **options)
    mine(probs, labels)
    expected = CalibrationMetric(regions={"mine": foreground}, **options)
    expected(probs, labels)
    calls = []
    for module in (regions_module, decisions_module):
        monkeypatch.setattr(
            module, "distances_to", lambda *given: calls.append(1) or distances_to(*given)
        )

    both = CalibrationMetric(regions=["near"], decisions=decisions, **options)
    both(probs, labels)

    assert len(calls) == distances
    assert 0 < alone.case_bins().voxels().sum() < (labels != 2).sum()
    assert torch.equal(both.case_bins().counts, alone.case_bins().counts)
    assert torch.equal(both.case_bins().confidences, alone.case_bins().confidences)
    assert torch.equal(mine.case_bins().counts, expected.case_bins().counts)


@pytest.mark.parametrize("make", [CalibrationMetric, lambda **o: CalibrationError(**o).metric_fn])
def test_margin_is_in_mm_where_the_label_knows_its_voxels(make):
    """The width of the paper's boundary remains in voxels; a function of one's own may ask for both."""
    labels = torch.zeros(1, 1, 1, 12)
    probs = torch.stack([torch.full((1, 1, 12), 0.9), torch.full((1, 1, 12), 0.1)], 1)
    probs[:, :, :, 0] = torch.tensor([0.2, 0.8])[:, None]
    image = MetaTensor(labels, affine=torch.diag(torch.tensor([1.0, 0.5, 1.0, 1.0])))

    def mine(prediction, margin, margin_spacing):
        return within(distances_to(prediction != 0, margin, margin_spacing), margin)

    regions = {"near": None, "boundary": None, "predicted_boundary": None, "mine": mine}
    found = []
    for spacing in (None, "pixdim"):
        metric = make(regions=regions, margin=2.0, margin_spacing=spacing)
        metric(probs, image)
        found.append(metric.case_bins().voxels()[0].tolist())

    assert found == [[3, 0, 4, 3], [5, 0, 4, 5]]


@pytest.mark.parametrize("method", ["near", "predicted"])
def test_fits_take_them_by_name(method):
    """Their voxels are those of the region."""
    probs, labels = random_case((1, 3, 5, 6))
    mask = region_mask(method, labels, probs.max(1).indices)

    with RegionLogits(method) as region:
        region.add(probs[0].log(), labels, "patient")
        voxels = next(iter(region))

    assert torch.equal(voxels.labels, labels[mask])


@pytest.mark.parametrize("margin", [-1.0, math.inf, math.nan])
def test_margin_that_is_none_is_refused(margin):
    """In one line."""
    prediction = torch.ones(1, 2, 2, dtype=torch.long)
    with pytest.raises(InputError, match="margin: is .*; give a finite number, 0 or more"):
        region_mask("near", prediction, prediction, margin=margin)


@pytest.mark.parametrize("shape", [(0, 4, 4), (2, 0, 4)])
def test_nothing_is_near_nothing(shape):
    """A map of no voxel is empty."""
    empty = torch.zeros(shape, dtype=torch.long)

    assert region_mask("near", empty, empty).shape == shape


def test_name_of_a_fit_ends_with_its_region():
    """The longest that fits."""
    for region in REGIONS:
        assert region_of_fit(region) == region_of_fit(f"vector_{region}") == region
    assert region_of_fit("vector_nearest") == ""
