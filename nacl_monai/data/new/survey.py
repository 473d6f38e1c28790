"""What the cases of a dataset hold, as far as its configuration depends on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import torch

from nacl_monai.data.cases import Case, ReportFault, image_files
from nacl_monai.data.faults import SPATIAL_AXES, VoxelGrid
from nacl_monai.data.loading import LoadCase
from nacl_monai.data.reading import readable
from nacl_monai.errors import InputError
from nacl_monai.progress import progress_bar

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
        with _reported(report_fault):
            _add(found, case, load, case["case"] in intensities_of)
    return found


@contextmanager
def _reported(report_fault: ReportFault) -> Iterator[None]:
    try:
        yield
    except InputError as fault:
        report_fault(fault)


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
        image: Any = nibabel.load(file)
    stored: tuple[int, ...] = image.shape
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
