"""Regions that overlap in any way get what each of them gets alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_oracles import same_sums
from metric_samples import random_case

from nacl_monai.metrics.columns import COLLECTORS, Options
from nacl_monai.metrics.pieces import RegionPieces
from nacl_monai.metrics.voxels import LabeledVoxels


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
        sums = collect(together, Options())
        for region, pieces in enumerate(alone):
            found, expected = sums[:, [region]], collect(pieces, Options())
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
