"""A region is one function; whatever names or gives it goes through the same path."""

from functools import partial

import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.metrics import REGIONS, region_mask
from nacl_monai.metrics.regions import named_regions, region_masks, selected_voxels
from nacl_monai.metrics.voxels import LabeledVoxels

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

    assert drawn(region_mask("boundary", labels)) == ["...######..."] * 2
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
        assert torch.equal(mask, region_mask("union", LABELS, PREDICTION))


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

    assert torch.equal(selected_voxels(region, VOXELS), expected)
    assert torch.equal(selected_voxels(expected[:, None].float(), VOXELS), expected)


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
