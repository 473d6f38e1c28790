"""Regions: one function each, drawn and against slow loops, whatever names or gives it."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.meta_tensor import MetaTensor

from nacl_monai.errors import InputError
from nacl_monai.metrics import REGIONS, CalibrationMetric, boundary_band, region_mask
from nacl_monai.metrics.columns import COLLECTORS
from nacl_monai.metrics.record import Measurement
from nacl_monai.metrics.regions import (
    RegionPieces,
    distances_to,
    foreground,
    named_regions,
    region_masks,
    selected_voxels,
    within,
)
from nacl_monai.metrics.voxels import LabeledVoxels, checked_voxels
from nacl_monai.training import CalibrationError
from tests.metrics.oracles import (
    cases,
    distances_in,
    measured,
    random_case,
    same_sums,
    slow_boundary_band,
    slow_near,
)
from tests.same import same_values

LABELS = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 2]]])
PREDICTION = torch.tensor([[[0, 1, 1, 0], [0, 0, 0, 2]]])
PROBS = torch.nn.functional.one_hot(PREDICTION, 3).movedim(-1, 1).float()
VOXELS = LabeledVoxels(PROBS, LABELS)


def drawn(mask):
    return ["".join(".#"[voxel] for voxel in line) for line in mask[0].int().tolist()]


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("all", ["####", "####"]),
        ("foreground", ["..##", "..##"]),
        ("union", [".###", "..##"]),
        ("boundary", [".###", ".###"]),
    ],
)
def test_regions_drawn(region, expected):
    """Each region, drawn; the boundary with a width of one voxel on each side."""
    assert drawn(region_mask(region, LABELS, PREDICTION, width=1)) == expected


def test_boundary_takes_width_and_spacing():
    """Width and spacing reach the band, which is three voxels wide by default."""
    labels = torch.tensor([0] * 6 + [1] * 6).expand(1, 2, 12)

    for band in (region_mask("boundary", labels), boundary_band(labels)):
        assert drawn(band) == ["...######..."] * 2
    assert drawn(region_mask("boundary", labels, width=2)) == ["....####...."] * 2
    in_mm = region_mask("boundary", labels, width=2, spacing=(1.0, 2.0))
    assert drawn(in_mm) == [".....##....."] * 2


def test_names_none_and_functions_go_through_the_same_path():
    """A region by name, as None, as its own function, or as a function of yours is the same mask."""
    regions = named_regions(
        {
            "union": None,
            "function": REGIONS["union"],
            "renamed": partial(region_mask, "union"),
            "mine": lambda labels, prediction: (labels + prediction > 0).to(torch.uint8),
            "channel": lambda prediction, labels: ((labels != 0) | (prediction != 0))[:, None],
        }
    )

    masks = region_masks(regions, VOXELS)

    assert list(regions) == ["union", "function", "renamed", "mine", "channel"]
    for mask in masks:
        assert mask.dtype == torch.bool
        same_values(mask, region_mask("union", LABELS, PREDICTION))


def test_parameter_with_a_default_keeps_it():
    """A partial function with a width keeps that width, and gets the spacing."""
    regions = named_regions({"thin": partial(region_mask, "boundary", width=1), "boundary": None})
    labels = torch.tensor([0] * 6 + [1] * 6).expand(1, 2, 12)
    probs = torch.full((1, 2, 2, 12), 0.5)

    thin, boundary = region_masks(regions, LabeledVoxels(probs, labels), 2.0, lambda: (1.0, 0.5))

    assert drawn(thin) == ["....####...."] * 2
    assert drawn(boundary) == ["..########.."] * 2


def test_only_regions_that_ask_need_a_spacing():
    """A spacing that is unknown is not an error for regions without a width."""

    def unknown():
        raise InputError("spacing: is unknown")

    region_masks(named_regions(["all", "foreground", "union"]), VOXELS, 3.0, unknown)
    with pytest.raises(InputError, match="spacing: is unknown"):
        region_masks(named_regions(["boundary"]), VOXELS, 3.0, unknown)


@pytest.mark.parametrize("region", ["foreground", "union", "boundary"])
def test_selected_voxels_are_those_of_the_region(region):
    """A name selects its region, with the prediction of the probabilities."""
    expected = region_mask(region, LABELS, PREDICTION)

    same_values(selected_voxels(region, VOXELS), expected)
    same_values(selected_voxels(expected[:, None].float(), VOXELS), expected)


def test_masks_of_another_shape_are_refused():
    """A function whose mask does not fit is named; so is a mask that does not fit."""
    with pytest.raises(InputError, match="region mine: have the shape"):
        region_masks({"mine": lambda labels: labels[:, 1:] > 0}, VOXELS)
    with pytest.raises(InputError, match="mask: have the shape"):
        selected_voxels(LABELS[:, 1:], VOXELS)


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ("foreground", "regions: is 'foreground'; give a list"),
        ([], "regions: is"),
        ({}, "regions: is"),
        (["all", "edge"], f"'edge' is unknown; choose one of {', '.join(REGIONS)}, or a mask"),
        ({"edge": None}, "'edge' is unknown"),
        ({"mine": lambda y, p: y == p}, "function of 'mine' asks for p, y; name its parameters"),
    ],
)
def test_unusable_regions_are_refused_when_they_are_named(regions, message):
    """Unknown regions, none at all, and functions of other things are one clear line."""
    with pytest.raises(InputError, match=message) as raised:
        named_regions(regions)

    assert "\n" not in str(raised.value)


def test_missing_prediction_is_refused():
    """Union cannot do without the prediction."""
    with pytest.raises(InputError, match="region 'union' needs it"):
        region_mask("union", LABELS)


def test_width_itself_is_outside():
    """A voxel at a distance of exactly the width, √(2² + 2² + 1²), is no longer in the band."""
    labels = torch.zeros(1, 4, 4, 4, dtype=torch.int64)
    labels[0, 0, 0, 0] = 1  # touches (0, 1, 0), the nearest to (2, 3, 1)

    assert not boundary_band(labels, width=3.0)[0, 2, 3, 1]
    assert boundary_band(labels, width=3.01)[0, 2, 3, 1]


def test_each_case_may_have_its_own_spacing():
    """Each case of a batch may have its own spacing."""
    labels = torch.zeros(2, 5, 9, dtype=torch.int64)
    labels[:, :, 4:] = 1
    spacings = [(1.0, 3.0), (3.0, 1.0)]

    both = boundary_band(labels, width=2.0, spacing=spacings)

    for case, spacing in enumerate(spacings):
        alone = boundary_band(labels[case : case + 1], width=2.0, spacing=spacing)
        same_values(both[case : case + 1], alone)


@given(
    st.lists(st.integers(2, 6), min_size=2, max_size=3),
    st.sampled_from([1.0, 1.5, 2.0, 3.0, 4.0]),
    st.sampled_from([None, 0.7, 2.5]),
    st.integers(0, 999),
)
@settings(max_examples=50, deadline=None)
def test_band_equals_slow_loop(shape, width, first_spacing, seed):
    """The band is that of comparing every voxel with every boundary voxel, 2-D and 3-D."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(1, *shape, generator=generator) < 0.2).long()
    sizes = [first_spacing or 1.0] + [1.0] * (len(shape) - 1)

    band = boundary_band(labels, width=width, spacing=sizes if first_spacing else None)

    same_values(band[0], slow_boundary_band(labels[0], width, sizes))


