import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import ConvertToMultiChannelBasedOnBratsClasses

from nacl_monai.errors import InputError
from nacl_monai.metrics import structure_masks

BRATS = {"TC": (1, 4), "WT": (1, 2, 4), "ET": (4,)}
LABELS = torch.tensor([0, 1, 2, 4])[torch.randint(0, 4, (1, 6, 7, 5))]


def test_masks_equal_those_of_monai_for_brats():
    """For BraTS' classes the masks are those of MONAI's transform, which knows no other dataset."""
    expected = ConvertToMultiChannelBasedOnBratsClasses()(LABELS)

    assert torch.equal(structure_masks(LABELS, BRATS).bool(), expected.bool())


def test_batch_is_mapped_case_by_case():
    """With dim=1 a batch is mapped case by case."""
    batch = torch.stack([LABELS, LABELS.flip(1)])

    each = torch.stack([structure_masks(case, BRATS) for case in batch])

    assert torch.equal(structure_masks(batch, BRATS, dim=1), each)


def test_metadata_is_kept():
    """The spacing of a MetaTensor survives; float labels are welcome."""
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0]))

    masks = structure_masks(MetaTensor(LABELS.float(), affine=affine), BRATS)

    assert masks.pixdim.tolist() == [2, 3, 4]
    assert torch.equal(masks.as_tensor(), structure_masks(LABELS, BRATS))


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
    assert torch.equal(masks[1].bool(), LABELS[0] == 4)
