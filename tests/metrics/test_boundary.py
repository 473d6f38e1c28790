"""The band around boundaries, drawn and against a slow loop."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_oracles import slow_boundary_band

from nacl_monai.errors import InputError
from nacl_monai.metrics import boundary_band


def drawn(mask):
    return ["".join(".#"[voxel] for voxel in line) for line in mask[0].int().tolist()]


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
        assert torch.equal(both[case : case + 1], alone)


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

    assert torch.equal(band[0], slow_boundary_band(labels[0], width, sizes))


@given(st.integers(0, 999), st.sampled_from([0.6, 1.5, 2.0, 4.5]))
@settings(max_examples=25, deadline=None)
def test_band_far_from_the_border_equals_slow_loop(seed, width):
    """Boundaries in the middle of a larger image, where the band is computed in a box around them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.zeros(1, 15, 17, dtype=torch.int64)
    labels[0, 6:9, 7:10] = (torch.rand(3, 3, generator=generator) < 0.5).long()
    sizes = (0.8, 1.25)

    band = boundary_band(labels, width, sizes)

    assert torch.equal(band[0], slow_boundary_band(labels[0], width, sizes))


def test_cases_do_not_share_boundaries():
    """Labels that differ between cases are not a boundary, and a case without one has no band."""
    labels = torch.zeros(3, 4, 4, dtype=torch.int64)
    labels[1] = 1
    labels[2, 0, 0] = 1

    assert boundary_band(labels, 1).sum((1, 2)).tolist() == [0, 0, 3]


def test_width_defaults_to_three_voxels():
    """Without arguments the band has three voxels on each side."""
    labels = torch.tensor([0] * 6 + [1] * 6).expand(1, 2, 12)

    assert drawn(boundary_band(labels)) == ["...######..."] * 2


@pytest.mark.parametrize("width", [0, -1, float("nan"), float("inf")])
def test_width_that_is_not_positive_is_refused(width):
    """A band needs a width, and an end."""
    with pytest.raises(
        InputError, match="width: is .*; the band around a boundary needs a finite number above 0"
    ):
        boundary_band(torch.zeros(1, 2, 2), width=width)


@pytest.mark.parametrize("shape", [(0, 4, 4), (2, 0, 4)])
def test_labels_without_a_voxel_have_an_empty_band(shape):
    """A map of nothing is empty."""
    band = boundary_band(torch.zeros(shape, dtype=torch.long), width=2)

    assert (band.shape, band.dtype) == (shape, torch.bool)
