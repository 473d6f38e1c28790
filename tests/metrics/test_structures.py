"""Structures, the spacing of their cases, and their distance, against MONAI."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.data.utils import list_data_collate
from monai.metrics import compute_hausdorff_distance
from monai.transforms import ConvertToMultiChannelBasedOnBratsClasses

from nacl_monai.errors import InputError
from nacl_monai.metrics import BoundedHausdorffMetric, hausdorff_distance, structure_masks
from nacl_monai.metrics.regions import case_spacings
from nacl_monai.metrics.structures import class_counts, map_dice, map_distances, structure_dice
from tests.same import same_values

BRATS = {"TC": (1, 4), "WT": (1, 2, 4), "ET": (4,)}
LABELS = torch.tensor([0, 1, 2, 4])[torch.randint(0, 4, (1, 6, 7, 5))]


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([(5, 6, 4), (1, 7, 6), (6, 5)]),
    st.booleans(),
    st.sampled_from([torch.uint8, torch.int16, torch.int64]),
)
def test_scores_of_maps_are_those_of_masks(seed, shape, masked, dtype):
    """Dice and HD95 from maps of classes, within boxes: of unions, missed and absent structures."""
    rng = np.random.default_rng(seed)
    maps = [torch.from_numpy(rng.integers(0, rng.integers(2, 5), shape)).to(dtype) for _ in "ab"]
    mask = torch.from_numpy(rng.random(shape) < 0.8) if masked else None
    structures = {"one": (1,), "union": (1, 3), "last": (4,), "all": (0, 1, 2, 3, 4)}
    prediction, label = (structure_masks(labeled[None], structures)[None] for labeled in maps)
    if masked:
        prediction, label = prediction * mask, label * mask

    dice = map_dice(class_counts(*maps, 5, mask), structures)
    distances = map_distances(*maps, structures, [2.0, 0.7, 1.3][: len(shape)], mask)

    spacing = [2.0, 0.7, 1.3][: len(shape)]
    torch.testing.assert_close(
        dice.nan_to_num(-1), structure_dice(prediction, label)[0].nan_to_num(-1)
    )
    expected = hausdorff_distance(prediction, label, spacing)[0]
    torch.testing.assert_close(distances.nan_to_num(-1), expected.nan_to_num(-1))


def test_masks_equal_those_of_monai_for_brats():
    """For BraTS' classes the masks are those of MONAI's transform, which knows no other dataset."""
    expected = ConvertToMultiChannelBasedOnBratsClasses()(LABELS)

    same_values(structure_masks(LABELS, BRATS).bool(), expected.bool())


def test_batch_is_mapped_case_by_case():
    """With dim=1 a batch is mapped case by case."""
    batch = torch.stack([LABELS, LABELS.flip(1)])

    each = torch.stack([structure_masks(case, BRATS) for case in batch])

    same_values(structure_masks(batch, BRATS, dim=1), each)


def test_metadata_is_kept():
    """The spacing of a MetaTensor survives; float labels are welcome."""
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0]))

    masks = structure_masks(MetaTensor(LABELS.float(), affine=affine), BRATS)

    assert masks.pixdim.tolist() == [2, 3, 4]
    same_values(masks.as_tensor(), structure_masks(LABELS, BRATS))


@pytest.mark.parametrize(
    ("labels", "structures", "dim"),
    [
        (LABELS[0], BRATS, 0),
        (torch.zeros(2, 4, 4), BRATS, 0),
        (torch.zeros(1), BRATS, 1),
        (LABELS, {}, 0),
    ],
)
def test_label_maps_without_a_channel_are_refused(labels, structures, dim):
    """Label maps without a channel axis of length one, and no structures, are refused."""
    with pytest.raises(InputError, match="one channel at axis"):
        structure_masks(labels, structures, dim)


def test_masks_are_bytes_and_a_structure_of_no_class_is_empty():
    """Masks are uint8, in the order of the structures."""
    masks = structure_masks(LABELS, {"none": (), "four": (4,)})

    assert masks.dtype == torch.uint8
    assert not masks[0].any()
    same_values(masks[1].bool(), LABELS[0] == 4)


def image(*sizes):
    """One case ``(1, *spatial)`` with these voxel sizes."""
    affine = torch.diag(torch.tensor([*sizes, 1.0]))
    return MetaTensor(torch.zeros(1, 4, 5, 6)[:, :, :, : 6 if len(sizes) > 2 else 1], affine=affine)


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        (None, [(1.0, 1.0)] * 2),
        ((2, 0.1), [(2.0, 0.1)] * 2),  # the double 0.1, not the float32 one
        ([(1.0, 3.0), (3.0, 1.0)], [(1.0, 3.0), (3.0, 1.0)]),
    ],
)
def test_numbers_are_for_all_cases_or_for_each(spacing, expected):
    """Without any, distances are in voxels."""
    assert case_spacings(spacing, 2, 2) == expected


def test_pixdim_of_a_batch_is_read_case_by_case():
    """A collated batch keeps the spacing of each case."""
    batch = list_data_collate([image(1.0, 2.0, 3.0), image(4.0, 5.0, 6.0)])

    assert case_spacings("pixdim", 2, 3, batch) == [(1.0, 2.0, 3.0), (4.0, 5.0, 6.0)]


def test_pixdim_of_one_image_serves_all_cases():
    """An image that is not a batch has one spacing, of which 2-D takes the first two axes."""
    assert case_spacings("pixdim", 2, 2, image(2.0, 3.0, 9.0)) == [(2.0, 3.0)] * 2


@pytest.mark.parametrize(
    "spacing", [(1.0,), (1.0, 1.0, 1.0), (1.0, 0.0), (1.0, -1.0), [(1.0, 1.0)] * 3]
)
def test_numbers_that_do_not_fit_are_refused(spacing):
    """There is one positive number per axis, for all cases or for each."""
    with pytest.raises(InputError, match="spacing: is .*; give 2 positive numbers"):
        case_spacings(spacing, 2, 2)


def test_unknown_word_and_missing_metadata_are_refused():
    """The only word is pixdim, and it needs metadata."""
    with pytest.raises(InputError, match="spacing: is 'mm'; give numbers, None or 'pixdim'"):
        case_spacings("mm", 1, 2, image(1.0, 1.0, 1.0))
    with pytest.raises(InputError, match="needs labels with metadata .a MetaTensor."):
        case_spacings("pixdim", 1, 2, torch.zeros(1, 1, 4, 5))


def cube(shape, start, size=4):
    mask = torch.zeros(shape)
    mask[tuple(slice(first, first + size) for first in start)] = 1
    return mask


LABEL = cube((12, 12, 12), (2, 2, 2))
SHIFTED = cube((12, 12, 12), (5, 2, 2))
NOTHING = torch.zeros(12, 12, 12)


def batch(mask):
    return mask[None, None]


@pytest.mark.parametrize("spacing", [None, (2.0, 1.0, 0.5)])
@pytest.mark.parametrize("percentile", [95.0, 100.0])
def test_equals_monai_where_both_are_there(spacing, percentile):
    """Where both masks hold something it is MONAI's distance."""
    monai = compute_hausdorff_distance(
        batch(SHIFTED),
        batch(LABEL),
        include_background=True,
        percentile=percentile,
        spacing=spacing,
    )

    torch.testing.assert_close(
        hausdorff_distance(batch(SHIFTED), batch(LABEL), spacing, percentile), monai
    )


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_volume_of_one_slice_has_the_distance_of_the_slice(axis):
    """Its voxels have no neighbors across, and are not its surface."""
    label, shifted = cube((40, 40), (4, 4), 20), cube((40, 40), (9, 4), 20)
    spacing = [3.0, 2.0]
    expected = hausdorff_distance(batch(label), batch(shifted), spacing).item()

    flat = [mask.unsqueeze(axis) for mask in (label, shifted)]
    spacing.insert(axis, 7.0)
    assert expected == 15
    assert hausdorff_distance(*map(batch, flat), spacing).item() == expected


