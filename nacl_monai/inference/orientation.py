"""Turning images so that the axes in which they are stored decide nothing, as every bundle does.

Like `nacl_monai.inference`, this module travels with an exported bundle and needs only MONAI.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import permutations
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import torch
from monai.config import KeysCollection
from monai.transforms import InvertibleTransform, MapTransform
from monai.transforms.spatial.functional import orientation
from monai.utils import TraceKeys

THICK = 1.5  # a slice is thicker than its pixels are wide by more than this factor
ACROSS = 0.1  # cosine below which two directions are at right angles, except for rounding


class TurnAxesd(MapTransform, InvertibleTransform):
    """MONAI's ``Orientationd``, after which an image is the same to the bit, whatever its axes were.

    The first voxel becomes the origin, since the origin of a file depends on its axes by rounding, and
    with it whatever is resampled. The inverse gives an image its own affine back.

    Args:
        keys: The images to turn, each ``(C, H, W, D)`` with its affine.
        axcodes: The directions in which the axes run afterwards, nearly, as in ``Orientationd``.
        slices_last: Whether an axis along which voxels are clearly the longest always becomes the last.
            ``Orientationd`` sends every axis to the nearest direction of the body. The slices of an
            oblique stack, such as the heart's short axis, may be nearer to any of the three, and would
            be cut across.
        allow_missing_keys: Whether a key may be absent.

    Example:
        >>> from monai.data import MetaTensor
        >>> affine = torch.diag(torch.tensor([8.0, 1, 1, 1]))
        >>> image = MetaTensor(torch.zeros(1, 10, 64, 48), affine=affine)
        >>> TurnAxesd("image", "LPS", slices_last=True)({"image": image})["image"].shape
        torch.Size([1, 48, 64, 10])
    """

    def __init__(
        self,
        keys: KeysCollection,
        axcodes: str = "RAS",
        slices_last: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.axcodes = axcodes
        self.slices_last = slices_last

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Turns every image."""
        turned = dict(data)
        for key in self.key_iterator(turned):
            image = self._turn(turned[key], self._orientation(turned[key].affine))
            image.affine[:3, 3] = 0
            turned[key] = image
        return turned

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Turns every image back."""
        turned = dict(data)
        for key in self.key_iterator(turned):
            affine = self.pop_transform(turned[key])[TraceKeys.EXTRA_INFO]["original_affine"]
            with self.trace_transform(False):
                image = self._turn(turned[key], _inverse(self._orientation(affine)))
            image.affine = torch.as_tensor(affine)
            turned[key] = image
        return turned

    def _orientation(self, affine: Any) -> npt.NDArray[np.float64]:
        return orientation_to(np.asarray(affine), self.axcodes, self.slices_last)

    def _turn(self, image: Any, turn: npt.NDArray[np.float64]) -> Any:
        affine = np.asarray(image.affine)
        info = self.get_transform_info()
        # In order of memory too, since sums round otherwise where they run through it otherwise.
        return orientation(image, affine, turn, lazy=False, transform_info=info).contiguous()


def orientation_to(
    affine: npt.NDArray[Any], axcodes: str, slices_last: bool = False
) -> npt.NDArray[np.float64]:
    """Finds where each axis goes, and whether it is reversed.

    The axes go to the directions that they are nearest to, in sum.

    Args:
        affine: Voxel-to-world matrix (RAS+), ``(4, 4)``.
        axcodes: The directions of the axes to come.
        slices_last: Whether an axis along which voxels are clearly the longest becomes the last.

    Returns:
        ``(3, 2)`` as nibabel's orientations are: for each axis the new one, and 1 or -1.

    Example:
        >>> orientation_to(np.diag([1.0, 1.0, 8.0, 1.0]), "LPS").tolist()
        [[0.0, -1.0], [1.0, -1.0], [2.0, 1.0]]
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    targets = nib.orientations.axcodes2ornt(axcodes)  # type: ignore[no-untyped-call]
    agreement = (affine[:3, :3] / spacing)[targets[:, 0].astype(int)] * targets[:, 1:]
    *_, second, first = np.argsort(spacing)
    fixed = slices_last and spacing[first] > THICK * spacing[second]
    goals = [goal for goal in permutations(range(3)) if not fixed or goal[first] == 2]
    goal = max(goals, key=lambda goal: np.abs(agreement[list(goal), range(3)]).sum())
    signs = [_sign(agreement[:, axis], new) for axis, new in enumerate(goal)]
    return np.column_stack([goal, signs])


def _sign(agreement: npt.NDArray[np.float64], new: int) -> float:
    """An axis runs as the new one does; across it, as the direction that it is nearest to."""
    deciding = new if abs(agreement[new]) > ACROSS else int(np.argmax(np.abs(agreement)))
    return float(np.sign(agreement[deciding]))


def _inverse(turn: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The orientation that undoes another."""
    order = np.argsort(turn[:, 0])
    return np.column_stack([order, turn[order, 1]])
