"""Sums over voxels add up, entry by entry, and keep their order."""

from dataclasses import dataclass

import torch

from nacl_monai.metrics.bins import VoxelSums


@dataclass(frozen=True)
class Sums(VoxelSums):
    voxels: torch.Tensor
    values: torch.Tensor


ONE = Sums(torch.arange(6).view(3, 2), torch.arange(12.0).view(3, 2, 2))
OTHER = Sums(torch.ones(3, 2, dtype=torch.int64), torch.full((3, 2, 2), 10.0))


def test_adding_adds_each_tensor():
    """Sums over two sets of voxels add up to those over both."""
    both = ONE + OTHER

    assert both.voxels.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert torch.equal(both.values, ONE.values + 10)


def test_arrays_are_read_back_under_their_names():
    """With a prefix beside other arrays of the same names."""
    arrays = ONE.arrays() | OTHER.arrays("fine_")

    assert list(arrays) == ["voxels", "values", "fine_voxels", "fine_values"]
    for sums, prefix in ((ONE, ""), (OTHER, "fine_")):
        again = Sums.from_arrays(arrays, prefix)
        assert torch.equal(again.voxels, sums.voxels)
        assert torch.equal(again.values, sums.values)


def test_joined_cases_follow_each_other():
    """Those of every part, in order."""
    both = Sums.joined([ONE, OTHER])

    assert torch.equal(both.voxels, torch.cat([ONE.voxels, OTHER.voxels]))
    assert torch.equal(both[3:].values, OTHER.values)


def test_tensors_can_be_taken_back_in_order():
    """The tensors of several sums in one list are taken back one after the other."""
    tensors = iter([*ONE.tensors(), *OTHER.tensors()])

    for sums in (ONE, OTHER):
        again = Sums.take(tensors)
        assert torch.equal(again.voxels, sums.voxels)
        assert torch.equal(again.values, sums.values)
    assert next(tensors, None) is None
