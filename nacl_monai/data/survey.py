"""What the cases of a dataset hold, and the classes that follow from it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from nacl_monai.data.cases import Case, ReportFault, image_files, reported
from nacl_monai.data.faults import SPATIAL_AXES, VoxelGrid, readable
from nacl_monai.data.formats import Description
from nacl_monai.data.loading import LoadCase
from nacl_monai.errors import InputError
from nacl_monai.inference.images import stored_shape
from nacl_monai.progress import progress_bar


@dataclass(frozen=True)
class Options:
    """What a user says of a dataset beside its files.

    Attributes:
        patient_pattern: A regular expression whose one group is the patient, in a case's name.
        patients: A CSV file with the columns ``case`` and ``patient``.
        modality: The modality of all channels, such as "CT", where no file says it.
        window: The intensities that become 0 and 1.
        spacing: ``median``, ``none``, or sizes in mm; see `nacl_monai.data.choices.resampled`.
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


#: Foreground voxels of a case that percentiles are of, at most; nnU-Net takes as many.
SAMPLED = 10_000
_MOST_VALUES = 256  # classes are kept in a byte
_Load = Callable[[str, bool], Any]


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
    cases: list[Case] = field(default_factory=list)
    channels: int = 0
    holders: Counter[int] = field(default_factory=Counter)
    first_holder: dict[int, str] = field(default_factory=dict)
    grids: list[VoxelGrid] = field(default_factory=list)
    foreground: list[npt.NDArray[np.float32]] = field(default_factory=list)


def survey(
    cases: Sequence[Case],
    report_fault: ReportFault,
    intensities_of: Sequence[str] = (),
    ignored: int | None = None,
) -> Survey:
    """Reads the labels of all cases, the headers of all images and, where asked, their voxels.

    Args:
        cases: All cases.
        report_fault: Called with what is wrong with each; a case with a fault does not count.
        intensities_of: Names of the cases whose foreground voxels are sampled.
        ignored: The value of voxels that are of no class; None where all are of one.
    """
    found = Survey(ignored)
    load = LoadCase([[0]], 1).read_volume
    for case in progress_bar(cases, description="Looking at the data", unit="case"):
        with reported(report_fault):
            _add(found, case, load, case["case"] in intensities_of)
    return found


def _add(found: Survey, case: Case, load: _Load, is_sampled: bool) -> None:
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
    case: Case, load: _Load, label: torch.Tensor, ignored: int | None
) -> npt.NDArray[np.float32]:
    """A sample of the intensities of all channels where the label is a class but the background."""
    inside = label[0] != 0
    if ignored is not None:
        inside &= label[0] != ignored
    chosen = inside.nonzero().numpy()
    if len(chosen) > SAMPLED:
        chosen = np.random.default_rng(0).choice(chosen, SAMPLED, replace=False)
    places = tuple(torch.from_numpy(axis) for axis in chosen.T)
    voxels = [
        channel.as_tensor()[places] for file in image_files(case) for channel in load(file, True)
    ]
    return torch.cat(voxels).numpy()


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
    described = description.labels
    if described is not None:
        _compare(description, described, found, report_fault)
    labels = named_labels(description, found)
    values = sorted({*chain(*labels.values())})
    classes = _class_names(labels, values)
    _check_names(description.source, classes)
    values_of = ", ".join(map("{} {}".format, classes, [0, *values]))
    named = "" if described else "; nobody names them, so write their names here"
    overlap = ", which overlap" if len([*chain(*labels.values())]) > len(values) else ""
    return [
        Choice(
            f"The classes and their values on disk: {values_of}{named}",
            {"classes": classes, "label_values": [[value] for value in (0, *values)]},
        ),
        Choice(
            f"DSC and HD95 are of {', '.join(labels)}{overlap}",
            {"structures": {name: _indices(of, values) for name, of in labels.items()}},
        ),
        *_ignored(description.ignored),
    ]


def _ignored(value: int | None) -> list[Choice]:
    if value is None:
        return []
    why = f"Voxels of the value {value} are not labeled: no loss, metric or calibrator counts them"
    return [Choice(why, {"ignore_index": value})]


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
    words = [re.sub(r"\W+", "_", name).strip("_") for name in labels]
    _check_names(description.source, words)
    return dict(zip(words, labels.values(), strict=True))


def _class_names(labels: Mapping[str, Sequence[int]], values: Sequence[int]) -> list[str]:
    """A class is called as the label that has its value alone."""
    single = {of[0]: name for name, of in labels.items() if len(of) == 1}
    return ["background", *(single.get(value, f"value_{value}") for value in values)]


def _indices(values: Sequence[int], known: Sequence[int]) -> list[int]:
    """The classes of values; that of the background is 0."""
    return [known.index(value) + 1 for value in values]


def _compare(
    description: Description,
    labels: Mapping[str, Sequence[int]],
    found: Survey,
    report_fault: ReportFault,
) -> None:
    known = {*chain(*labels.values())}
    for value in sorted(found.holders.keys() - known - {0, description.ignored}):
        report_fault(
            InputError(
                f"{found.first_holder[value]}: holds the label value {value}, which "
                f"{description.source} lacks; correct one of both"
            )
        )
    for value in sorted(known - found.holders.keys()):
        report_fault(
            InputError(
                f"{description.source}: labels: no case holds the value {value}, of which nothing could "
                "be learned; take it out"
            )
        )


def _check_names(source: Path, names: Sequence[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1 or not name:
            raise InputError(
                f"{source}: labels: {times} are called {name!r}; give each a name of its own, of "
                "letters and digits"
            )
