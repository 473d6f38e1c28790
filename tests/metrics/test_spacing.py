"""One spacing per case, from numbers or from MONAI's metadata."""

import pytest
import torch
from monai.data import MetaTensor
from monai.data.utils import list_data_collate

from nacl_monai.errors import InputError
from nacl_monai.metrics.regions import case_spacings


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
