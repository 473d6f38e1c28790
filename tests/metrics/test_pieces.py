"""Regions that overlap in any way get what each of them gets alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_samples import random_case

from nacl_monai.metrics import CalibrationBins
from nacl_monai.metrics.pieces import RegionPieces
from nacl_monai.metrics.scores import ScoreSums


@given(
    st.lists(st.sampled_from([None, 0.0, 0.1, 0.5, 1.0]), min_size=1, max_size=5),
    st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_overlapping_regions_get_the_sums_of_each_alone(shares, seed):
    """Counts are identical and sums equal, whatever the regions share, also if one is empty."""
    torch.manual_seed(seed)
    probs, labels = random_case((3, 4, 9, 8))
    masks = [None if share is None else torch.rand(labels.shape) < share for share in shares]
    together = RegionPieces(probs, labels, masks)
    bins, scores = CalibrationBins.collect(together, 15), ScoreSums.collect(together)

    for region, mask in enumerate(masks):
        pieces = RegionPieces(probs, labels, [mask])
        alone = CalibrationBins.collect(pieces, 15)
        assert torch.equal(bins.counts[:, region], alone.counts[:, 0])
        assert torch.equal(bins.positives[:, region], alone.positives[:, 0])
        for actual, expected in (
            (bins.confidences[:, region], alone.confidences[:, 0]),
            (scores.scores[:, region], ScoreSums.collect(pieces).scores[:, 0]),
        ):
            torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


def test_every_voxel_is_yielded_once(monkeypatch):
    """The chunks yield every voxel of the regions once, with its label and its case."""
    monkeypatch.setattr("nacl_monai.metrics.pieces._CHUNK", {"cpu": 50})
    probs, labels = random_case((2, 3, 7, 6))
    inside = labels > 0

    chunks = list(RegionPieces(probs, labels, [inside]).chunks())

    values, label, piece = (torch.cat(parts, -1) for parts in zip(*chunks, strict=True))
    case = torch.arange(2)[:, None, None].expand_as(labels)[inside]
    assert len(chunks) > 3
    assert torch.equal(values, probs.movedim(1, 0)[:, inside])
    assert torch.equal(label[0], labels[inside].long())
    assert torch.equal(piece, 2 * case + 1)


@pytest.mark.parametrize("masks", [[None], [None, None]])
def test_regions_of_all_voxels_hold_every_voxel(masks):
    """Regions of all voxels need no mask, and each holds every voxel."""
    probs, labels = random_case((2, 3, 7, 6))

    bins = CalibrationBins.collect(RegionPieces(probs, labels, masks), 15)

    assert bins.counts.sum(-1).unique().tolist() == [42]
    assert bins.counts.shape == (2, len(masks), 4, 15)
