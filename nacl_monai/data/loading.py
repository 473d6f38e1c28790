"""Reading a case from disk, and refusing one from which nothing can be learned.

Training, evaluation and the check of a download (`nacl_monai.data.check`) all read by `LoadCase`, so
that what one of them refuses the others refuse, in the same words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from nacl_monai.data.cases import (
    AFFINE_TOLERANCE,
    Case,
    ReportFault,
    image_files,
    raise_fault,
    reported,
)
from nacl_monai.data.faults import (
    VoxelGrid,
    check_affine,
    check_channels,
    check_file,
    check_ignored,
    check_image_voxels,
    check_label_channels,
    check_label_values,
    check_not_its_label,
    check_same_grid,
    check_three_axes,
    readable,
    warn_of_forms,
)
from nacl_monai.errors import InputError
from nacl_monai.inference.images import read_volume


class LoadedCase(NamedTuple):
    """What a case's files hold.

    Attributes:
        image: ``(C, H, W, D)`` float32.
        label: ``(1, H, W, D)`` uint8, class indices on the image's grid.
        counts: Number of voxels of each value that the label has on disk.
        fingerprints: Hashes of the image's voxels and of the label's.
    """

    image: MetaTensor
    label: MetaTensor
    counts: dict[float, int]
    fingerprints: tuple[str, str]


class LoadCase(Transform):
    """MONAI's ``LoadImage`` for ``image`` and ``label``, with every check that a training needs.

    An image of several files, one per modality, is stacked along its channels. Returns the case with
    ``image``, ``label`` and ``fingerprints`` as in `LoadedCase`, the first two as `MetaTensor`.

    Args:
        label_values: For each class, the values on disk that become it. ``[[0], [1], [2], [4]]`` makes
            the 4 of BraTS class 3; ``[[0, 7], [1, 2]]`` joins values.
        in_channels: Channels that the image must have.
        affine_tolerance: How far apart two files of a case may put a voxel, in mm. The image's affine is
            taken for both.
        ignore_index: The value on disk of voxels that nobody labeled, which they keep; above those of
            ``label_values``. None where all are labeled.

    Raises:
        InputError: If a file cannot be read, is damaged, is not 3-D or holds no plain numbers; if its
            voxels have no size; if an image holds NaN or infinity, has a constant channel or another
            number of channels, or is the label; if the label holds a value that is not among
            ``label_values``, or no foreground; if the shapes or affines of a case's files differ. The
            message names the file.
    """

    def __init__(
        self,
        label_values: Sequence[Sequence[int]],
        in_channels: int,
        affine_tolerance: float = AFFINE_TOLERANCE,
        ignore_index: int | None = None,
    ) -> None:
        self.label_values = [list(values) for values in label_values]
        self.in_channels = in_channels
        self.affine_tolerance = affine_tolerance
        self.ignore_index = ignore_index
        check_ignored(ignore_index, self.label_values)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Loads the files that ``data["image"]`` and ``data["label"]`` name."""
        loaded = cast("LoadedCase", self.read(cast("Case", data)))
        return {
            **data,
            "image": loaded.image,
            "label": loaded.label,
            "fingerprints": loaded.fingerprints,
        }

    def read(self, case: Case, report_fault: ReportFault = raise_fault) -> LoadedCase | None:
        """Loads a case.

        Args:
            case: Its files.
            report_fault: Called with each fault. By default the first one is raised.

        Returns:
            What the files hold, or None if they have any fault.
        """
        faults: list[InputError] = []

        def note(fault: InputError) -> None:
            faults.append(fault)
            report_fault(fault)

        loaded: dict[str, MetaTensor] = {}
        files = image_files(case)
        for file in (*files, case["label"]):
            with reported(note):
                loaded[file] = self.read_volume(file, is_image=file in files)
                self._check_grid(loaded, file)
        images = [loaded[file] for file in files if file in loaded]
        if len(images) == len(files):
            with reported(note):
                check_channels(files, [len(image) for image in images], self.in_channels)
        counts: dict[float, int] = {}
        if case["label"] in loaded:
            with reported(note):
                check_not_its_label(case, loaded)
                counts = _counts(loaded[case["label"]])
                present = counts.keys() - {self.ignore_index}
                check_label_values(case["label"], sorted(present), self.label_values)
        return None if faults else self._joined(images, loaded[case["label"]], counts)

    def read_volume(self, file: str, is_image: bool) -> MetaTensor:
        """Loads one file of a case, with the checks that need no other.

        Raises:
            InputError: If it cannot be read, or its voxels cannot be used.
        """
        check_file(file)
        with readable(file):
            voxels = cast("MetaTensor", read_volume(file))
        check_three_axes(file, voxels.shape[1:])
        check_affine(file, voxels.affine.numpy())
        warn_of_forms(file)
        if is_image:
            check_image_voxels(file, voxels)
        else:
            check_label_channels(file, len(voxels))
        return voxels

    def _check_grid(self, loaded: Mapping[str, MetaTensor], file: str) -> None:
        grid, first = (
            VoxelGrid(name, tuple(loaded[name].shape[1:]), loaded[name].affine.numpy())
            for name in (file, next(iter(loaded)))
        )
        check_same_grid(grid, first, self.affine_tolerance)

    def _joined(
        self, images: Sequence[MetaTensor], label: MetaTensor, counts: dict[float, int]
    ) -> LoadedCase:
        image = MetaTensor(torch.cat(tuple(images)), meta=images[0].meta)
        classes = cast("MetaTensor", torch.zeros_like(label, dtype=torch.uint8))
        for index, values in enumerate(self.label_values[1:], start=1):
            for value in values:
                classes[label == value] = index
        if self.ignore_index is not None:
            classes[label == self.ignore_index] = self.ignore_index
        classes.affine = (
            image.affine
        )  # equal but for rounding, by which resampled grids could differ
        fingerprints = _fingerprint(image), _fingerprint(classes)
        return LoadedCase(image, classes, counts, fingerprints)


def _counts(label: MetaTensor) -> dict[float, int]:
    """How many voxels of each value there are."""
    values, numbers = torch.unique(label.as_tensor(), return_counts=True)
    return dict(zip(values.tolist(), numbers.tolist(), strict=True))


def _fingerprint(voxels: torch.Tensor) -> str:
    content = hashlib.blake2b(str(tuple(voxels.shape)).encode(), digest_size=16)
    content.update(np.ascontiguousarray(voxels.numpy()).data)
    return content.hexdigest()
