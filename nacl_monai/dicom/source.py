"""The series that was segmented, as highdicom refers to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nacl_monai.errors import InputError
from nacl_monai.inference.images import ImageFault, Series, read_series

# What every DICOM image has, though it may be empty. Anonymizers drop it.
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
)
_NEEDED = ("StudyInstanceUID", "FrameOfReferenceUID")


def read_source(folder: Path) -> Series:
    """Reads the series in a folder, with all that a segmentation takes from it.

    An attribute that may be empty is empty where it is missing. The distance of slices is that of their
    positions, and replaces a missing thickness.

    Raises:
        InputError: If the folder holds no single, evenly spaced series, or one without a frame of
            reference.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; give the folder of the DICOM series")
    try:
        series = read_series(folder)
    except ImageFault as fault:
        raise InputError(fault.line) from fault
    except (AttributeError, EOFError, OSError, TypeError, ValueError) as error:
        raise InputError(f"{folder}: cannot be read ({error}); export the series again") from error
    for keyword in _NEEDED:
        _check_common(folder, series.slices, keyword)
    for one in series.slices:
        _complete(one, series)
    return series


def _check_common(folder: Path, slices: Sequence[Any], keyword: str) -> None:
    values = {one.get(keyword) or "" for one in slices}
    if values == {""}:
        raise InputError(
            f"{folder}: its slices lack {keyword}, which a segmentation needs; export the series again"
        )
    if len(values) > 1:
        raise InputError(
            f"{folder}: its slices differ in {keyword}; leave those of one acquisition there"
        )


def _complete(one: Any, series: Series) -> None:
    """Fills in what highdicom asks every slice for, or compares between slices to the last digit."""
    for keyword in _MAY_BE_EMPTY:
        one.setdefault(keyword, "")
    if not one.get("SliceThickness"):
        one.SliceThickness = f"{series.distance:.10g}"
    one.SpacingBetweenSlices = f"{series.distance:.10g}"
    one.ImageOrientationPatient = series.slices[0].ImageOrientationPatient
