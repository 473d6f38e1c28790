"""A phantom's folder: written complete or not at all, and recognized when asked for again."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import nibabel as nib
import numpy as np
import numpy.typing as npt

from nacl_monai.errors import InputError
from nacl_monai.progress import progress_bar

Array = npt.NDArray[Any]

RECORD = "phantom.json"


class PhantomWriter(Protocol):
    """A function that writes a phantom; returns the folder to name as `dataset_dir`."""

    def __call__(
        self,
        directory: str | os.PathLike[str],
        cases: int = ...,
        seed: int = ...,
        full_size: bool = ...,
    ) -> Path:
        """Writes `cases` labeled cases into `directory`, of the official matrix if `full_size`."""


def write_phantom(
    directory: str | os.PathLike[str],
    write_case: Callable[[Path, int], None],
    numbers: Iterable[int],
    *,
    record: Mapping[str, Any],
    most: int | None = None,
    texts: Mapping[str, str] | None = None,
) -> Path:
    """Fills a folder with cases, unless it holds the same phantom already.

    Args:
        directory: folder to create.
        write_case: writes the files of the case of a number below a folder.
        numbers: numbers of the cases.
        record: what makes the phantom: its `name`, `version`, `cases`, `seed` and other parameters.
        most: greatest number of cases that the official layout has names for.
        texts: text files that describe all cases: name below the folder → content.

    Returns:
        The directory.

    Raises:
        InputError: a parameter is out of range; the directory holds something else, or cannot be
            written.
    """
    name, cases, seed = record["name"], record["cases"], record["seed"]
    if cases < 1:
        raise InputError(f"cases={cases}: a phantom needs at least one case; use cases=1 or more")
    if most is not None and cases > most:
        raise InputError(
            f"cases={cases}: {name} has {most} labeled cases; use cases={most} or fewer"
        )
    if seed < 0:
        raise InputError(f"seed={seed}: seeds are whole numbers from 0; use seed=0")
    directory = Path(directory)
    record = dict(record)
    if holds(directory, record):
        return directory
    with replacing(directory) as root:
        for text_name, text in (texts or {}).items():
            (root / text_name).write_text(text, encoding="utf-8")
        for number in progress_bar(list(numbers), description=f"{name} phantom", unit="case"):
            write_case(root, number)
        write_record(root, record)
    return directory


def write_record(root: Path, record: dict[str, Any]) -> None:
    """Notes what a folder holds, each file included, for `holds`."""
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    text = json.dumps(record | {"files": files}, indent=2) + "\n"
    (root / RECORD).write_text(text, encoding="utf-8")


def holds(directory: Path, record: dict[str, Any]) -> bool:
    """Whether a folder holds the phantom of a record, complete; refuses one with anything else."""
    remedy = "name an empty or new folder, or delete this one"
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory}: is a file; name an empty or new folder")
    if not directory.exists() or not any(directory.iterdir()):
        return False
    try:
        found = dict(json.loads((directory / RECORD).read_text(encoding="utf-8")))
        files = found.pop("files")
    except (OSError, ValueError, TypeError, KeyError):
        raise InputError(f"{directory}: holds files that are not a phantom's; {remedy}") from None
    if found != record:
        raise InputError(f"{directory}: holds another phantom, {found}, not {record}; {remedy}")
    missing = next((file for file in files if not (directory / file).is_file()), None)
    if missing is not None:
        raise InputError(f"{directory}: holds this phantom without its {missing}; {remedy}")
    return True


@contextmanager
def replacing(directory: Path) -> Iterator[Path]:
    """A folder to fill, which takes an absent or empty directory's place if all goes well.

    It is made beside the directory, so that the last step is a rename: an interruption leaves
    nothing that looks like a phantom.
    """
    directory = directory.resolve()
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".phantom-", dir=directory.parent) as beside:
            filling = Path(beside) / directory.name
            filling.mkdir()
            yield filling
            if directory.exists():
                directory.rmdir()
            filling.rename(directory)
    except OSError as error:
        raise InputError(
            f"{directory}: cannot be written ({error.strerror or error}); "
            "name a folder in a place that is writable and has space"
        ) from error


def case_streams(seed: int, number: int) -> list[np.random.Generator]:
    """Random streams of a case's anatomy, scanner and annotator.

    They depend on the seed and the case's number alone, so that a larger phantom begins with the
    smaller one, and a change to one step leaves the others' draws as they are.
    """
    return np.random.default_rng([seed, number]).spawn(3)


def save_nifti(voxels: Array, affine: Array, path: Path) -> None:
    """Writes voxels in scanner coordinates, millimetres; makes the parent folder."""
    image: Any = nib.Nifti1Image(voxels, affine)  # type: ignore[no-untyped-call]
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm", "sec")
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
