"""Sums over voxels add up, entry by entry, and keep their order."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nacl_monai.metrics.bins import VoxelSums
from nacl_monai.metrics.fine_bins import FineBins, SparseFineBins
from nacl_monai.metrics.sums_file import FINE, Entry, read_arrays, read_sums, write_sums
from tests.same import same_bits, same_values


@dataclass(frozen=True)
class Sums(VoxelSums):
    voxels: torch.Tensor
    values: torch.Tensor


ONE = Sums(torch.arange(6).view(3, 2), torch.arange(12.0).view(3, 2, 2))
OTHER = Sums(torch.ones(3, 2, dtype=torch.int64), torch.full((3, 2, 2), 10.0))

FINE_FORM = {
    f"{FINE}{name}": Entry(("cases", "regions", "bins"), dtype)
    for name, dtype in {"counts": np.int64, "excess": np.float64, "errors": np.int64}.items()
}


def test_adding_adds_each_tensor():
    """Sums over two sets of voxels add up to those over both."""
    both = ONE + OTHER

    assert both.voxels.tolist() == [[1, 2], [3, 4], [5, 6]]
    same_values(both.values, ONE.values + 10)


def test_arrays_are_read_back_under_their_names():
    """With a prefix beside other arrays of the same names."""
    arrays = ONE.arrays() | OTHER.arrays("fine_")

    assert list(arrays) == ["voxels", "values", "fine_voxels", "fine_values"]
    for sums, prefix in ((ONE, ""), (OTHER, "fine_")):
        again = Sums.from_arrays(arrays, prefix)
        same_values(again.voxels, sums.voxels)
        same_values(again.values, sums.values)


def test_joined_cases_follow_each_other():
    """Those of every part, in order."""
    both = Sums.joined([ONE, OTHER])

    same_values(both.voxels, torch.cat([ONE.voxels, OTHER.voxels]))
    same_values(both[3:].values, OTHER.values)


def test_tensors_can_be_taken_back_in_order():
    """The tensors of several sums in one list are taken back one after the other."""
    tensors = iter([*ONE.tensors(), *OTHER.tensors()])

    for sums in (ONE, OTHER):
        again = Sums.take(tensors)
        same_values(again.voxels, sums.voxels)
        same_values(again.values, sums.values)
    assert next(tensors, None) is None


def fine_bins(rng, cases, regions, bins, filled):
    """Fine bins of which a share is filled, as arrays."""
    counts = rng.integers(1, 9, (cases, regions, bins)) * (
        rng.random((cases, regions, bins)) < filled
    )
    excess = rng.normal(size=counts.shape) * (counts > 0)
    return {"counts": counts, "excess": excess, "errors": rng.integers(0, counts + 1)}


def dense(fine):
    return {name: tensor.numpy() for name, tensor in vars(fine[:, :]).items()}


@given(
    st.lists(st.integers(1, 70), min_size=1, max_size=4),
    st.integers(1, 3),
    st.integers(1, 9),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.integers(0, 2**32 - 1),
)
def test_sparse_fine_bins_join_order_and_add_as_dense_ones(cases, regions, bins, filled, seed):
    """By a loop over cases, to the bit; sums over cases but for the order of their additions."""
    rng = np.random.default_rng(seed)
    parts = [fine_bins(rng, number, regions, bins, filled) for number in cases]
    order, some = rng.permutation(sum(cases)).tolist(), rng.integers(0, regions, 2).tolist()

    whole = SparseFineBins.joined([*map(SparseFineBins.from_arrays, parts)])

    rows = {name: [case for part in parts for case in part[name]] for name in parts[0]}
    for name, values in dense(whole[order]).items():
        for position, case in enumerate(order):
            same_bits(values[position], rows[name][case], "they are copied")
    chosen = whole[order[0] : order[0] + 1, some]
    assert isinstance(chosen, FineBins)
    same_bits(chosen.excess[0], rows["excess"][order[0]][some], "they are copied")
    same_bits(chosen.pooled().counts, rows["counts"][order[0]][some], "they are copied")


def test_empty_fine_bins_take_no_memory(tmp_path):
    """However many there are: in a part, in what is joined and ordered, and in what is read."""
    arrays, sizes = fine_bins(np.random.default_rng(0), 5, 2, 20, 1.0), []
    for empty in (0, 20_000):
        wide = {key: np.pad(part, ((0, 0), (0, 0), (0, empty))) for key, part in arrays.items()}
        part = SparseFineBins.from_arrays(wide)
        file = write_sums(tmp_path / "bins", part.arrays(FINE), {})
        read = SparseFineBins.from_arrays(read_sums(file, FINE_FORM, "", "")[0], FINE)
        for fine in (part, SparseFineBins.joined([part, part])[::-1], read):
            held = [numbers for array in fine.tensors() for numbers in vars(array.rows).values()]
            sizes.append(sum(numbers.nbytes for numbers in held if isinstance(numbers, np.ndarray)))
    assert 0 < sizes[0] < 5 * arrays["counts"].nbytes
    assert sizes[:3] == sizes[3:]


@pytest.mark.parametrize("cases", [1, 64, 150])
def test_file_of_sparse_sums_is_that_of_dense_ones(tmp_path, cases):
    """As NumPy writes it, byte by byte; and what is read of either is the same."""
    arrays = fine_bins(np.random.default_rng(0), cases, 2, 30, 0.1)
    fine = SparseFineBins.from_arrays(arrays)
    file = write_sums(
        tmp_path / "sparse", {"cases": ["a"] * cases, **fine.arrays(FINE)}, {"bins": 1}
    )

    with np.load(file) as written:
        np.savez_compressed(tmp_path / "dense.npz", **written)
        for name, values in arrays.items():
            same_bits(written[f"{FINE}{name}"], values, "they are read back")
    assert (tmp_path / "dense.npz").read_bytes() == file.read_bytes()
    read, definition = read_sums(file, {"cases": Entry(("cases",)), **FINE_FORM}, "", "")
    assert definition == {"bins": 1}
    for name, values in dense(SparseFineBins.from_arrays(read, FINE)).items():
        same_bits(values, arrays[name], "they are read back")


@pytest.mark.parametrize(
    "array",
    [np.ones((2, 3, 4), np.float16), np.ones((3, 4)), np.ones((0, 2, 4)), np.array(["a"])],
    ids=["half", "table", "empty", "text"],
)
def test_what_is_no_sum_of_cases_is_read_as_it_is(tmp_path, array):
    """So that it is refused in the same words as any other array."""
    np.savez(tmp_path / "a.npz", fine_counts=array)

    same_bits(
        read_arrays(tmp_path / "a.npz", ["fine_counts"], "")["fine_counts"],
        array,
        "they are read back",
    )