@given(st.integers(0, 999), st.sampled_from([0.6, 1.5, 2.0, 4.5]))
@settings(max_examples=25, deadline=None)
def test_band_far_from_the_border_equals_slow_loop(seed, width):
    """Boundaries in the middle of a larger image, where the band is computed in a box around them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.zeros(1, 15, 17, dtype=torch.int64)
    labels[0, 6:9, 7:10] = (torch.rand(3, 3, generator=generator) < 0.5).long()
    sizes = (0.8, 1.25)

    band = boundary_band(labels, width, sizes)

    same_values(band[0], slow_boundary_band(labels[0], width, sizes))


def test_cases_do_not_share_boundaries():
    """Labels that differ between cases are not a boundary, and a case without one has no band."""
    labels = torch.zeros(3, 4, 4, dtype=torch.int64)
    labels[1] = 1
    labels[2, 0, 0] = 1

    assert boundary_band(labels, 1).sum((1, 2)).tolist() == [0, 0, 3]


@pytest.mark.parametrize("width", [0, -1, float("nan"), float("inf")])
def test_width_that_is_not_positive_is_refused(width):
    """A band needs a width, and an end."""
    with pytest.raises(
        InputError, match="width: is .*; the band around a boundary needs a finite number above 0"
    ):
        boundary_band(torch.zeros(1, 2, 2), width=width)


@pytest.mark.parametrize("shape", [(0, 4, 4), (2, 0, 4)])
@pytest.mark.parametrize("region", ["boundary", "near"])
def test_maps_without_a_voxel_have_an_empty_region(region, shape):
    """Nothing is near nothing."""
    empty = torch.zeros(shape, dtype=torch.long)
    mask = region_mask(region, empty, empty)

    assert (mask.shape, mask.dtype) == (shape, torch.bool)


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

    same_values(mask[0], slow_near(prediction[0], margin, sizes))


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
        same_values(batch[k : k + 1], alone)


@given(cases(), st.sampled_from([1.0, 2.0]))
@settings(max_examples=25, deadline=None)
def test_bands_and_structures_are_those_of_the_prediction(case, width):
    """As the region of the label's boundary, but around what is predicted."""
    probs, labels, _ = case
    prediction = probs.max(1).indices

    same_values(region_mask("predicted", labels, prediction), prediction != 0)
    sizes = [0.7, *[1.0] * (labels.ndim - 2)]
    band = region_mask("predicted_boundary", labels, prediction, width=width, spacing=sizes)
    for k, plane in enumerate(prediction):
        same_values(band[k], slow_boundary_band(plane, width, sizes))


