"""Regions that the prediction decides: against slow loops, and wherever a region has a name."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_oracles import distances_in, same_sums, slow_boundary_band, slow_near
from metric_samples import cases, measured, random_case
from monai.data.meta_tensor import MetaTensor

from nacl_monai.errors import InputError
from nacl_monai.metrics import REGIONS, CalibrationMetric, region_mask
from nacl_monai.metrics.regions import (
    distances_to,
    foreground,
    named_regions,
    region_masks,
    region_of_fit,
    within,
)
from nacl_monai.metrics.voxels import checked_voxels
from nacl_monai.training import CalibrationError

PREDICTED = ("near", "predicted", "predicted_boundary")


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

    expected = distances_in(structure[0], sizes)
    expected[expected > farthest + 1e-6] = np.inf
    np.testing.assert_allclose(distances, expected, rtol=1e-6)


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


def test_overlapping_structures_have_their_own():
    """Each is near its own prediction alone."""
    probs = torch.full((1, 2, 1, 9), 0.1)
    probs[0, 0, 0, 0] = probs[0, 1, 0, 8] = 0.9
    options = {"structures": ["WT", "TC"], "regions": ["near"], "margin": 2}

    metric = measured(probs, torch.zeros(1, 2, 1, 9), errors=["ece"], **options)

    assert metric.region_names == ("near_WT", "near_TC")
    assert metric.case_bins().voxels().tolist() == [[3, 3]]
    assert metric.case_bins().positives[0, :, 0].sum(-1).tolist() == [2, 2]


def test_raters_share_them():
    """What one rater marks moves no border of the region."""
    probs, labels = random_case((1, 3, 6, 7))
    raters = torch.stack([labels, (labels + 1) % 3, torch.zeros_like(labels)], 1)
    options = {"errors": ["ece"], "regions": PREDICTED}
    shared = measured(probs, raters, num_raters=3, **options)

    for rater, one in enumerate(raters.unbind(1)):
        alone = measured(probs, one, **options)
        against = measured(probs, raters, num_raters=3, rater=rater, **options)
        assert torch.equal(3 * alone.case_bins().voxels(), shared.case_bins().voxels())
        assert torch.equal(alone.case_bins().counts, against.case_bins().counts)


@pytest.mark.parametrize("decisions", [{"a": [1], "b": [2]}, {"b": [2]}, {"all": [0, 1, 2]}])
def test_decisions_on_the_whole_foreground_have_its_distances(decisions):
    """What is near the foreground is near any structure; of others it is computed, too."""
    probs, labels = random_case((2, 3, 6, 7))
    probs = (2 * probs + torch.tensor([1.0, 0, 0]).view(3, 1, 1)) / 3
    options = {"errors": ["ece"], "margin": 0.5, "margin_spacing": (0.5, 0.8), "ignore_index": 2}
    alone = measured(probs, labels, regions=["near"], **options)
    both = measured(probs, labels, regions=["near"], decisions=decisions, **options)

    assert 0 < alone.case_bins().voxels().sum() < (labels != 2).sum()
    assert same_sums(both.case_bins(), alone.case_bins())
    mine = measured(probs, labels, regions={"near": foreground}, decisions=decisions, **options)
    expected = measured(probs, labels, regions={"mine": foreground}, **options)
    assert same_sums(mine.case_bins(), expected.case_bins())


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
