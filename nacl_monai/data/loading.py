"""Reading and preprocessing a case, and refusing one from which nothing can be learned.

Training, evaluation and the check of a download (`nacl_monai.data.check`) all read by `LoadCase`, so
that what one of them refuses the others refuse, in the same words.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from nacl_monai.data import faults
from nacl_monai.data.cases import (
    AFFINE_TOLERANCE,
    LabeledCase,
    ReportFault,
    image_files,
    raise_fault,
    reported,
)
from nacl_monai.errors import InputError, SettingError
from nacl_monai.inference.images import read_volume

_BYTE = 255
_SAME_GRID = 1e-3  # relative change of a voxel's size, by rounding


class LoadedCase(NamedTuple):
    """The contents of a case's files.

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
        ignore_index: The value on disk of unlabeled voxels, which they keep; above those of
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
        largest = max(chain(*self.label_values))
        if ignore_index is not None and not largest < ignore_index <= _BYTE:
            raise SettingError(
                f"ignore_index: is {ignore_index}; it must be above all label_values, the largest of "
                f"which is {largest}, and at most {_BYTE}"
            )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Loads the files that ``data["image"]`` and ``data["label"]`` name."""
        image, label, _, fingerprints = cast("LoadedCase", self.read(cast("LabeledCase", data)))
        return {**data, "image": image, "label": label, "fingerprints": fingerprints}

    def read(self, case: LabeledCase, report_fault: ReportFault = raise_fault) -> LoadedCase | None:
        """Loads a case.

        Args:
            case: Its files.
            report_fault: Called with each fault. By default the first one is raised.

        Returns:
            The contents of the files, or None if they have any fault.
        """
        seen: list[InputError] = []

        def note(fault: InputError) -> None:
            seen.append(fault)
            report_fault(fault)

        loaded: dict[str, MetaTensor] = {}
        files = image_files(case)
        for file in (*files, case["label"]):
            with reported(note):
                loaded[file] = self.read_volume(file, is_image=file in files)
                grid, first = (
                    faults.VoxelGrid(name, tuple(voxels.shape[1:]), voxels.affine.numpy())
                    for name, voxels in ((file, loaded[file]), next(iter(loaded.items())))
                )
                faults.check_same_grid(grid, first, self.affine_tolerance)
        images = [(file, loaded[file]) for file in files if file in loaded]
        if len(images) == len(files):
            with reported(note):
                self._check_channels(images)
        counts: dict[float, int] = {}
        if case["label"] in loaded:
            with reported(note):
                _check_not_its_label(case["label"], loaded[case["label"]], images)
                found = torch.unique(loaded[case["label"]].as_tensor(), return_counts=True)
                counts = dict(zip(*(each.tolist() for each in found), strict=True))
                self._check_values(case["label"], counts.keys() - {self.ignore_index})
        if seen:
            return None
        return self._joined([voxels for _, voxels in images], loaded[case["label"]], counts)

    def read_volume(self, file: str, is_image: bool) -> MetaTensor:
        """Loads one file of a case, with the checks that need no other.

        Raises:
            InputError: If it cannot be read, or its voxels cannot be used.
        """
        faults.check_file(file)
        with faults.readable(file):
            voxels = cast("MetaTensor", read_volume(file))
        if voxels.ndim != 1 + faults.SPATIAL_AXES:
            raise InputError(f"{file}: has shape {tuple(voxels.shape[1:])}; a 3-D volume is needed")
        faults.check_affine(file, voxels.affine.numpy())
        faults.warn_of_forms(file)
        if not is_image and len(voxels) != 1:
            raise InputError(f"{file}: has {len(voxels)} channels; a label map has one")
        if is_image and not torch.isfinite(voxels).all():
            raise InputError(f"{file}: holds NaN or infinite voxels; repair or remove the case")
        if is_image and any(channel.min() == channel.max() for channel in voxels):
            raise InputError(f"{file}: is constant; repair or remove the case")
        return voxels

    def _check_channels(self, images: Sequence[tuple[str, MetaTensor]]) -> None:
        """Refuses an image of another number of channels, by its file with the most."""
        total = sum(len(voxels) for _, voxels in images)
        if total != self.in_channels:
            file, _ = max(images, key=lambda image: len(image[1]))
            raise InputError(
                f"{file}: the image has {total} channel(s) but in_channels is {self.in_channels}; "
                f"correct the file, or set --in_channels {total}"
            )

    def _check_values(self, file: str, present: set[float]) -> None:
        """Refuses a value of a label that is of no class or of two, and labels of nothing."""
        expected: list[float] = sorted(chain(*self.label_values))
        for value in sorted(present):
            if value not in expected:
                raise InputError(
                    f"{file}: holds the label value {value:g}; expected only {expected}, "
                    "so correct the file or the bundle's `label_values`"
                )
            if expected.count(value) > 1:
                raise InputError(
                    f"{file}: holds the label value {value:g}, which the bundle's `label_values` has "
                    "twice; leave it once"
                )
        if present <= {*self.label_values[0]}:
            raise InputError(f"{file}: holds no foreground voxel; repair or remove the case")

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
        # Equal except for rounding, by which resampled grids could differ.
        classes.affine = image.affine
        return LoadedCase(image, classes, counts, (_fingerprint(image), _fingerprint(classes)))


def _check_not_its_label(
    file: str, label: MetaTensor, images: Sequence[tuple[str, MetaTensor]]
) -> None:
    """Refuses an image with the voxels of its label, which a network would learn to copy."""
    for name, image in images:
        if any(torch.equal(channel, label[0]) for channel in image):
            raise InputError(f"{name}: holds the voxels of its label, {file}; put the image there")


def _fingerprint(voxels: torch.Tensor) -> str:
    content = hashlib.blake2b(str(tuple(voxels.shape)).encode(), digest_size=16)
    content.update(np.ascontiguousarray(voxels.numpy()).data)
    return content.hexdigest()


@contextmanager
def scaling_intensities(file: str) -> Iterator[None]:
    """Makes a fault of what MONAI merely warns of: intensities that it leaves as they are.

    Raises:
        InputError: If the block scales a range of intensities whose ends are equal.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("error", r"Divide by zero \(a_min == a_max\)")
        try:
            yield
        except (RuntimeError, Warning) as error:
            if not isinstance(error.__cause__ or error, Warning):
                raise
            raise InputError(
                f"{file}: has no range of intensities to scale, as nearly all of its voxels have the "
                "same; crop the image, or scale it otherwise in the bundle's `preprocessing`"
            ) from error


