"""What layouts have in common: looking for a dataset's folders, and pairing files by their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

from nacl_monai.data.cases import Case, make_case
from nacl_monai.errors import InputError


def existing_folder(dataset_dir: str | Path | None) -> Path:
    """Returns the folder of a dataset.

    Raises:
        InputError: If it is not set, or is not there.
    """
    if not dataset_dir:
        raise InputError(
            "dataset_dir is not set; name the unpacked dataset: --dataset_dir DIR "
            "(make: DATASET_DIR=DIR)"
        )
    root = Path(dataset_dir)
    if not root.is_dir():
        raise InputError(f"dataset_dir {root}: no such folder; name the unpacked dataset")
    return root


def other_layout(root: Path, layout: str, remedy: str) -> InputError:
    """Returns the error of a folder in which nothing of a layout is there."""
    return InputError(f"dataset_dir {root}: not {layout}; name {remedy}")


def folders_in_first(root: Path, places: Sequence[str], pattern: str) -> list[Path]:
    """Returns the folders that match ``pattern`` in the first of ``places`` where any does.

    Hidden folders match nothing.
    """
    for place in places:
        folders = sorted(
            path
            for path in (root / place).glob(pattern)
            if path.is_dir() and not path.name.startswith(".")
        )
        if folders:
            return folders
    return []


def pair_by_name(
    images: Path, ending: str, labels: Path, patient_of: Callable[[str], str] | None
) -> list[Case]:
    """Returns a case for each name in a folder of images or one of labels; none if there is no image.

    Hidden files, such as those of macOS, name no case.

    Args:
        images: Folder of the files ``NAME`` + ``ending``.
        ending: What the names of images end with, such as ``"_0000.nii.gz"``.
        labels: Folder of the files ``NAME.nii.gz``.
        patient_of: Gives the patient of a case by its name; None where nobody knows.
    """
    return [
        make_case(
            name,
            images / f"{name}{ending}",
            labels / f"{name}.nii.gz",
            patient_of and patient_of(name),
        )
        for name in sorted(paired_names(images, [ending], labels, ".nii.gz"))
    ]


def paired_names(images: Path, endings: Sequence[str], labels: Path, ending: str) -> set[str]:
    """The names of cases in a folder of images or one of labels; none if there is no image.

    Args:
        images: Folder of the files ``NAME`` + one of ``endings``, such as one per channel.
        endings: What the names of images end with.
        labels: Folder of the files ``NAME`` + ``ending``.
        ending: What the names of labels end with.
    """
    names = {*chain(*(names_in(images, end) for end in endings))}
    return names | names_in(labels, ending) if names else names


def names_in(folder: Path, ending: str) -> set[str]:
    """The names of the files that end so, without the ending; none of hidden ones."""
    paths = folder.glob(f"*{ending}")
    return {path.name.removesuffix(ending) for path in paths if not path.name.startswith(".")}
