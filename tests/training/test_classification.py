"""The class of every voxel is the most probable one."""

import torch
from monai.data import MetaTensor
from monai.transforms import AsDiscrete

from nacl_monai.training import most_probable_class


def test_classes_are_those_of_monai_in_integers():
    """On a volume with its geometry, which stays."""
    torch.manual_seed(0)
    probs = MetaTensor(torch.randn(4, 5, 6, 7).softmax(dim=0), affine=2 * torch.eye(4))

    classes = most_probable_class(probs)

    assert classes.shape == (1, 5, 6, 7)
    assert classes.dtype == torch.int64
    assert torch.equal(classes.affine, probs.affine)
    assert torch.equal(classes.float().as_tensor(), AsDiscrete(argmax=True)(probs).as_tensor())