def test_missed_structure_scores_the_diagonal():
    """A structure that was missed scores the diagonal; on BraTS' grid that is the challenge's."""
    label = torch.zeros(1, 1, 240, 240, 155)
    label[0, 0, 0, 0, 0] = 1

    assert hausdorff_distance(torch.zeros_like(label), label).item() == pytest.approx(
        373.1287, abs=1e-4
    )
    missed = hausdorff_distance(batch(NOTHING), batch(LABEL), (2.0, 1.0, 1.0)).item()
    assert missed == pytest.approx(math.sqrt(24**2 + 12**2 + 12**2))


@pytest.mark.filterwarnings("ignore:the prediction of class")
def test_monai_gives_no_number_for_a_missed_structure():
    """MONAI's distance of a missed structure is not a finite number, so that its mean hides it."""
    monai = compute_hausdorff_distance(
        batch(NOTHING), batch(LABEL), include_background=True, percentile=95
    )

    assert not monai.isfinite().any()


@pytest.mark.parametrize("prediction", [NOTHING, LABEL])
def test_absent_structure_is_nan(prediction):
    """A structure that the label lacks has no distance, predicted or not."""
    assert hausdorff_distance(batch(prediction), batch(NOTHING)).isnan().all()


def test_metric_leaves_out_background_and_absent_structures():
    """The metric leaves out the background and absent structures, from batches or lists."""
    label = torch.stack([1 - LABEL, LABEL, NOTHING])
    prediction = torch.stack([1 - SHIFTED, SHIFTED, NOTHING])
    metric = BoundedHausdorffMetric(reduction="mean_batch")
    metric(prediction[None], label[None])
    metric([torch.stack([1 - NOTHING, NOTHING, NOTHING])], [label])

    expected = [(3 + math.sqrt(3) * 12) / 2, 0]
    assert metric.aggregate().tolist() == pytest.approx(expected, abs=1e-4)
    assert metric.get_buffer()[:, 1].isnan().all()


