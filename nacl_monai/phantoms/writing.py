"""Writing a phantom's folder: complete or not at all, and recognized when it is asked for again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np

from nacl_monai.errors import InputError
from nacl_monai.files import check_folder
from nacl_monai.inference.promised import Array
from nacl_monai.output import written_folder
from nacl_monai.progress import progress_bar

_RECORD = "phantom.json"
DEFAULT_CASES = 20
_REMEDY = "name an empty or new folder, or delete this one"


class CaseRequest(NamedTuple):
    """Which case to write.

    Anatomy and scan have a random stream each, so that a change to the scan leaves the anatomy as it
    is. The streams depend only on the seed and the case's number, so that a larger phantom begins with
    the smaller one.

    Attributes:
        number: The case's number in the official layout.
        full_size: Whether to write the official matrix instead of a miniature.
        anatomy: Random stream of the anatomy.
        scanner: Random stream of the scan.
    """

    number: int
    full_size: bool
    anatomy: np.random.Generator
    scanner: np.random.Generator


def request_case(seed: int, number: int, full_size: bool = False) -> CaseRequest:
    """Returns the request for a case of the phantom with this seed."""
    anatomy, scanner = np.random.default_rng([seed, number]).spawn(2)
    return CaseRequest(number, full_size, anatomy, scanner)


@dataclass(frozen=True)
class Phantom:
    """The phantom of a dataset: what sets it apart from the others, and how to write it.

    Attributes:
        name: The dataset's name.
        write_case: Writes the files of one case below a folder.
        version: To be raised whenever the files written for a seed change.
        first: Number of the first labeled case.
        most: How many labeled cases the official layout has names for; None if that is unlimited.
        unlabeled: Numbers of the cases without a label.
        texts: Makes the text files that describe all cases, from the number of labeled cases: path
            below the folder → content.
        one_size: Whether a case has the official matrix even without ``full_size``.
    """

    name: str
    write_case: Callable[[Path, CaseRequest], None]
    version: int = 2
    first: int = 0
    most: int | None = None
    unlabeled: range = range(0)
    texts: Callable[[int], Mapping[str, str]] = lambda _: {}
    one_size: bool = False

    @property
    def default_cases(self) -> int:
        """How many labeled cases are written unless a number is given."""
        return DEFAULT_CASES if self.most is None else min(DEFAULT_CASES, self.most)

    def write(
        self,
        directory: str | os.PathLike[str],
        cases: int | None = None,
        seed: int = 0,
        full_size: bool = False,
    ) -> Path:
        """Fills a folder with cases, unless it holds the same phantom already.

        Args:
            directory: The folder to create, which is then named as `dataset_dir`.
            cases: Number of labeled cases; `default_cases` if None. Further cases do not change the
                first ones.
            seed: Decides everything random.
            full_size: Whether to write the official matrix instead of a miniature; no difference if
                the phantom has `one_size`.

        Returns:
            The directory.

        Raises:
            InputError: If a number is out of range, or the directory holds anything else or cannot
                be written.
        """
        cases = self.default_cases if cases is None else cases
        self._check_numbers(cases, seed)
        directory = Path(directory)
        size = {} if self.one_size else {"full_size": full_size}
        record = {"name": self.name, "cases": cases, "seed": seed, **size, "version": self.version}
        if _holds_phantom(directory, record):
            return directory
        with written_folder(directory, "phantom", option="folder", replace=False) as root:
            for name, text in self.texts(cases).items():
                (root / name).write_text(text, encoding="utf-8")
            numbers = [*range(self.first, self.first + cases), *self.unlabeled]
            for number in progress_bar(numbers, description=f"{self.name} phantom", unit="case"):
                self.write_case(root, request_case(seed, number, full_size))
            files = sorted(
                path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()
            )
            text = json.dumps({**record, "files": files}, indent=2) + "\n"
            (root / _RECORD).write_text(text, encoding="utf-8")
        return directory

    def _check_numbers(self, cases: int, seed: int) -> None:
        if cases < 1:
            raise InputError(
                f"cases={cases}: a phantom needs at least one case; use cases=1 or more"
            )
        if self.most is not None and cases > self.most:
            raise InputError(
                f"cases={cases}: {self.name} has {self.most} labeled cases; "
                f"use cases={self.most} or fewer"
            )
        if seed < 0:
            raise InputError(f"seed={seed}: a seed is a whole number from 0; use seed=0")


def _holds_phantom(directory: Path, record: Mapping[str, Any]) -> bool:
    """Tells whether a folder holds the phantom of a record; False if it is empty or missing.

    Raises:
        InputError: If the folder holds anything else, or the phantom lacks a file.
    """
    check_folder(directory, "name an empty or new folder")
    if not directory.exists() or not any(directory.iterdir()):
        return False
    try:
        present = dict(json.loads((directory / _RECORD).read_text(encoding="utf-8")))
        files = present.pop("files")
    except (OSError, ValueError, TypeError, KeyError):
        raise InputError(f"{directory}: holds files that are not a phantom's; {_REMEDY}") from None
    if present != record:
        raise InputError(
            f"{directory}: holds another phantom, {present}, not {dict(record)}; {_REMEDY}"
        )
    missing = [file for file in files if not (directory / file).is_file()]
    if missing:
        raise InputError(f"{directory}: holds this phantom without its {missing[0]}; {_REMEDY}")
    return True


def save_nifti(
    voxels: Array, affine: Array, path: Path, zooms: tuple[float, ...] | None = None
) -> None:
    """Writes voxels in scanner coordinates and millimeters, into a folder that is made if missing.

    Args:
        voxels: The voxels; a fourth axis holds channels or frames.
        affine: Voxel-to-world matrix (RAS+).
        path: The file to write.
        zooms: Size of a voxel along each axis, in millimeters, then seconds; taken from the affine
            if None.
    """
    image: Any = nib.Nifti1Image(voxels, affine)  # type: ignore[no-untyped-call]
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm", "sec")
    if zooms is not None:
        image.header.set_zooms(zooms)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
