"""Files of voxels: probabilities, and label maps of one rater or several.

NIfTI is read by nibabel, NRRD and MetaImage by SimpleITK.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import numpy.typing as npt
import scipy
import torch

from nacl_monai.data.cases import AFFINE_TOLERANCE, fault_of_encoding
from nacl_monai.data.faults import VoxelGrid, check_affine, check_numbers, check_same_grid, readable
from nacl_monai.errors import InputError, SettingError
from nacl_monai.inference import records
from nacl_monai.inference.grids import affine_of, check_compressed, read_itk
from nacl_monai.inference.maps import behind_image
from nacl_monai.inference.promised import Array
from nacl_monai.metrics.voxels import native
from nacl_monai.predictions.channels import Channels
from nacl_monai.predictions.names import NIFTI, images_by_name, no_pair
from nacl_monai.tensors import top1

Affine = npt.NDArray[np.float64] | None


@dataclass(frozen=True)
class Prediction:
    """The files of a case.

    Attributes:
        case: Its name.
        files: The class of each file, or "" for one file with all classes → the file.
    """

    case: str
    files: Mapping[str, Path]

    @property
    def file(self) -> Path:
        """The first file."""
        return next(iter(self.files.values()))


@dataclass(frozen=True)
class Probabilities:
    """The voxels of a case.

    Attributes:
        voxels: ``(C, z, y, x)``, as they were stored: half precision stays, and uint8 counts 255ths;
            a tensor in memory.
        affine: From ``(x, y, z)`` to mm, RAS+; None if unknown.
        file: The file of the voxels.
        source: The file that says where they are.
        turned: Whether the axes were turned to run right, anterior and superior before; the affine is
            that of the image all the same.
        whole: Whether whole numbers are stored.
        segmentation: The most probable classes, as the source has them, until they were compared.
        step: The step between stored probabilities, where the dtype does not say, as of integers that
            a file scales.
        pairwise_dice: Of an ensemble, Dice of its members with each other, a number per structure.
        digest: Of the stored voxels; empty if they are constant, or on no request.
        behind: The calibrator and the ensemble that they went through, for maps of them.
    """

    voxels: Any
    affine: Affine
    file: Path
    source: Path
    turned: bool = False
    whole: bool = False
    segmentation: Image | None = None
    step: float | None = None
    pairwise_dice: Sequence[float] = ()
    digest: str = ""
    behind: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along x, y and z."""
        return tuple(self.voxels.shape[:0:-1])

    @cached_property
    def classes(self) -> torch.Tensor:
        """The most probable class of each voxel, ``(z, y, x)``, which is found once."""
        return top1(torch.as_tensor(self.voxels), 0)[1]


class Image(NamedTuple):
    """Voxels and where they are.

    Attributes:
        voxels: ``(z, y, x)``, or ``(channels, z, y, x)``; uint8 stays uint8 where it counts 255ths.
        affine: From ``(x, y, z)`` to mm, RAS+.
        whole: Whether the file stores whole numbers that no scale makes fractions of.
        step: The step between numbers that a file of scaled integers can hold; None for other files.
        behind: What a map of this package went through, as its header says.
    """

    voxels: Array
    affine: npt.NDArray[np.float64]
    whole: bool
    step: float | None = None
    behind: Mapping[str, Any] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along x, y and z."""
        return tuple(self.voxels.shape[:-4:-1])


def read_image(file: Path) -> Image:
    """Reads an image; axes of length 1 behind the third are dropped.

    Raises:
        InputError: If the file cannot be read, is damaged, or is not a volume of plain numbers.
    """
    return _read_nifti(file) if file.name.lower().endswith(NIFTI) else _read_itk(file)


def read_grid(file: Path) -> tuple[tuple[int, ...], npt.NDArray[np.float64]]:
    """Shape and affine of an image of one channel, without its voxels where it is a NIfTI file.

    Raises:
        InputError: If the file cannot be read.
    """
    if not file.name.lower().endswith(NIFTI):
        image = read_image(file)
        return image.shape, image.affine
    with readable(str(file)):
        stored: Any = nibabel.load(file)
        _check_axes(file, stored.shape)
        return tuple(stored.shape[:3]), affine_of(stored)


def stored_as(file: Path) -> tuple[int, bool]:
    """How many axes longer than 1 or spatial a file has, and whether it stores whole numbers."""
    if not file.name.lower().endswith(NIFTI):
        read = read_image(file)
        return read.voxels.ndim, read.whole
    with readable(str(file)):
        image: Any = nibabel.load(file)
        _check_axes(file, image.shape)
        return len(_squeezed(image.shape)), _is_whole(image)


def _check_axes(file: Path, shape: tuple[int, ...]) -> None:
    if 0 in shape:
        raise InputError(f"{file}: has no voxel along an axis, {shape}; write it again")


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape without axes of length 1 behind the third; ITK keeps channels in the fifth."""
    return (*shape, 1, 1)[:3] + tuple(size for size in shape[3:] if size > 1)


