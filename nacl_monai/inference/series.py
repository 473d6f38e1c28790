"""A DICOM series as one image: its slices are where their positions say.

MONAI's reader stacks whatever files a folder holds by their instance numbers. These need not follow the
positions, may be missing, and are the same in two series of one folder; a missing slice goes unnoticed.
Here geometry alone decides, and a folder that is not a single, evenly spaced stack is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from monai.utils import optional_import

from .faults import ImageFault

pydicom, has_pydicom = optional_import("pydicom")

#: How far from the even stack a slice may be, as a share of the distance of slices.
UNEVEN = 0.1
_DICOMDIR = "1.2.840.10008.1.3.10"
_ALIKE = ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient")
_NEEDED = ("SeriesInstanceUID", *_ALIKE, "ImagePositionPatient")
_COSINE = 1e-4  # by which the directions of two slices may differ, for rounding


class Series(NamedTuple):
    """The slices of a series in the order of their positions, along row × column.

    Attributes:
        slices: What pydicom reads of each file, without its pixels; ``filename`` is the file.
        affine: From ``(column, row, slice)`` to mm, RAS+.
    """

    slices: list[Any]
    affine: npt.NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows and slices."""
        first = self.slices[0]
        return int(first.Columns), int(first.Rows), len(self.slices)

    @property
    def distance(self) -> float:
        """Between the planes of neighboring slices, in mm."""
        normal = np.cross(self.affine[:3, 0], self.affine[:3, 1])
        return float(abs(self.affine[:3, 2] @ normal) / np.linalg.norm(normal))


def read_series(folder: str | Path) -> Series:
    """Reads where the slices of the series in a folder are. Files of other formats do not count.

    Raises:
        ImageFault: If pydicom is missing, or if the folder holds no series, several, or one that is not
            a stack of gray slices at even distances.
    """
    if not has_pydicom:
        raise ImageFault(
            f"{folder}: needs pydicom to be read as a DICOM series; pip install pydicom"
        )
    slices = _headers(folder)
    _check_one_series(folder, slices)
    for one in slices:
        _check_slice(one)
    _check_alike(folder, slices)
    return _stacked(folder, slices)


def read_voxels(series: Series) -> npt.NDArray[np.float32]:
    """The voxels, ``(column, row, slice)``, in the unit that the files declare, such as HU."""
    planes = [_plane(pydicom.dcmread(one.filename)) for one in series.slices]
    return np.stack(planes, axis=-1)


def _plane(dataset: Any) -> npt.NDArray[np.float32]:
    values: Any = pydicom.pixels.apply_modality_lut(dataset.pixel_array, dataset)
    return values.T.astype(np.float32)  # type: ignore[no-any-return]


def _headers(folder: str | Path) -> list[Any]:
    """The headers of the images in a folder; a DICOMDIR, which lists files, is none."""
    files = [file for file in sorted(Path(folder).iterdir()) if file.is_file()]
    read = [
        pydicom.dcmread(file, stop_before_pixels=True)
        for file in files
        if pydicom.misc.is_dicom(file)
    ]
    return [one for one in read if one.file_meta.get("MediaStorageSOPClassUID") != _DICOMDIR]


def _check_one_series(folder: str | Path, slices: Sequence[Any]) -> None:
    series = {one.get("SeriesInstanceUID") for one in slices} - {None}
    if not slices:
        raise ImageFault(f"{folder}: holds no DICOM image; name the folder of a series")
    if len(series) > 1:
        raise ImageFault(f"{folder}: holds {len(series)} DICOM series; give each its own folder")


def _check_slice(one: Any) -> None:
    if int(one.get("NumberOfFrames") or 1) > 1:
        raise ImageFault(
            f"{one.filename}: holds several frames; convert it to NIfTI, or to a file per slice"
        )
    missing = [name for name in _NEEDED if not one.get(name)]
    if missing:
        raise ImageFault(
            f"{one.filename}: lacks {missing[0]}; leave it out, or export the series again"
        )
    if one.get("SamplesPerPixel", 1) != 1:
        raise ImageFault(f"{one.filename}: holds colors; a slice has one number per pixel")


def _check_alike(folder: str | Path, slices: Sequence[Any]) -> None:
    first, *others = slices
    for name in _ALIKE:
        for other in others:
            if not np.allclose(other[name].value, first[name].value, rtol=_COSINE, atol=_COSINE):
                raise ImageFault(
                    f"{folder}: {_name(other)} has another {name} than {_name(first)}; leave the slices "
                    "of one stack there"
                )


def _stacked(folder: str | Path, slices: list[Any]) -> Series:
    """The slices along row × column, if they are at even distances."""
    if len(slices) == 1:
        raise ImageFault(f"{folder}: is a single slice; name a volume")
    cosines = np.array(slices[0].ImageOrientationPatient, float)
    row, column = cosines[:3], cosines[3:]
    places = np.array([one.ImagePositionPatient for one in slices], float)
    order = np.argsort(places @ np.cross(row, column), kind="stable")
    slices, places = [slices[k] for k in order], places[order]
    step = (places[-1] - places[0]) / (len(places) - 1)
    _check_even(folder, slices, places, step)
    down, across = map(float, slices[0].PixelSpacing)
    affine = np.eye(4)
    affine[:3] = np.column_stack([row * across, column * down, step, places[0]])
    return Series(slices, np.diag([-1.0, -1, 1, 1]) @ affine)


def _check_even(
    folder: str | Path,
    slices: Sequence[Any],
    places: npt.NDArray[np.float64],
    step: npt.NDArray[np.float64],
) -> None:
    """Refuses slices that are elsewhere than step by step from the first to the last."""
    distances = np.linalg.norm(np.diff(places, axis=0), axis=1)
    usual = float(np.median(distances))
    same = int(np.argmin(distances))
    if distances[same] <= UNEVEN * usual:
        raise ImageFault(
            f"{folder}: {_name(slices[same])} and {_name(slices[same + 1])} lie in the same place; "
            "leave one volume there, of one time or contrast"
        )
    off = places - places[0] - step * np.arange(len(places))[:, None]
    if np.linalg.norm(off, axis=1).max() > UNEVEN * usual:
        odd = int(np.argmax(np.abs(distances - usual)))
        raise ImageFault(
            f"{folder}: {_name(slices[odd])} and {_name(slices[odd + 1])} are {distances[odd]:.3g} mm "
            f"apart, other slices {usual:.3g} mm; add what is missing, or resample to even distances"
        )


def _name(one: Any) -> str:
    return Path(one.filename).name