@given(cases(), st.integers(0, 999))
@settings(max_examples=25, deadline=None)
def test_labels_have_no_say_in_them(case, seed):
    """Not even where voxels are ignored, which are out of every region."""
    probs, labels, ignored = case
    generator = torch.Generator().manual_seed(seed)
    other_labels = torch.randint(0, probs.shape[1], labels.shape, generator=generator)
    chosen = named_regions(PREDICTED)

    for label_map, index in ((labels, None), (labels.where(~ignored, 255), 255)):
        counted = torch.ones_like(ignored) if index is None else ~ignored
        ours = region_masks(chosen, checked_voxels(probs, label_map, None, index))
        theirs = region_masks(chosen, checked_voxels(probs, other_labels))
        for mask, other in zip(ours, theirs, strict=True):
            same_values(mask, other & counted)


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

    for rater, label_map in enumerate(raters.unbind(1)):
        alone = measured(probs, label_map, **options)
        against = measured(probs, raters, num_raters=3, rater=rater, **options)
        same_values(3 * alone.case_bins().voxels(), shared.case_bins().voxels())
        same_values(alone.case_bins().counts, against.case_bins().counts)


@pytest.mark.parametrize("decisions", [{"a": [1], "b": [2]}, {"b": [2]}, {"all": [0, 1, 2]}])
def test_decisions_on_the_whole_foreground_have_its_distances(decisions):
    """What is near the foreground is near any structure; of others it is computed, too."""
    probs, labels = random_case((2, 3, 6, 7))
    probs = (2 * probs + torch.tensor([1.0, 0, 0]).view(3, 1, 1)) / 3
    options = {"errors": ["ece"], "margin": 0.5, "margin_spacing": (0.5, 0.8), "ignore_index": 2}
    alone = measured(probs, labels, regions=["near"], **options)
    both = measured(probs, labels, regions=["near"], decisions=decisions, **options)

    assert 0 < alone.case_bins().voxels().sum() < (labels != 2).sum()
    same_sums(both.case_bins(), alone.case_bins())
    mine = measured(probs, labels, regions={"near": foreground}, decisions=decisions, **options)
    expected = measured(probs, labels, regions={"mine": foreground}, **options)
    same_sums(mine.case_bins(), expected.case_bins())


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


@given(
    st.lists(st.sampled_from([None, 0.0, 0.1, 0.5, 1.0]), min_size=1, max_size=5),
    st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_overlapping_regions_get_the_sums_of_each_alone(shares, seed):
    """Of every kind of sums, whatever the regions share, also if one is empty."""
    torch.manual_seed(seed)
    probs, labels = random_case((3, 4, 9, 8))
    masks = [None if share is None else torch.rand(labels.shape) < share for share in shares]
    voxels = LabeledVoxels(probs, labels)

    together = RegionPieces(voxels, masks)
    alone = [RegionPieces(voxels, [mask]) for mask in masks]

    for collect in COLLECTORS.values():
        sums = collect(together, Measurement())
        for region, pieces in enumerate(alone):
            found, expected = sums[:, [region]], collect(pieces, Measurement())
            torch.testing.assert_close(found.tensors(), expected.tensors(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 2**18])
def test_chunk_holds_as_many_probabilities_as_fit_the_cache(classes):
    """On a CPU a chunk has 2^17 probabilities, or one voxel if it has more classes than that."""
    voxels = 100_000 if classes < 9 else 3
    probs = torch.tensor(0.5).expand(1, classes, voxels)
    pieces = RegionPieces(LabeledVoxels(probs, torch.zeros(1, voxels)), [None])

    sizes = [piece.numel() for *_, piece in pieces.chunks()]

    size = max(1, 2**17 // classes)
    assert sizes[0] == size
    assert set(sizes[:-1]) == {size}
    assert sum(sizes) == voxels


def test_chunk_on_a_gpu_has_a_size_of_its_own(monkeypatch):
    """As on any other device than a CPU."""
    monkeypatch.setattr("nacl_monai.metrics.regions._CHUNK", {})
    monkeypatch.setattr("nacl_monai.metrics.regions._CHUNK_ON_GPU", 64)
    of_voxels = LabeledVoxels(torch.full((1, 4, 20), 0.25), torch.zeros(1, 20))

    chunks = RegionPieces(of_voxels, [None]).chunks()
    assert [piece.numel() for *_, piece in chunks] == [16, 4]


@pytest.mark.parametrize("kind", COLLECTORS)
def test_sums_of_a_case_are_the_same_to_the_bit_in_any_batch(kind, monkeypatch):
    """Neither the other cases nor where chunks begin decide on the order of additions."""
    monkeypatch.setattr("nacl_monai.metrics.regions._CHUNK", {"cpu": 100})
    probs, labels = random_case((3, 4, 9, 7))
    masks = [None, torch.rand(labels.shape) < 0.5, labels > 0]

    def sums(cases):
        voxels = LabeledVoxels(probs[cases], labels[cases])
        regions = [mask if mask is None else mask[cases] for mask in masks]
        return COLLECTORS[kind](RegionPieces(voxels, regions), Measurement())

    together = sums(slice(None))
    for case in range(3):
        same_sums(together[[case]], sums([case]))
