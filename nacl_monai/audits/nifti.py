"""NIfTI, NRRD and MetaImage: one file with a channel per class, or one file per class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from nacl_monai.audits.images import (
    Array,
    Image,
    image_files,
    images_by_name,
    read_image,
    stem_of,
    stored_as,
)
from nacl_monai.audits.saved import Prediction, Probabilities
from nacl_monai.errors import InputError
from nacl_monai.runs import EvaluationFolder

_OWN = "_probabilities"


def find_own(folder: Path) -> list[Prediction]:
    """What ``make infer`` writes: ``NAME_probabilities.nii.gz``, in folders like those of the images.

    The maps of an earlier audit are called alike, and are not predictions of the folder that it is in.
    """
    files = [
        file for file in sorted(folder.rglob(f"*{_OWN}.nii.gz")) if not _set_apart(file, folder)
    ]
    return [Prediction(stem_of(file).removesuffix(_OWN), {"": file}) for file in files]


def _set_apart(file: Path, folder: Path) -> bool:
    """Whether a file is hidden, or in an audit below the folder."""
    path = file.relative_to(folder)
    below = [folder / place for place in path.parents[:-1]]
    hidden = any(part.startswith(".") for part in path.parts)
    return hidden or any(EvaluationFolder(place).record.is_file() for place in below)


def find_channels(folder: Path) -> list[Prediction]:
    """Files with several channels, or with fractions where there is a single one."""
    files = image_files(folder)
    if not _hold_probabilities(files):
        return []
    return [Prediction(stem_of(file), {"": file}) for file in files]


def _hold_probabilities(files: Sequence[Path]) -> bool:
    """By the first that can be read: the others, and those that cannot, are cases of their own."""
    for file in files:
        with suppress(InputError):
            axes, whole = stored_as(file)
            return axes == 4 or not whole
    return False


def find_hard(folder: Path) -> list[Prediction]:
    """Volumes of whole numbers: label maps."""
    return [Prediction(stem_of(file), {"": file}) for file in image_files(folder)]


def find_folders(folder: Path) -> list[Prediction]:
    """A folder per case, with a file per class: ``CASE/CLASS.nii.gz``."""
    cases = {place.name: images_by_name(place) for place in sorted(folder.glob("[!.]*/"))}
    return [Prediction(case, files) for case, files in cases.items() if files]


def find_per_class(folder: Path, names: Collection[str]) -> list[Prediction]:
    """A file per case and class, ``CASE_CLASS.nii.gz``, where ``CASE`` is the name of a label map."""
    cases: dict[str, dict[str, Path]] = defaultdict(dict)
    for stem, file in images_by_name(folder).items():
        case = _longest_start(stem, names)
        if case is None or stem in names:
            return []
        cases[case][stem[len(case) + 1 :]] = file
    kinds = {kind for files in cases.values() for kind in files}
    if kinds <= {"0000"}:
        return []
    return [Prediction(case, files) for case, files in sorted(cases.items())]


def _longest_start(stem: str, names: Collection[str]) -> str | None:
    """The longest name that the name of a file begins with, or None."""
    return max((name for name in names if stem.startswith(f"{name}_")), key=len, default=None)


def read_channels(prediction: Prediction) -> Probabilities:
    """Reads the file of a case, with all its channels.

    Raises:
        InputError: If it cannot be read.
    """
    image = read_image(prediction.file)
    voxels = image.voxels if image.voxels.ndim == 4 else image.voxels[None]
    return _probabilities(voxels, [image], prediction.file)


def read_per_class(prediction: Prediction) -> Probabilities:
    """Reads the files of a case, one per class in their order.

    Raises:
        InputError: If one cannot be read, has channels, or is elsewhere than the first.
    """
    first, *others = prediction.files.values()
    images = [_one_channel(first)]
    for file in others:
        images.append(_one_channel(file))
        _check_alike(file, images[-1], first, images[0])
    return _probabilities(np.stack([image.voxels for image in images]), images, first)


def _probabilities(voxels: Array, images: Sequence[Image], file: Path) -> Probabilities:
    """The voxels of one image or several; the coarsest step is that of all."""
    whole = all(image.whole for image in images)
    step = max((image.step for image in images if image.step is not None), default=None)
    if step is not None:  # a scale may round 0 and 1 beyond themselves, by half a step at most
        nearest = voxels.clip(0, 1)
        voxels = np.where(abs(voxels - nearest) <= step / 2, nearest, voxels)
    return Probabilities(voxels, images[0].affine, file, file, whole=whole, step=step)


def _check_alike(file: Path, image: Image, first_file: Path, first: Image) -> None:
    same = np.allclose(image.affine, first.affine, atol=1e-3)
    if image.shape != first.shape or not same:
        raise InputError(f"{file}: is on another grid than {first_file}; predict the case again")
    if image.voxels.dtype != first.voxels.dtype:
        raise InputError(f"{file}: is stored in another way than {first_file}; save both alike")


def _one_channel(file: Path) -> Image:
    image = read_image(file)
    if image.voxels.ndim != 3:
        raise InputError(f"{file}: has {len(image.voxels)} channels; a file of one class has one")
    return image
