"""Regions that overlap in any way get what each of them gets alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_oracles import same_sums
from metric_samples import random_case

from nacl_monai.metrics import CalibrationBins
from nacl_monai.metrics.columns import COLLECTORS, Options
from nacl_monai.metrics.pieces import Chunk, RegionPieces
from nacl_monai.metrics.scores import ScoreSums
from nacl_monai.metrics.voxels import LabeledVoxels


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
    together = RegionPieces(LabeledVoxels(probs, labels), masks)
    bins, scores = CalibrationBins.collect(together, 15), ScoreSums.collect(together)

    for region, mask in enumerate(masks):
        pieces = RegionPieces(LabeledVoxels(probs, labels), [mask])
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

    chunks = list(RegionPieces(LabeledVoxels(probs, labels), [inside]).chunks())

    assert len(chunks) > 3
    found = Chunk(*(torch.cat(parts, -1) for parts in zip(*chunks, strict=True)))
    case, place = torch.arange(2)[:, None], torch.arange(42)
    assert torch.equal(found.probs, probs.movedim(1, 0)[:, inside])
    assert torch.equal(found.labels[0], labels[inside].long())
    assert torch.equal(found.confidences, probs.amax(1)[inside])
    assert torch.equal(found.prediction[0], probs.argmax(1)[inside])
    assert torch.equal(found.pieces, (4 * (2 * case + 1) + place % 4).view(2, 7, 6)[inside])


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


def test_chunk_on_a_gpu_is_larger(monkeypatch):
    """On any other device than a CPU a chunk has 2^24 probabilities."""
    monkeypatch.setattr("nacl_monai.metrics.pieces._CHUNK", {})
    voxels = LabeledVoxels(torch.tensor(0.5).expand(1, 2**20, 20), torch.zeros(1, 20))
    pieces = RegionPieces(voxels, [None])

    assert [piece.numel() for *_, piece in pieces.chunks()] == [16, 4]


@pytest.mark.parametrize("kind", COLLECTORS)
def test_size_of_a_chunk_changes_nothing(kind, monkeypatch):
    """Small chunks give the sums of one large chunk, of every kind."""
    probs, labels = random_case((2, 3, 30, 20))
    pieces = RegionPieces(LabeledVoxels(probs, labels), [None, labels != 1])
    whole = COLLECTORS[kind](pieces, Options())
    monkeypatch.setattr("nacl_monai.metrics.pieces._CHUNK", {"cpu": 999})
    parts = COLLECTORS[kind](pieces, Options())

    torch.testing.assert_close(parts.tensors(), whole.tensors(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", COLLECTORS)
def test_sums_of_a_case_are_the_same_to_the_bit_in_any_batch(kind, monkeypatch):
    """Neither the other cases nor where chunks begin decide on the order of additions."""
    monkeypatch.setattr("nacl_monai.metrics.pieces._CHUNK", {"cpu": 100})
    probs, labels = random_case((3, 4, 9, 7))
    masks = [None, torch.rand(labels.shape) < 0.5, labels > 0]

    def sums(cases):
        voxels = LabeledVoxels(probs[cases], labels[cases])
        regions = [mask if mask is None else mask[cases] for mask in masks]
        return COLLECTORS[kind](RegionPieces(voxels, regions), Options())

    together = sums(slice(None))
    for case in range(3):
        assert same_sums(together[[case]], sums([case]))
