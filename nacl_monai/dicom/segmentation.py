"""Maps of a series as DICOM by highdicom: segmentations with names and codes, and Parametric Maps."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from highdicom import UID, AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.content import VOILUTTransformation
from highdicom.pm import ParametricMap, RealWorldValueMapping
from highdicom.seg import Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from nacl_monai import __version__
from nacl_monai.dicom.frames import Frames
from nacl_monai.errors import InputError
from nacl_monai.files import atomic_path
from nacl_monai.inference.images import Series
from nacl_monai.inference.maps import COLORS, ITK_SNAP, names_in
from nacl_monai.predictions.names import stem_of

_PRODUCT = "nacl_monai"
_UTF8 = "ISO_IR 192"
#: How far the new series' numbers are above that of the source.
_LABEL_MAP, _PROBABILITIES, _MAP, _CONTOURS = 1000, 2000, 3000, 4000
_LONGEST = 64  # characters of a segment's label
_FILE_OF_CONTOUR = re.compile(r"(.*)_(outer|inner)_(.+)")
_CONTOUR = re.compile(r", (outer|inner) contour$")
#: DICOM's lists of what can be segmented, and the category that each is of.
_LISTS = {"AnatomicalStructure": 7192, "MorphologicallyAbnormalStructure": 7194}


def write_segmentation(frames: Frames, series: Series, names: Sequence[str], output: Path) -> None:
    """Writes a segmentation with one segment per class but the background.

    Class indices and contours become a BINARY segmentation, from which they are read back as they are.
    Probabilities become a FRACTIONAL one of 255 steps, from which they are read back to 1/510. Frames
    without a voxel are left out, unless all are, since a file needs a frame.

    Args:
        frames: As `nacl_monai.dicom.frames` returns them: class indices, probabilities, or contours.
        series: The series that was segmented; the file belongs to its patient and study.
        names: The names of all classes, or of contours, the background first.
        output: The file.

    Raises:
        InputError: If the series lacks something that a segmentation has to say, or if the file cannot
            be written.
    """
    _write(lambda: _segmentation(frames, series, names), series, output)


def write_map(values: Frames, series: Series, name: str, output: Path) -> None:
    """Writes a Parametric Map, a number for each voxel in float32, as it is read back.

    Args:
        values: ``(slice, row, column)``, such as the probability of a class, or an entropy.
        series: The series that was segmented; the file belongs to its patient and study.
        name: Of what is shown.
        output: The file.

    Raises:
        InputError: If the series lacks something that a map has to say, or if the file cannot be
            written.
    """
    _write(lambda: _map(values, series, name), series, output)


def _write(make: Callable[[], Dataset], series: Series, output: Path) -> None:
    try:
        dataset = make()
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        folder, cause = Path(series.slices[0].filename).parent, str(error).partition("\n")[0]
        raise InputError(
            f"{folder}: cannot be referred to ({cause}); export the series again"
        ) from error
    with atomic_path(output) as temporary:
        dataset.save_as(temporary)


def _said(series: Series, offset: int, kind: str) -> dict[str, Any]:
    """The attributes that files of both kinds share."""
    return {
        "source_images": series.slices,
        "series_instance_uid": UID(),
        "series_number": int(series.slices[0].get("SeriesNumber") or 0) + offset,
        "series_description": f"{_PRODUCT} {kind}",
        "sop_instance_uid": UID(),
        "instance_number": 1,
        "manufacturer": _PRODUCT,
        "manufacturer_model_name": _PRODUCT,
        "software_versions": __version__,
        "device_serial_number": "none",
        "content_description": f"{kind} of {_PRODUCT} {__version__}",
        "specific_character_set": _UTF8,
    }


def _map(values: Frames, series: Series, name: str) -> ParametricMap:
    largest = max(1.0, float(values.max()))
    about: Any = {"lut_label": name[:16], "lut_explanation": name, "unit": codes.UCUM.NoUnits}
    window = VOILUTTransformation(window_center=largest / 2, window_width=largest)
    return ParametricMap(
        pixel_array=values,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[RealWorldValueMapping(**about, value_range=(0.0, largest))],
        voi_lut_transformations=[window],
        content_label="MAP",
        **_said(series, _MAP, name),
    )


def _segmentation(frames: Frames, series: Series, names: Sequence[str]) -> Segmentation:
    is_binary = frames.dtype.kind != "f"
    kind, number = ("label map", _LABEL_MAP) if is_binary else ("probabilities", _PROBABILITIES)
    if is_binary and frames.ndim == 4:
        kind, number = "contours", _CONTOURS
    return Segmentation(
        pixel_array=frames,
        segmentation_type=SegmentationTypeValues("BINARY" if is_binary else "FRACTIONAL"),
        segment_descriptions=[_described(k, name) for k, name in enumerate(names) if k > 0],
        content_label=kind.upper().replace(" ", "_"),
        omit_empty_frames=bool(frames.any()),
        **_said(series, number, kind),
    )


def _described(number: int, name: str) -> SegmentDescription:
    what = property_of(name)
    return SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=what.category,
        segmented_property_type=what.kind,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=_PRODUCT, family=codes.DCM.ArtificialIntelligence, version=__version__
        ),
        display_color=CIELabColor.from_rgb(*COLORS[(number - 1) % len(COLORS)]),
    )


class Property(NamedTuple):
    """The codes of a segment, from pydicom's dictionary.

    Attributes:
        category: Such as anatomical structure.
        kind: Such as liver.
        generic: Whether DICOM's lists have no such name, so that both are tissue.
    """

    category: Any
    kind: Any
    generic: bool


def class_names(file: Path) -> list[str]:
    """The classes of a map, background first, by the nearest ``labels.txt`` beside or above it.

    Raises:
        InputError: If there is none, or if it is not one that inference writes.
    """
    tables = [folder / ITK_SNAP for folder in file.absolute().parents]
    table = next((table for table in tables if table.is_file()), None)
    if table is None:
        raise InputError(
            f"{file}: no {ITK_SNAP} beside it names its classes; name them: --names background …"
        )
    names = names_in(table.read_text(encoding="utf-8", errors="replace"))
    if len(names) < 2 or list(names) != list(range(len(names))):
        raise InputError(
            f"{table}: does not name classes 0, 1, …; name those of {file}: --names background …"
        )
    return list(names.values())


def contour_names(files: Sequence[Path]) -> dict[Path, str]:
    """The segment of each contour of a promise, by its file; without other files.

    Example:
        >>> contour_names([Path("ct_outer_liver.nii.gz")]).values()
        dict_values(['liver, outer contour'])
    """
    matches = {file: _FILE_OF_CONTOUR.fullmatch(stem_of(file)) for file in files}
    return {file: f"{match[3]}, {match[2]} contour" for file, match in matches.items() if match}


def case_of(contour: Path) -> str:
    """The case of a contour, by its file."""
    match = _FILE_OF_CONTOUR.fullmatch(stem_of(contour))
    return match[1] if match else stem_of(contour)


def check_segment_names(names: Sequence[str]) -> None:
    """Checks that every class but the background can be a segment.

    Raises:
        InputError: If there is none, or if DICOM does not take a name.
    """
    if len(names) < 2:
        raise InputError("--names: has no class beside the background; give all, background first")
    for name in names[1:]:
        if not name.strip() or len(name) > _LONGEST or "\\" in name:
            raise InputError(
                f"--names: {name!r} is not a name in DICOM; give at most {_LONGEST} characters, "
                "and no \\"
            )


def property_of(name: str) -> Property:
    r"""What a class is: the code of its name in DICOM's lists of what can be segmented, or tissue.

    A contour is of the same kind as its structure.

    Example:
        >>> property_of("left ventricle").kind.meaning
        'Left ventricle'
        >>> property_of("PZ")[1:]
        (Code(value='85756007', scheme_designator='SCT', meaning='Tissue', scheme_version=None), True)
    """
    plain = re.sub(r"[\W_]", "", _CONTOUR.sub("", name)).lower()
    for category, number in _LISTS.items():
        if plain in (listed := _listed(number)):
            return Property(getattr(codes.SCT, category), listed[plain], False)
    return Property(codes.SCT.Tissue, codes.SCT.Tissue, True)


@cache
def _listed(number: int) -> dict[str, Code]:
    """The codes of a list of DICOM's, by their names in lower case."""
    listed = getattr(codes, f"CID{number}")
    found = ((name.lower(), getattr(listed, name)) for name in reversed(dir(listed)))
    return {name: code for name, code in found if isinstance(code, Code)}
