"""A survey of the cases of a dataset: classes, channels, axes, sizes and intensities."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import floor, log10
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor
from monai.data.utils import compute_shape_offset, zoom_affine

from nacl_monai.data.cases import LabeledCase, ReportFault, image_files, names_of, reported
from nacl_monai.data.faults import SPATIAL_AXES, VoxelGrid, readable
from nacl_monai.data.formats import Description, is_word_for_ct
from nacl_monai.data.loading import LoadCase
from nacl_monai.errors import InputError, SettingError, check_no_formula
from nacl_monai.inference.grids import stored_shape
from nacl_monai.inference.orientation import THICK, TurnAxesd
from nacl_monai.progress import progress_bar

#: The most foreground voxels of a case for percentiles, as in nnU-Net.
SAMPLED = 10_000
_MOST_VALUES = 256  # classes are kept in a byte
_Load = Callable[[str, bool], Any]
PERCENTILES = (0.5, 99.5)
#: A slice is thick if it is this many times as thick as its pixels are wide; nnU-Net's threshold too.
ANISOTROPIC = 3.0
#: Networks halve slices four times.
MULTIPLE, _SMALLEST = 16, 32
#: The longest side of a patch of 3-D training, for its memory.
LARGEST_PATCH = 96
_UNIFORM = 0.01  # relative difference of spacings by rounding
_Array = npt.NDArray[Any]
_TO_RAS: dict[str, Any] = {"keys": ["image", "label"], "axcodes": "RAS"}


@dataclass(frozen=True)
class Statements:
    """A user's statements about a dataset beside its files.

    Attributes:
        patient_pattern: A regular expression whose one group is the patient, in a case's name.
        patients: A CSV file with the columns ``case`` and ``patient``.
        modality: The modality of all channels, such as "CT", where no file says it.
        window: The intensities that become 0 and 1.
        spacing: ``median``, ``none``, or sizes in mm; see `choose_preprocessing`.
    """

    patient_pattern: str | None = None
    patients: Path | None = None
    modality: str | None = None
    window: tuple[float, float] | None = None
    spacing: str = "median"


class Choice(NamedTuple):
    """Keys of ``dataset.yaml``, and why they are what they are."""

    why: str
    keys: dict[str, Any]


@dataclass
class Survey:
    """The cases, and what their files hold.

    Attributes:
        ignored: The value of voxels that are of no class; None where all are of one.
        cases: Those that were read.
        channels: The channels of every image.
        holders: For each value of the labels, the number of cases that hold it.
        first_holder: For each value, the first label that holds it.
        grids: The voxels of each label.
        foreground: Intensities of foreground voxels of each case; empty unless asked for.
    """

    ignored: int | None = None
    cases: list[LabeledCase] = field(default_factory=list)
    channels: int = 0
    holders: Counter[int] = field(default_factory=Counter)
    first_holder: dict[int, str] = field(default_factory=dict)
    grids: list[VoxelGrid] = field(default_factory=list)
    foreground: list[npt.NDArray[np.float32]] = field(default_factory=list)


def survey(
    cases: Sequence[LabeledCase],
    report_fault: ReportFault,
    intensities_of: Sequence[str] = (),
    ignored: int | None = None,
) -> Survey:
    """Reads the labels of all cases, the headers of all images and, where asked, their voxels.

    Args:
        cases: All cases.
        report_fault: Called with each fault; a case with a fault does not count.
        intensities_of: Names of the cases whose foreground voxels are sampled.
        ignored: The value of voxels that are of no class; None where all are of one.
    """
    found = Survey(ignored)
    load = LoadCase([[0]], 1).read_volume
    for case in progress_bar(cases, description="Looking at the data", unit="case"):
        with reported(report_fault):
            check_no_formula("cases", names_of(case))
            _add(found, case, load, case["case"] in intensities_of)
    return found


def _add(found: Survey, case: LabeledCase, load: _Load, is_sampled: bool) -> None:
    label = load(case["label"], False)
    voxels = label.as_tensor()
    values = _whole_numbers(case["label"], voxels)
    channels = sum(_channels(file, tuple(voxels.shape[1:])) for file in image_files(case))
    found.channels = found.channels or channels
    if channels != found.channels:
        raise InputError(
            f"{image_files(case)[0]}: the image has {channels} channel(s), but {found.channels} in "
            f"{image_files(found.cases[0])[0]}; all images need the same"
        )
    if is_sampled:
        found.foreground.append(_foreground(case, load, voxels, found.ignored))
    found.cases.append(case)
    found.grids.append(VoxelGrid(case["label"], tuple(voxels.shape[1:]), label.affine.numpy()))
    found.holders.update(values)
    for value in values:
        found.first_holder.setdefault(value, case["label"])


def _whole_numbers(file: str, label: torch.Tensor) -> list[int]:
    """The values of a label map, in order."""
    values = torch.as_tensor(torch.unique(label))
    broken = values[(values != values.round()) | values.isinf()]
    if len(broken):
        raise InputError(f"{file}: holds {broken[0]:g}; a label map holds whole numbers")
    if len(values) > _MOST_VALUES:
        raise InputError(
            f"{file}: holds {len(values)} values, and a label map at most {_MOST_VALUES}; look whether "
            "images and labels are interchanged"
        )
    return [int(value) for value in values]


def _channels(file: str, shape: tuple[int, ...]) -> int:
    """The number of channels in the header of an image, whose shape must be that of the label."""
    with readable(file):
        stored = stored_shape(file)
    if stored[:SPATIAL_AXES] != shape:
        raise InputError(f"{file}: has shape {stored} but its label {shape}; they must be equal")
    return stored[SPATIAL_AXES] if len(stored) > SPATIAL_AXES else 1


def _foreground(
    case: LabeledCase, load: _Load, label: torch.Tensor, ignored: int | None
) -> npt.NDArray[np.float32]:
    """A sample of the intensities of all channels where the label is a class but the background."""
    inside = label[0] != 0
    if ignored is not None:
        inside &= label[0] != ignored
    chosen = inside.nonzero().numpy()
    if len(chosen) > SAMPLED:
        chosen = np.random.default_rng(0).choice(chosen, SAMPLED, replace=False)
    places = tuple(torch.from_numpy(axis) for axis in chosen.T)
    images = (load(file, True) for file in image_files(case))
    return torch.cat([part.as_tensor()[places] for image in images for part in image]).numpy()


def choose_classes(
    description: Description, found: Survey, report_fault: ReportFault
) -> list[Choice]:
    """A class for each value on disk, and a structure for each label.

    A region, which is a label of several values, is a structure of several classes. A value without a
    label of its own makes a class all the same, called ``value_N``.

    Args:
        description: Names the labels; if it does not, each value is a label.
        found: The values on disk.
        report_fault: Called where one of the two has what the other lacks.

    Raises:
        InputError: If two classes would have one name.
    """
    if description.labels is not None:
        _compare(description, description.labels, found, report_fault)
    labels = named_labels(description, found)
    values = sorted({*chain(*labels.values())})
    classes = _class_names(labels, values)
    _check_names(description.source, classes)
    places = {value: place for place, value in enumerate(values, 1)}
    structures = {name: [places[value] for value in parts] for name, parts in labels.items()}
    values_of = ", ".join(map("{} {}".format, classes, [0, *values]))
    named = "" if description.labels else "; nobody names them, so write their names here"
    overlap = ", which overlap" if len([*chain(*labels.values())]) > len(values) else ""
    keys = {"classes": classes, "label_values": [[value] for value in (0, *values)]}
    choices = [
        Choice(f"The classes and their values on disk: {values_of}{named}", keys),
        Choice(f"DSC and HD95 are of {', '.join(labels)}{overlap}", {"structures": structures}),
    ]
    if description.ignored is not None:
        why = "are not labeled: no loss, metric or calibrator counts them"
        ignored = {"ignore_index": description.ignored}
        choices.append(Choice(f"Voxels of the value {description.ignored} {why}", ignored))
    return choices


def _class_names(labels: Mapping[str, Sequence[int]], values: Iterable[int]) -> list[str]:
    """A class is called as the label that has its value alone."""
    single = {parts[0]: name for name, parts in labels.items() if len(parts) == 1}
    return ["background", *(single.get(value, f"value_{value}") for value in values)]


def named_labels(description: Description, found: Survey) -> dict[str, list[int]]:
    """The values of each label, under a name that the column of a table may have.

    Raises:
        InputError: If two names become one, or there is no label.
    """
    labels = description.labels
    if labels is None:
        values = sorted(found.holders.keys() - {0})
        if not values:
            raise InputError(
                f"{description.source.parent}: no label holds anything but 0; put label maps there"
            )
        return {f"class_{value}": [value] for value in values}
    names = [re.sub(r"\W+", "_", name).strip("_") for name in labels]
    _check_names(description.source, names)
    return dict(zip(names, labels.values(), strict=True))


def _compare(
    description: Description,
    labels: Mapping[str, Sequence[int]],
    found: Survey,
    report_fault: ReportFault,
) -> None:
    known = {*chain(*labels.values())}
    for value in sorted(found.holders.keys() - known - {0, description.ignored}):
        lacking = f"which {description.source} lacks; correct one of both"
        holder = found.first_holder[value]
        report_fault(InputError(f"{holder}: holds the label value {value}, {lacking}"))
    for value in sorted(known - found.holders.keys()):
        line = f"no case holds the value {value}, so nothing could be learned of it; take it out"
        report_fault(InputError(f"{description.source}: labels: {line}"))


def _check_names(source: Path, names: Sequence[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1 or not name:
            raise InputError(
                f"{source}: labels: {times} are called {name!r}; give each a name of its own, of "
                "letters and digits"
            )


def is_ct(description: Description, options: Statements) -> bool:
    """Whether the image is only a CT, whose intensities mean the same in every volume.

    Raises:
        InputError: If a CT is beside another modality, since one step scales all channels alike.
    """
    names = [options.modality] if options.modality else description.channels
    are_ct = [is_word_for_ct(name) for name in names]
    if any(are_ct) and not all(are_ct):
        raise InputError(
            f"{description.source}: the channels are {', '.join(names)}, but a CT has one window for "
            "all volumes, and others have none; scale all by the percentiles of each volume, --modality "
            "mixed, or write `preprocessing` by hand"
        )
    return all(are_ct) and bool(names)


def choose_channels(description: Description, found: Survey) -> Choice:
    """How many channels there are, and how inference finds their files.

    Raises:
        InputError: If the description names another number.
    """
    names, ends = description.channels, description.modalities
    if names and len(names) != found.channels:
        raise InputError(
            f"{description.source}: names {len(names)} channel(s), {', '.join(names)}, but the images "
            f"have {found.channels}; correct one of both"
        )
    named = f"Channels: {', '.join(names)}" if names else "Nobody names the channels"
    files = "a file each" if len(ends) > 1 else "one file per image"
    if any(ends):
        files += f", whose name ends in {' or '.join(f'{end}.nii' for end in ends if end)}"
    if len({*ends}) < len(ends):
        files += (
            ", which folders tell apart and names do not, so that inference cannot find them by name: "
            "call them after their channels, and write here what each name ends with"
        )
    return Choice(f"{named}; {files}", {"modalities": ends, "in_channels": found.channels})


def choose_preprocessing(
    description: Description, found: Survey, options: Statements
) -> list[Choice]:
    """How volumes are turned, resampled and scaled, and how large a network's slice is.

    Raises:
        SettingError: If a spacing or window is wrong.
        InputError: If the foreground of a CT gives no window.
    """
    turn, why_turned, shapes, affines = _turned(found.grids)
    pixdim, why_resampled = _spacing(_sizes_of_voxels(affines), options.spacing)
    if pixdim:
        pairs = zip(shapes, affines, strict=True)
        shapes = np.array([_resampled_shape(*grid, pixdim) for grid in pairs])
    height, width, _ = largest = shapes.max(axis=0)
    areas = shapes[:, :2].prod(axis=1)
    whose = Path(found.grids[int(areas.argmax())].file).name
    most = np.percentile(shapes, 90, axis=0)
    padded = -(-largest // MULTIPLE) * MULTIPLE
    slice_size = np.maximum(padded[:2], _SMALLEST).tolist()
    modes = {"pixdim": pixdim, "mode": ["bilinear", "nearest"], "allow_missing_keys": True}
    resample = {"_target_": "Spacingd", "keys": ["image", "label"], **modes}
    why_scaled, scale = _intensity(description, found, options)
    return [
        Choice(
            f"{why_turned}. {why_resampled}. {why_scaled}",
            {"preprocessing": [turn, *([resample] if pixdim else []), scale]},
        ),
        Choice(
            f"The largest slices are {height}×{width}; the largest is of {whose}, nine in ten are at "
            f"most {most[0]:.0f}×{most[1]:.0f}. All are padded to {slice_size[0]}×{slice_size[1]}; a "
            "smaller spatial_size, with cropping, would hold the rest. Patches are those of --dims 3",
            {"spatial_size": slice_size, "patch": np.minimum(padded, LARGEST_PATCH).tolist()},
        ),
        Choice(
            "Augmentation flips no axis, since the data do not say where left and right look alike; [0] "
            "flips those",
            {"flip_axes": []},
        ),
        Choice(
            "Nothing is cropped, and no slice is left out",
            {"cropping": [], "discard_empty_slices": False},
        ),
    ]


def _intensity(description: Description, found: Survey, options: Statements) -> tuple[str, Any]:
    """How intensities become numbers in [0, 1]: the reason and the step."""
    if options.window is not None:
        return _window(*options.window, "The window is as given")
    if is_ct(description, options):
        low, high = map(float, np.percentile(np.concatenate(found.foreground), PERCENTILES))
        if low == high:
            raise InputError(
                f"{description.source}: nearly all of the CT's foreground is {low:g}, which gives no "
                "window; pass one, --window LOW HIGH"
            )
        digits = 3 - floor(log10(high - low))  # whatever the unit
        why = (
            f"CT: the window is from the {PERCENTILES[0]} to the {PERCENTILES[1]} percentile of the "
            f"foreground of {len(found.foreground)} cases, as in nnU-Net"
        )
        return _window(round(low, digits), round(high, digits), why)
    why = "Each channel of a volume is scaled by its own percentiles, 0.5 and 99.5"
    return f"{why}, as it is not a CT", "@scale_by_percentiles"


def _window(low: float, high: float, why: str) -> tuple[str, Any]:
    if not low < high:
        raise SettingError(f"--window {low:g} {high:g}: is empty; write the lower end first")
    ends = {"a_min": float(low), "a_max": float(high), "b_min": 0.0, "b_max": 1.0}
    step = {"_target_": "ScaleIntensityRanged", "keys": "image", **ends, "clip": True}
    return f"{why}: {low:g} to {high:g}", step


def _turned(grids: Sequence[VoxelGrid]) -> tuple[Any, str, _Array, _Array]:
    """How to turn volumes so that slices, where they are thick, go last.

    Returns:
        The step of preprocessing, why, and the shapes ``(cases, 3)`` and affines ``(cases, 4, 4)`` of
        the volumes after it.
    """
    shapes, affines = _after_turning(grids, slices_last=False)
    spacings = _sizes_of_voxels(affines)
    is_thick = spacings.max(axis=1) > THICK * np.sort(spacings, axis=1)[:, 1]
    if not (is_thick & (spacings.argmax(axis=1) != 2)).any():
        return "@to_ras", "Axes run to the right, anterior and superior side", shapes, affines
    target = {"_target_": "nacl_monai.inference.orientation.TurnAxesd"}
    step = {**target, **_TO_RAS, "slices_last": True, "allow_missing_keys": True}
    why = "Thick slices are along other axes in some cases, and go last"
    return step, why, *_after_turning(grids, slices_last=True)


def _after_turning(grids: Sequence[VoxelGrid], slices_last: bool) -> tuple[_Array, _Array]:
    turn, labels = TurnAxesd(**_TO_RAS, slices_last=slices_last, allow_missing_keys=True), []
    for grid in grids:
        voxels = torch.zeros(1, *grid.shape, dtype=torch.uint8)
        empty = MetaTensor(voxels, affine=torch.from_numpy(grid.affine))
        labels.append(turn({"label": empty})["label"])
    shapes = np.array([label.shape[1:] for label in labels])
    return shapes, np.array([label.affine.numpy() for label in labels])


def _sizes_of_voxels(affines: _Array) -> _Array:
    """Size of a voxel along each axis in mm, ``(…, 3)``, of affines ``(…, 4, 4)``."""
    sizes: _Array = np.linalg.norm(affines[..., :3, :3], axis=-2)
    return sizes


def _spacing(spacings: _Array, asked: str) -> tuple[list[float], str]:
    """Chooses the size of a voxel.

    Args:
        spacings: Those of the volumes after they are turned, ``(cases, 3)``.
        asked: ``median``, ``none``, or three sizes in mm, ``X,Y,Z``, of which -1 leaves one as it is.

    Returns:
        The size along each axis, -1 where it stays, or none to leave all as they are; and why.

    Raises:
        SettingError: If ``asked`` is none of these.
    """
    median = np.median(spacings, axis=0)
    sizes = "×".join(f"{size:.3g}" for size in median)
    if asked == "none":
        return [], f"Nothing is resampled, as asked for; voxels are {sizes} mm in the median"
    if asked != "median":
        return _given(asked), f"Resampled as asked for; the median is {sizes} mm"
    if (np.abs(spacings / median - 1) < _UNIFORM).all():
        return [], f"All voxels are {sizes} mm, so nothing is resampled"
    pixdim = [float(f"{size:.4g}") for size in median]
    if median[2] > ANISOTROPIC * median[:2].min():
        why = f"the slices are thick ({median[2]:.3g} mm) and stay"
        return [*pixdim[:2], -1.0], f"Resampled to the median within slices; {why}"
    return pixdim, "Resampled to the median"


def _given(spacing: str) -> list[float]:
    try:
        pixdim = [float(size) for size in spacing.split(",")]
    except ValueError:
        pixdim = []
    if len(pixdim) != 3 or not all(0 < size < np.inf or size == -1 for size in pixdim):
        raise SettingError(
            f"--spacing {spacing}: is not a spacing; write median, none, or three sizes in mm: 0.8,0.8,3"
        )
    return pixdim


def _resampled_shape(shape: _Array, affine: _Array, pixdim: Sequence[float]) -> _Array:
    """The shape that MONAI's ``Spacingd`` makes."""
    sizes = np.where(np.array(pixdim) > 0, pixdim, _sizes_of_voxels(affine))
    zoomed = zoom_affine(affine, sizes, diagonal=False)
    new: _Array = compute_shape_offset(shape, affine, zoomed)[0]
    return new
