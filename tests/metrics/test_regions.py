import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_oracles import slow_boundary_band

from nacl_monai.errors import InputError
from nacl_monai.metrics import REGIONS, region_mask

LABELS = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 2]]])
PREDICTION = torch.tensor([[[0, 1, 1, 0], [0, 0, 0, 2]]])


def drawn(mask):
    return ["".join(".#"[voxel] for voxel in row) for row in mask[0].int().tolist()]


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("all", ["####", "####"]),
        ("foreground", ["..##", "..##"]),
        ("union", [".###", "..##"]),
        ("boundary", [".###", ".###"]),
    ],
)
def test_drawn(region, expected):
    """Each region, drawn; the boundary with a width of one voxel on each side."""
    assert drawn(region_mask(region, LABELS, PREDICTION, width=1)) == expected


@pytest.mark.parametrize(("width", "expected"), [(1, "...##..."), (2, "..####.."), (3, ".######.")])
def test_width_counts_voxels_on_each_side(width, expected):
    """A straight boundary has ``width`` voxels of band on each side."""
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]).expand(1, 3, 8)

    assert drawn(region_mask("boundary", labels, width=width)) == [expected] * 3


def test_width_in_millimetres():
    """With a spacing the width is in its unit: two voxels of 1 mm, but one of 3 mm."""
    labels = torch.zeros(1, 9, 9, dtype=torch.int64)
    labels[:, :, 4:] = 1
    across_3_mm = region_mask("boundary", labels, width=2.0, spacing=(1.0, 3.0))
    across_1_mm = region_mask("boundary", labels, width=2.0, spacing=(3.0, 1.0))

    assert drawn(across_3_mm)[0] == "...##...."
    assert drawn(across_1_mm)[0] == "..####..."


def test_width_itself_is_outside():
    """A voxel at a distance of exactly the width, √(2² + 2² + 1²), is no longer in the band."""
    labels = torch.zeros(1, 4, 4, 4, dtype=torch.int64)
    labels[0, 0, 0, 0] = 1  # touches (0, 1, 0), the nearest to (2, 3, 1)

    assert not region_mask("boundary", labels, width=3.0)[0, 2, 3, 1]
    assert region_mask("boundary", labels, width=3.01)[0, 2, 3, 1]


def test_spacing_of_each_case():
    """Each case of a batch may have its own spacing."""
    labels = torch.zeros(2, 5, 9, dtype=torch.int64)
    labels[:, :, 4:] = 1
    spacings = [(1.0, 3.0), (3.0, 1.0)]

    both = region_mask("boundary", labels, width=2.0, spacing=spacings)

    for case, spacing in enumerate(spacings):
        alone = region_mask("boundary", labels[case : case + 1], width=2.0, spacing=spacing)
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

    band = region_mask("boundary", labels, width=width, spacing=sizes if first_spacing else None)

    assert torch.equal(band[0], slow_boundary_band(labels[0], width, sizes))


def test_no_boundary():
    """A volume of one label has no boundary; the border of the image is none."""
    assert not region_mask("boundary", torch.ones(2, 4, 4, dtype=torch.int64)).any()


@pytest.mark.parametrize("region", REGIONS)
def test_all_regions_are_boolean_masks(region):
    """Every region has the shape of the labels and is boolean."""
    mask = region_mask(region, LABELS, PREDICTION)

    assert mask.shape == LABELS.shape
    assert mask.dtype == torch.bool


def test_errors():
    """Unknown names, missing predictions and impossible widths are refused."""
    with pytest.raises(InputError, match="unknown region 'edge'"):
        region_mask("edge", LABELS)
    with pytest.raises(InputError, match="needs the prediction"):
        region_mask("union", LABELS)
    with pytest.raises(InputError, match="must be positive"):
        region_mask("boundary", LABELS, width=0)
    with pytest.raises(InputError, match="spacing must be 2 positive numbers"):
        region_mask("boundary", LABELS, spacing=(1.0, 1.0, 1.0))
