"""Which files are the images of a command."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from nacl_monai.errors import InputError

from .maps import is_map

_Case = dict[str, list[str]]


def find_cases(images: str | None, modalities: Sequence[str]) -> list[_Case]:
    """Finds the files of every case.

    In folders and among matches of a pattern, maps that inference has written are not images, so that
    outputs may be beside the images.

    Args:
        images: A file, a folder, or a glob pattern of either. A folder holds images, each with all
            channels or with a file per modality, or one DICOM series.
        modalities: What the names of a case's files end with before ``.nii.gz``, ``.nii``, ``.mha`` or
            ``.nrrd``, in the
            order of the network's channels. A file of any modality stands for all of its case, so that
            no case is passed over, whichever file it lacks.

    Returns:
        ``[{"image": [file of each modality]}, …]``; a DICOM series is its folder.

    Raises:
        InputError: If ``images`` is not set, if nothing is there, or if two modalities are alike.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> for name in ("p1_flair", "p1_t1"):
        ...     (folder / f"{name}.nii.gz").touch()
        >>> [Path(file).name for file in find_cases(str(folder), ["flair", "t1"])[0]["image"]]
        ['p1_flair.nii.gz', 'p1_t1.nii.gz']
    """
    if not images:
        raise InputError(
            "images: not set; name a file, a folder or a pattern: --images IMAGE.nii.gz"
        )
    if len({*modalities}) < len(modalities):
        raise InputError(
            f"modalities: {', '.join(map(repr, modalities))} do not tell files apart; write what the "
            "name of each ends with"
        )
    files = _image_files(images, modalities)
    if not files:
        raise InputError(
            f"{images}: no image found there; name a file, a folder of images or a pattern"
        )
    cases = dict.fromkeys(tuple(files_of_case(file, modalities)) for file in files)
    return [{"image": [*case]} for case in cases]


def _image_files(images: str, modalities: Sequence[str]) -> list[str]:
    """One file per case or more, but no map, unless it is what ``images`` names."""
    # glob, unlike Path.glob, takes absolute patterns, and leaves hidden files out.
    found = [images] if Path(images).exists() else sorted(glob.glob(images))  # noqa: PTH207
    paths = [str(Path(path)) for path in found]  # as MONAI calls them, without ./
    files = [file for path in paths for file in _files_at(path, modalities)]
    return files if files == [str(Path(images))] else [file for file in files if not is_map(file)]


def _files_at(path: str, modalities: Sequence[str]) -> list[str]:
    """The files of images at ``path``; the folder itself, if it holds a DICOM series.

    If a file in a folder has a modality, files without one are not images, but perhaps label maps.
    """
    if not Path(path).is_dir():
        return [path]
    entries = sorted(Path(path).glob("[!.]*"))
    volumes = [entry for entry in entries if _split(entry.name, [""])]
    images = [entry for entry in volumes if _split(entry.name, modalities)] or volumes
    series = [path] if any(map(Path.is_file, entries)) else []
    return [*map(str, images)] or series


def files_of_case(file: str, modalities: Sequence[str]) -> list[str]:
    """The files beside ``file`` of all modalities, if it is of one."""
    parts = _split(Path(file).name, modalities)
    if parts is None:
        return [file]
    return [str(Path(file).with_name(parts[1] + name + parts[2])) for name in modalities]


def _split(name: str, modalities: Sequence[str]) -> re.Match[str] | None:
    """The parts of an image's name before and after the longest modality that it ends with."""
    either = "|".join(map(re.escape, modalities))
    return re.fullmatch(rf"(.*?)(?:{either})(\.(?i:nii|nii\.gz|mha|nrrd))", name)
