"""Segmentation of new images: find them, read and check them, save four maps of each on its own grid.

This module imports torch, MONAI and the standard library alone: every exported bundle carries a copy of
it as ``scripts/inference.py``, so that inference needs nothing else. Whatever a user can put right ends
the process with one line, ``error: WHERE: what is wrong; what to do``, and exit code 1.
"""

from __future__ import annotations

import glob
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from monai.transforms import LoadImage, SaveImage, Transform

Case = dict[str, list[str]]


def find_cases(images: str | None, modalities: Sequence[str]) -> list[Case]:
    """Finds the files of every case.

    Args:
        images: A file, a folder, or a glob pattern of either. A folder holds images, one case with a
            file per modality, or one DICOM series.
        modalities: What the names of a case's files end with before ``.nii``, in the order of the
            network's channels. A file of the first modality stands for all files of its case.

    Returns:
        ``[{"image": [file of each modality]}, …]``; a DICOM series is its folder.

    Raises:
        SystemExit: If ``images`` is not set, if nothing is there, or if a file of a modality is missing.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> for name in ("p1_flair", "p1_t1"):
        ...     (folder / f"{name}.nii.gz").touch()
        >>> [Path(file).name for file in find_cases(str(folder), ["flair", "t1"])[0]["image"]]
        ['p1_flair.nii.gz', 'p1_t1.nii.gz']
    """
    if not images:
        _refuse("images: not set; name a file, a folder or a pattern: --images IMAGE.nii.gz")
    # glob, unlike Path.glob, takes absolute patterns, and leaves hidden files out.
    paths = [images] if Path(images).exists() else sorted(glob.glob(images))  # noqa: PTH207
    files = [file for path in paths for file in _files_at(path, modalities[0])]
    if not files:
        _refuse(f"{images}: no image found there; name a file, a folder of images or a pattern")
    cases: list[Case] = [{"image": _modality_files(file, modalities)} for file in files]
    for file in (file for case in cases for file in case["image"]):
        if not Path(file).exists():
            _refuse(f"{file}: missing; a case needs one file per modality")
    return cases


def check_model(checkpoint: str | Path) -> None:
    """Checks that there are weights.

    Raises:
        SystemExit: If ``checkpoint`` is not a file.
    """
    if not Path(checkpoint).is_file():
        _refuse(f"{checkpoint}: no trained model there; train first, or name another: --checkpoint")


class ReadImage(Transform):
    """Reads the files of a case as one image, channels first.

    Args:
        in_channels: Channels that the network takes.

    Raises:
        SystemExit: If a file cannot be read, if the files of a case do not fit together, or if the image
            is not 3-D, has other channels than the network takes, or holds NaN or infinite voxels.
    """

    def __init__(self, in_channels: int) -> None:
        self.in_channels = in_channels
        self.load: Callable[[list[str]], Any] = LoadImage(ensure_channel_first=True)

    def __call__(self, case: Mapping[str, Any]) -> dict[str, Any]:
        """The case with its image, ``(C, H, W, D)``, in place of the files."""
        files = case["image"]
        try:
            image = self.load(files)
        except Exception as error:  # noqa: BLE001 - readers raise many kinds of error
            cause = str(error).partition("\n")[0]
            _refuse(f"{' and '.join(files)}: cannot be read ({cause}); replace it, or leave it out")
        _check_image(image, self.in_channels)
        # Channels are the first axis by now. Told where they were in the file, MONAI would take an axis
        # of space for them when it saves a map with a single channel.
        image.meta["original_channel_dim"] = "no_channel"
        return {**case, "image": image}


