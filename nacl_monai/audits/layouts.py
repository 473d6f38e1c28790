"""The layouts in which tools leave probabilities, and which of them a folder has."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from nacl_monai.audits import nifti, nnunet
from nacl_monai.audits.saved import Prediction, Probabilities
from nacl_monai.errors import InputError


@dataclass(frozen=True)
class Layout:
    """One way to keep probabilities.

    Attributes:
        label: What is printed.
        find: Folder and names of the label maps → its cases; none where the folder is otherwise.
        read: Reads the probabilities of a case.
        dataset: Folder → the ``dataset.json`` that belongs to it, or None.
        is_placed: Whether a file says where the voxels of a case are.
    """

    label: str
    find: Callable[[Path, Collection[str]], list[Prediction]]
    read: Callable[[Prediction], Probabilities]
    dataset: Callable[[Path], Path | None] = nnunet.dataset_file
    is_placed: Callable[[Prediction], bool] = lambda _: True


#: The layouts by name; a folder has the first that finds a case in it.
LAYOUTS: dict[str, Layout] = {
    "nnunet": Layout(
        "nnU-Net v2",
        lambda folder, _: nnunet.find(folder),
        nnunet.read,
        is_placed=nnunet.is_placed,
    ),
    "npz": Layout(
        "npz files of nnU-Net or TotalSegmentator",
        lambda folder, _: nnunet.find_alone(folder),
        nnunet.read,
        is_placed=nnunet.is_placed,
    ),
    "inference": Layout(
        "this project's inference", lambda folder, _: nifti.find_own(folder), nifti.read_channels
    ),
    "files": Layout("one file per class", nifti.find_per_class, nifti.read_per_class),
    "channels": Layout(
        "one channel per class",
        lambda folder, _: nifti.find_channels(folder),
        nifti.read_channels,
    ),
    "folders": Layout(
        "one folder per case, one file per class",
        lambda folder, _: nifti.find_folders(folder),
        nifti.read_per_class,
    ),
}


def recognized(folder: Path, names: Collection[str]) -> tuple[Layout, list[Prediction]]:
    """The layout of a folder, and its cases.

    Args:
        folder: The folder of the predictions.
        names: The names of the label maps.

    Raises:
        InputError: If there is no such folder, if it holds label maps, or nothing that is known, or a
            case twice.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; give the folder of the predictions")
    for layout in LAYOUTS.values():
        predictions = layout.find(folder, names)
        if predictions:
            _check_once(predictions)
            return layout, predictions
    if nifti.find_hard(folder):
        raise labels_instead(folder)
    raise InputError(
        f"{folder}: holds no probabilities in a known layout; give a folder with nnU-Net's npz files, "
        "or with images that have a channel or a file per class"
    )


def labels_instead(place: Path) -> InputError:
    """The error for label maps in place of probabilities."""
    return InputError(
        f"{place}: these are labels; probabilities are needed: nnUNetv2_predict --save_probabilities"
    )


def _check_once(predictions: Collection[Prediction]) -> None:
    files: dict[str, Path] = {}
    for one in predictions:
        first = files.setdefault(one.case, one.file)
        if first != one.file:
            raise InputError(f"{one.file}: is the case of {first}, too; leave one of them out")