def _is_whole(image: Any) -> bool:
    slope, offset = image.dataobj.slope, image.dataobj.inter
    return (
        image.get_data_dtype().kind in "iu" and float(slope).is_integer() and offset == int(offset)
    )


def _read_nifti(file: Path) -> Image:
    with readable(str(file)):
        check_compressed(str(file))
        image: Any = nibabel.load(file)
        check_numbers(str(file), image.header)
        _check_axes(file, image.shape)
        voxels, step = _unpacked(image)
        affine = affine_of(image)
    voxels = voxels.reshape(_squeezed(voxels.shape), order="F").T
    return _checked(file, voxels, affine, _is_whole(image))._replace(
        step=step, behind=behind_image(image)
    )


def _unpacked(image: Any) -> tuple[Array, float | None]:
    """The voxels that a file stores as they are or by a scale, and the step of scaled integers."""
    dtype, slope, offset = image.get_data_dtype(), image.dataobj.slope, image.dataobj.inter
    if slope == 1 and offset == 0:
        return np.asanyarray(image.dataobj), None
    if dtype == np.uint8 and np.isclose(slope, 1 / 255) and offset == 0:
        return np.asarray(image.dataobj.get_unscaled()), None
    voxels = np.asanyarray(image.dataobj, dtype=np.float32)
    return voxels, abs(float(slope)) if dtype.kind in "iu" else None


def _read_itk(file: Path) -> Image:
    with readable(str(file)):
        voxels, affine = read_itk(str(file))
    voxels = np.ascontiguousarray(voxels[0] if len(voxels) == 1 else voxels)
    return _checked(file, voxels, affine, voxels.dtype.kind in "iu")


def _checked(file: Path, voxels: Array, affine: Any, whole: bool) -> Image:
    if voxels.ndim not in (3, 4):
        raise InputError(
            f"{file}: has {voxels.ndim} axes; give a volume, or one with channels last"
        )
    return Image(native(voxels), np.asarray(affine, dtype=np.float64), whole)


@dataclass(frozen=True)
class Labels:
    """The labels of a case by one rater.

    Attributes:
        classes: Class indices ``(z, y, x)``; for overlapping structures one mask each, ``(S, z, y, x)``.
        mask: The voxels that count, ``(z, y, x)``; None for all.
        affine: The file's affine, from ``(x, y, z)`` to mm, RAS+; None where there is no file.
        spacing: The size of a voxel along z, y and x in mm; None where nobody knows.
        grid: That of the file, if there is one.
    """

    classes: torch.Tensor
    mask: torch.Tensor | None
    affine: Affine = None
    spacing: tuple[float, ...] | None = (1.0, 1.0, 1.0)
    grid: VoxelGrid | None = None