def test_metric_reads_the_spacing_of_each_case():
    """With spacing "pixdim" each case is measured in its own millimetres."""
    metric = BoundedHausdorffMetric(include_background=True, spacing="pixdim")
    for size in (2.0, 1.0):
        affine = torch.diag(torch.tensor([size, 1.0, 1.0, 1.0]))
        metric([SHIFTED[None]], [MetaTensor(LABEL[None], affine=affine)])

    assert metric.get_buffer().flatten().tolist() == [6, 3]


@pytest.mark.parametrize(
    ("prediction", "label", "message"),
    [
        (batch(LABEL), batch(LABEL[:6]), "give both one shape"),
        (LABEL[0][None], LABEL[0][None], "give both one shape"),
        (batch(LABEL * 0.5), batch(LABEL), "^prediction: holds .* mask of 0 and 1"),
        (batch(LABEL), batch(LABEL * 2), "^label: holds .* mask of 0 and 1"),
        (batch(LABEL), None, "label: is missing"),
    ],
    ids=["shapes", "no plane", "prediction", "label", "no label"],
)
def test_what_has_no_distance_is_refused(prediction, label, message):
    """Both are 2-D or 3-D, of one shape, and binary."""
    with pytest.raises(InputError, match=message):
        BoundedHausdorffMetric(include_background=True)(prediction, label)


def test_default_is_the_95th_percentile_in_voxels():
    """Without arguments function and metric give MONAI's HD95, which differs from its neighbors."""
    generator = torch.Generator().manual_seed(3)
    prediction, label = (torch.rand(1, 2, 30, 30, generator=generator) < p for p in (0.01, 0.2))
    prediction, label = prediction.float(), label.float()
    below, monai, above = (
        compute_hausdorff_distance(prediction, label, include_background=True, percentile=rank)
        for rank in (94, 95, 96)
    )
    metric = BoundedHausdorffMetric()
    metric(prediction, label)

    assert not torch.allclose(monai, below)
    assert not torch.allclose(monai, above)
    torch.testing.assert_close(hausdorff_distance(prediction, label), monai)
    torch.testing.assert_close(metric.get_buffer(), monai[:, 1:])


def test_metric_takes_monai_s_arguments():
    """The percentile is handed on; with ``get_not_nans`` the number of distances is returned."""
    far = LABEL.clone()
    far[-1, -1, -1] = 1
    metric = BoundedHausdorffMetric(include_background=True, percentile=100, get_not_nans=True)
    metric(batch(far), batch(LABEL))
    metric(batch(far), batch(NOTHING))
    distance, count = metric.aggregate()

    assert distance.item() == hausdorff_distance(batch(far), batch(LABEL), percentile=100).item()
    assert distance.item() > hausdorff_distance(batch(far), batch(LABEL)).item()
    assert count.item() == 1
