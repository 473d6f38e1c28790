"""Checking a download before anyone trains on it: ``nacl-monai check acdc DIR``.

What is expected of a dataset is declared in its ``bundles/*/configs/dataset.yaml`` and read from there,
so the same command checks a dataset of one's own. Images are judged by their headers, labels by all of
their voxels. Hence two images with the same voxels go unnoticed, but two identical labels do not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from monai.bundle import ConfigParser

from nacl_monai.bundles import read_dataset
from nacl_monai.data.cases import Case, image_files
from nacl_monai.data.faults import (
    SPATIAL_AXES,
    check_channels,
    check_label_channels,
    check_label_values,
    check_same_grid,
)
from nacl_monai.data.headers import Header
from nacl_monai.data.reading import check_file, readable
from nacl_monai.data.summary import DatasetSummary
from nacl_monai.errors import InputError
from nacl_monai.progress import progress_bar

Faults = list[InputError]
_DECLARED = ("classes", "label_values", "in_channels", "official_cases")


def check_dataset(
    dataset: str,
    dataset_dir: str | Path,
    *,
    bundles: str | Path | None = None,
    subset: bool = False,
) -> DatasetSummary:
    """Reads all headers and labels of a dataset, and compares them with what its bundle expects.

    Args:
        dataset: Name of a dataset in ``bundles``.
        dataset_dir: The unpacked download.
        bundles: Folder of the bundles; that of the working directory or of the package if None.
        subset: Whether fewer cases than the official download has are accepted.

    Returns:
        The numbers of the sound cases, and the faults of the others.

    Raises:
        InputError: If there is no such dataset, or ``dataset_dir`` is missing or in another layout.
    """
    parser = ConfigParser(read_dataset(dataset, bundles))
    parser["dataset_dir"] = str(dataset_dir)
    parser["cases::_mode_"] = "callable"
    summary = DatasetSummary(dataset, **{key: parser.get_parsed_content(key) for key in _DECLARED})
    cases = parser.get_parsed_content("cases")(report_fault=summary.faults.append)
    files_by_content: dict[str, str] = {}
    for case in progress_bar(cases, description=f"Checking {dataset}", unit="case"):
        _check_case(case, summary, files_by_content)
    if not subset:
        _check_number(summary, dataset_dir)
    return summary


def _check_case(case: Case, summary: DatasetSummary, files_by_content: dict[str, str]) -> None:
    """Adds a sound case to the summary, or else its faults."""
    faults: Faults = []
    headers = _read_headers(case, faults)
    images = [file for file in image_files(case) if file in headers]
    if len(images) == len(image_files(case)):
        with _collected(faults):
            check_channels(images, [headers[file].channels for file in images], summary.in_channels)
    if case["label"] in headers:
        with _collected(faults):
            label = _read_label(case["label"])
            voxels = _count_values(case["label"], label, summary.label_values)
            _check_new(case["label"], label, files_by_content)
    summary.faults += faults
    if not faults:
        summary.add(case, headers[case["label"]], voxels)


@contextmanager
def _collected(faults: Faults) -> Iterator[None]:
    try:
        yield
    except InputError as fault:
        faults.append(fault)


def _read_headers(case: Case, faults: Faults) -> dict[str, Header]:
    """The headers of a case's files that can be read; each must describe the grid of the first."""
    headers: dict[str, Header] = {}
    for file in (*image_files(case), case["label"]):
        with _collected(faults):
            headers[file] = Header.read(file)
            check_same_grid(headers[file].grid, next(iter(headers.values())).grid)
    return headers


def _read_label(file: str) -> npt.NDArray[Any]:
    check_file(file)
    with readable(file):  # by nibabel, since SimpleITK fills a truncated file up with zeros
        label: Any = nibabel.load(file)
        voxels = np.asarray(label.dataobj)
    check_label_channels(file, int(np.prod(voxels.shape[SPATIAL_AXES:])))
    return voxels


def _count_values(
    file: str, label: npt.NDArray[Any], label_values: list[list[int]]
) -> dict[float, int]:
    """The number of voxels of each value."""
    values, counts = np.unique(label, return_counts=True)
    check_label_values(file, values.tolist(), label_values)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _check_new(file: str, label: npt.NDArray[Any], files_by_content: dict[str, str]) -> None:
    """Refuses a label map that another file has already shown."""
    content = str(label.shape).encode() + label.astype(np.int16).tobytes()
    first = files_by_content.setdefault(hashlib.sha256(content).hexdigest(), file)
    if first != file:
        raise InputError(f"{file}: is the same label map as {first}; remove one of the cases")


def _check_number(summary: DatasetSummary, dataset_dir: str | Path) -> None:
    if len(summary.units) < summary.official_cases:
        summary.faults.append(
            InputError(
                f"{dataset_dir}: {len(summary.units)} sound cases, but the official download has "
                f"{summary.official_cases}; unpack it again, or accept a part of it with --subset"
            )
        )