class SaveMaps(Transform):
    """Saves what follows from the probabilities under ``pred``: one NIfTI file per map.

    ``NAME_label`` and ``NAME_probabilities``, ``NAME_confidence`` and ``NAME_entropy``, see
    `label_map`, `confidence_map` and `entropy_map`. Images in several folders keep these folders below
    ``output_dir``, so that equal names stay apart.

    Args:
        output_dir: Folder of the files; made if missing.
        cases: All cases, as `find_cases` returns them.
    """

    def __init__(
        self, output_dir: str | Path, cases: Sequence[Mapping[str, Sequence[str]]]
    ) -> None:
        options: dict[str, Any] = {
            "output_dir": output_dir,
            "data_root_dir": _common_folder(cases),
            "output_name_formatter": _output_name,
            "separate_folder": False,
            "resample": False,
        }
        self.save: dict[str, Callable[[Any], Any]] = {
            name: SaveImage(
                **options,
                output_postfix=name,
                output_dtype="uint8" if name == "label" else "float32",
                print_log=name == "entropy",  # the last map: one line per case
            )
            for name in _MAPS
        }

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Saves the maps of one case."""
        for name, function in _MAPS.items():
            self.save[name](function(data["pred"]))
        return data


def label_map(probs: torch.Tensor) -> torch.Tensor:
    """The most probable class of every voxel, ``(1, *spatial)``, of ``probs`` ``(C, *spatial)``."""
    return probs.argmax(dim=0, keepdim=True)


def confidence_map(probs: torch.Tensor) -> torch.Tensor:
    """The largest probability, from 1/C to 1."""
    return probs.amax(dim=0, keepdim=True)


def entropy_map(probs: torch.Tensor) -> torch.Tensor:
    """The entropy −Σ p ln p / ln C, from 0, certain, to 1, all classes alike.

    Example:
        >>> entropy_map(torch.tensor([[0.5, 1.0], [0.5, 0.0]]))
        tensor([[1., 0.]])
    """
    entropy: torch.Tensor = torch.special.entr(probs).sum(dim=0, keepdim=True)
    return (entropy / math.log(len(probs))).clamp(max=1)


_MAPS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "probabilities": lambda probs: probs,
    "label": label_map,
    "confidence": confidence_map,
    "entropy": entropy_map,
}


def _refuse(line: str) -> NoReturn:
    sys.exit(f"error: {line}")


def _files_at(path: str, first_modality: str) -> list[str]:
    """One file per case at ``path``; the folder itself, if it holds a DICOM series."""
    folder = Path(path)
    if not folder.is_dir():
        return [path]
    pattern = f"*{glob.escape(_ending(first_modality))}*"
    images = sorted(glob.glob(str(Path(glob.escape(path)) / pattern)))  # noqa: PTH207
    series = [path] if any(entry.is_file() for entry in folder.iterdir()) else []
    return images or series


def _ending(modality: str) -> str:
    return f"{modality}.nii"


def _modality_files(file: str, modalities: Sequence[str]) -> list[str]:
    """The files beside ``file`` of all modalities, if it is one of the first."""
    first = _ending(modalities[0])
    if first not in Path(file).name:
        return [file]
    before, _, after = file.rpartition(first)
    return [f"{before}{_ending(modality)}{after}" for modality in modalities]


def _check_image(image: Any, in_channels: int) -> None:
    file = image.meta["filename_or_obj"]
    if image.ndim != 4:
        _refuse(f"{file}: is not 3-D; name a volume")
    if len(image) != in_channels:
        _refuse(
            f"{file}: has {len(image)} channels; the network takes {in_channels}; name an image like "
            "those of its training"
        )
    if not image.isfinite().all():
        _refuse(f"{file}: holds NaN or infinite voxels; repair it, or leave it out")


def _common_folder(cases: Sequence[Mapping[str, Sequence[str]]]) -> str:
    return os.path.commonpath([Path(case["image"][0]).absolute().parent for case in cases])


def _output_name(meta: Mapping[str, Any], _: Any) -> dict[str, Any]:
    """The name from which MONAI strips what follows the last dot, to append a map's name.

    That belongs to the name of a series' folder, ``1.2.840.113``.
    """
    path = meta["filename_or_obj"]
    return {"subject": f"{path}.dcm" if Path(path).is_dir() else path, "idx": None}