def label_files(folder: Path) -> dict[str, Path]:
    """The label maps in a folder by the names of their cases.

    Raises:
        InputError: If there is none, if two have one name, if one is not UTF-8, or if they are
            predictions of nnU-Net.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; give the folder of the label maps")
    files = images_by_name(folder)
    if not files:
        raise InputError(f"{folder}: holds no label map; give the folder of the label maps")
    for file in files.values():
        misnamed = fault_of_encoding(file.name, str(file))
        if misnamed is not None:
            raise misnamed
    predicted = [name for name, file in files.items() if file.with_name(f"{name}.npz").is_file()]
    if predicted:
        beside = files[predicted[0]]
        raise InputError(
            f"{beside}: is a prediction, with its probabilities beside it; give the folder of label maps"
        )
    return files


def pair(
    predictions: Sequence[Prediction], raters: Sequence[Mapping[str, Path]], folder: Path
) -> tuple[list[tuple[Prediction, Sequence[Path]]], list[InputError]]:
    """Predictions with the label maps of all raters, and the faults of those without one.

    A label map without a prediction is no fault: a folder of them often has those of other cases, too.

    Args:
        predictions: The predictions of one folder, under the names of their cases.
        raters: For each of them, case → file.
        folder: The folder of the predictions, for the messages.

    Raises:
        InputError: If a rater has no label map of any case, or if no case has those of all.
    """
    faults = [fault for files in raters for fault in _unpaired(predictions, files, folder)]
    pairs: list[tuple[Prediction, Sequence[Path]]] = [
        (prediction, [files[prediction.case] for files in raters])
        for prediction in predictions
        if all(prediction.case in files for files in raters)
    ]
    if not pairs:
        raise InputError(
            f"{folder}: no case has a label map of every rater; give raters of the same cases"
        )
    return pairs, faults


def _unpaired(
    predictions: Sequence[Prediction], files: Mapping[str, Path], folder: Path
) -> Iterator[InputError]:
    """The faults of predictions that a rater has not labeled.

    Raises:
        InputError: If no prediction has a label map.
    """
    place = next(iter(files.values())).parent
    cases = {prediction.case for prediction in predictions}
    if not cases & files.keys():
        raise no_pair(folder, place, cases, files.keys())
    for prediction in predictions:
        case = prediction.case
        if case not in files:
            yield InputError(
                f"{prediction.file}: has no label map {case!r} in {place}; add it, or leave it out"
            )


def read_labels(
    file: Path,
    channels: Channels,
    predicted: Probabilities,
    affine_tolerance: float = AFFINE_TOLERANCE,
) -> Labels:
    """Reads a label map on the grid of the probabilities.

    Args:
        file: The label map.
        channels: What its values mean.
        predicted: The probabilities, whose grid must be the same.
        affine_tolerance: How far apart both may put a voxel, in mm.

    Raises:
        InputError: If it cannot be read, holds other values, or is elsewhere.
    """
    image = read_image(file)
    check_affine(str(file), image.affine)  # no distance is known from a place that is not a number
    if image.voxels.ndim != 3:
        raise InputError(f"{file}: has {len(image.voxels)} channels; a label map has one")
    values = whole_numbers(file, image.voxels, image.step)
    if predicted.turned:
        values = turned(values, image.affine)
    grid = VoxelGrid(str(file), image.shape, image.affine)
    check_grid(predicted, grid, tuple(values.shape[::-1]), affine_tolerance)
    spacing = voxel_sizes(image.affine, are_turned=predicted.turned)
    labels = _labels(file, values, channels)
    return replace(labels, affine=image.affine, spacing=spacing, grid=grid)


def voxel_sizes(affine: npt.NDArray[Any], *, are_turned: bool) -> tuple[float, ...]:
    """The size of a voxel along z, y and x in mm; of axes that a reader has turned, along these."""
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if are_turned:
        turn: Any = nibabel.orientations.io_orientation(affine)  # type: ignore[no-untyped-call]
        sizes = sizes[turn[:, 0].argsort()]
    return tuple(sizes[::-1].tolist())


def whole_numbers(
    file: Path, voxels: npt.NDArray[Any], step: float | None = None
) -> npt.NDArray[Any]:
    """The voxels of a label map as integers.

    Args:
        file: The label map.
        voxels: Its voxels.
        step: The step of scaled integers, which may be off by half of it.

    Raises:
        InputError: If one is not a whole number.
    """
    if voxels.dtype.kind in "iu":
        return voxels
    with np.errstate(invalid="ignore"):  # NaN and infinity are no whole numbers
        values = voxels.round().astype(np.int32)
    # A step above 0.5 keeps no whole numbers apart from others, and is held to that.
    apart, rounding = (min(step, 0.5) / 2, 1e-6) if step else (0.0, 0.0)
    whole = np.isclose(values, voxels, rtol=rounding, atol=apart)
    if not whole.all():
        broken = voxels[~whole][0]
        raise InputError(f"{file}: holds {broken:g}, which is not a label; give label maps")
    return values


def turned(values: npt.NDArray[Any], affine: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``(z, y, x)`` with the axes in the order and direction right, anterior, superior."""
    turn: Any = nibabel.orientations.io_orientation(affine)  # type: ignore[no-untyped-call]
    apply: Any = nibabel.orientations.apply_orientation
    return np.ascontiguousarray(apply(values.T, turn).T)