def check_preprocessed(case: LabeledCase, volume: Mapping[Hashable, Any]) -> None:
    """Checks that preprocessing and cropping leave an image, and a label of classes on the same grid.

    Args:
        case: Its files.
        volume: What they made of its ``image`` and ``label``, channels first.

    Raises:
        InputError: If a channel of the image is constant, if the label has another shape or place, or if
            it holds something else than whole numbers of a byte.
    """
    image, label = (torch.as_tensor(volume[key]) for key in ("image", "label"))
    if any(channel.min() == channel.max() for channel in image):
        raise InputError(
            f"{image_files(case)[0]}: is constant when it is preprocessed and cropped; correct the "
            "range of intensities in the bundle's `preprocessing`, or its `cropping`, or remove the case"
        )
    if not _are_on_one_grid(image, label):
        raise InputError(
            f"{case['label']}: is not where its image is when both are preprocessed and cropped; give "
            "each step that turns, resamples or crops `keys: [image, label]`"
        )
    # A step that interpolates may round, and then nothing tells; MONAI's transforms do not round.
    broken = label[(label != label.round()) | (label < 0) | (label > _BYTE)]
    if len(broken):
        raise InputError(
            f"{case['label']}: holds {broken[0]:g} when it is preprocessed, which is not a class; give "
            "each step that resamples `mode: [bilinear, nearest]`, and each that scales `keys: image`"
        )