def check_grid(
    predicted: Probabilities, label: VoxelGrid, shape: tuple[int, ...], tolerance: float
) -> None:
    """Compares the shapes of the voxels, and the affines of the images, as far as they are known.

    Args:
        predicted: The probabilities.
        label: The grid of a label map or an image.
        shape: Its voxels along x, y and z, turned where those of the probabilities are.
        tolerance: How far apart both may put a voxel, in mm.

    Raises:
        InputError: If they are not on one grid.
    """
    if predicted.shape != shape:
        hint = ""
        if predicted.source.suffix == ".pkl":
            hint = "; TotalSegmentator keeps its probabilities on the grid that it resamples to"
        elif predicted.affine is None and predicted.shape == shape[::-1]:
            hint = "; the axes of an array are channel, z, y, x"
        raise InputError(
            f"{predicted.file}: its probabilities have the shape {predicted.shape}, but {label.file} "
            f"{shape}; give both on one grid{hint}"
        )
    if predicted.affine is not None:
        grid = VoxelGrid(str(predicted.source), label.shape, predicted.affine)
        check_affine(grid.file, grid.affine)
        check_same_grid(grid, label, tolerance)


def _labels(file: Path, values: npt.NDArray[Any], channels: Channels) -> Labels:
    _check_values(file, values, channels)
    ignored = None if channels.ignore is None else values == channels.ignore
    if ignored is None or not ignored.any():
        return Labels(_classes(values, channels), None)
    if ignored.all():
        raise InputError(
            f"{file}: has no labeled voxel, but the value to ignore alone; leave it out"
        )
    # An unlabeled voxel takes the nearest label, so that it makes no boundary.
    nearest = scipy.ndimage.distance_transform_edt(
        ignored, return_distances=False, return_indices=True
    )
    return Labels(_classes(values[tuple(nearest)], channels), torch.from_numpy(~ignored))


def _check_values(file: Path, values: npt.NDArray[Any], channels: Channels) -> None:
    allowed = {0} | channels.label_values
    if channels.overlapping:
        allowed |= set(range(max(allowed)))  # a value of no structure is outside of all
    if channels.ignore is not None:
        allowed.add(channels.ignore)
    for plane in values:  # NumPy takes eight bytes a voxel for it
        unknown = plane[~np.isin(plane, list(allowed))]
        if len(unknown):
            raise InputError(
                f"{file}: holds the label value {unknown[0]}; expected only {sorted(allowed)}, by "
                f"{channels.source}"
            )


def _classes(values: npt.NDArray[Any], channels: Channels) -> torch.Tensor:
    of_channels = channels.values.values()
    if channels.overlapping:
        masks = [np.isin(values, list(inside)) for inside in of_channels]
        return torch.from_numpy(np.stack(masks).astype(np.uint8))
    kind = np.uint8 if len(of_channels) <= 2**8 else np.int16
    index = np.zeros(max(channels.label_values) + 1, kind)
    for channel, inside in enumerate(of_channels):
        index[list(inside)] = channel
    classes = np.empty(values.shape, kind)
    for plane, of_plane in zip(values, classes, strict=True):
        of_plane[:] = index[plane]
    return torch.from_numpy(classes)


#: The folder of the label maps; with several raters, name → folder.
Folders = Path | Mapping[str, Path]


def by_name(labels: Folders) -> Mapping[str, Path]:
    """Name → folder, also for a single rater, who needs no name."""
    return {"": labels} if isinstance(labels, Path) else labels


def check_rater_folders(labels: Folders) -> None:
    """Refuses wrong raters before the first prediction is read.

    Raises:
        SettingError: If there is only one, or a name that no folder can have.
        InputError: If a folder is given twice or holds no label map, or if two hold the same label maps:
            the rater would count twice.
    """
    if isinstance(labels, Path):
        return
    if len(labels) < 2:
        raise SettingError(
            "--raters: is one folder; give two or more, or this one as the last folder without --raters"
        )
    for name in labels:
        check_name(name, "--rater-names")
    for rater, other in combinations(labels.values(), 2):
        _check_apart(rater, other)


def check_name(name: str, option: str) -> None:
    """Refuses a name that no folder in the output can have.

    Raises:
        SettingError: If it is empty, or leads elsewhere.
    """
    if fault := records.fault_of_name(name):
        raise SettingError(
            f"{option}: {name!r} is not a name of a folder, it {fault}; choose another"
        )


def _check_apart(rater: Path, other: Path) -> None:
    """Refuses two raters with the same label maps; compares common ones until two differ."""
    if rater.resolve() == other.resolve():
        raise InputError(f"{other}: is given twice; give every rater once")
    files, other_files = label_files(rater), label_files(other)
    marked = False
    for case in files.keys() & other_files.keys():
        try:
            first, second = (read_image(file).voxels for file in (files[case], other_files[case]))
        except InputError:  # the audit names it
            continue
        if not np.array_equal(first, second):
            return
        marked = marked or bool(first.any())
    if marked:
        raise InputError(
            f"{other}: has the same label maps as {rater}, so that one rater would count twice; leave "
            "one of them out"
        )