def _are_on_one_grid(image: torch.Tensor, label: torch.Tensor) -> bool:
    shape = image.shape[1:]
    if shape != label.shape[1:]:
        return False
    if not (isinstance(image, MetaTensor) and isinstance(label, MetaTensor)):
        return True  # nothing says where a plain tensor is
    affines = (volume.affine.numpy() for volume in (image, label))
    return faults.on_one_grid(shape, *affines)


def check_slice_size(case: LabeledCase, size: Sequence[int], spatial_size: Sequence[int]) -> None:
    """Checks that the slices of a case fit into a network's.

    Args:
        case: The case.
        size: Height and width of its slices after preprocessing and cropping.
        spatial_size: Height and width of a network's slice.

    Raises:
        InputError: If they are larger.
    """
    height, width = size
    if height > spatial_size[0] or width > spatial_size[1]:
        raise InputError(
            f"{image_files(case)[0]}: its slices are {height}×{width}, larger than spatial_size "
            f"{spatial_size[0]}×{spatial_size[1]}; raise it: --spatial_size [{height},{width}] "
            "(rounded up to multiples of 16)"
        )


class LostVoxels(NamedTuple):
    """The voxels of a class that a case loses.

    Attributes:
        case: The case's name.
        name: The class.
        voxels: Voxels that there would be without the loss.
        lost: Voxels that are missing, on the grid where they are.
    """

    case: str
    name: str
    voxels: int
    lost: int


def preprocess_label(
    case: LabeledCase,
    volume: Mapping[Hashable, Any],
    steps: Sequence[Callable[[Any], Any]],
    classes: Sequence[str],
    spatial_size: Sequence[int],
) -> list[LostVoxels]:
    """Takes a case through all steps after its reading, and counts what each class loses.

    A step that keeps the size of voxels, such as a crop, loses those that are gone after it. A step that
    resamples loses a class where nothing of it is left; otherwise its numbers say nothing.

    Args:
        case: The case.
        volume: Its ``image`` and ``label``, as read.
        steps: The transforms of the bundle's ``preprocessing`` and ``cropping``.
        classes: Names of all classes, background first.
        spatial_size: Height and width of a network's slice.

    Returns:
        The classes of which voxels are lost.

    Raises:
        InputError: If a step fails, `check_preprocessed` refuses what is left, or the slices are larger
            than ``spatial_size``.
    """
    data: Any = {**case, **volume}
    lost = torch.zeros(len(classes), dtype=torch.int64)
    before, size = _count(data, len(classes)), _voxel_size(data)
    file = image_files(case)[0]
    for step in steps:
        with scaling_intensities(file):
            data = _applied(step, data, file)
        after, new_size = _count(data, len(classes)), _voxel_size(data)
        resampled = not np.allclose(new_size, size, rtol=_SAME_GRID, atol=0)
        lost += torch.where((after == 0) | torch.tensor(not resampled), before - after, 0)
        before, size = after, new_size
    check_preprocessed(case, data)
    check_slice_size(case, data["label"].shape[1:3], spatial_size)
    return [
        LostVoxels(case["case"], name, int(before[index] + lost[index]), int(lost[index]))
        for index, name in enumerate(classes)
        if index and lost[index] > 0
    ]


def _applied(step: Callable[[Any], Any], data: Any, file: str) -> Any:
    try:
        return step(data)
    except (RuntimeError, ValueError) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise InputError(f"{file}: cannot be preprocessed ({reason}); repair it") from error


def _count(data: Mapping[str, Any], classes: int) -> torch.Tensor:
    """The voxels of each class; those of another label, which nobody labeled, do not count."""
    label = data["label"].as_tensor().flatten().long()
    return torch.bincount(label, minlength=classes)[:classes]


def _voxel_size(data: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """The edges of a voxel in order, since a step that turns the axes loses nothing."""
    return np.sort(data["label"].pixdim.numpy())
