"""A DICOM segmentation (SEG) of a series, by highdicom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from highdicom import UID, AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import (
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from pydicom.sr.codedict import codes

from nacl_monai import __version__
from nacl_monai.dicom.frames import Frames
from nacl_monai.dicom.names import property_of
from nacl_monai.errors import InputError
from nacl_monai.files import atomic_path
from nacl_monai.inference.images import Series
from nacl_monai.inference.saving import COLORS

_PRODUCT = "nacl_monai"
_UTF8 = "ISO_IR 192"
#: How far the new series' numbers are above that of the source.
_LABEL_MAP, _PROBABILITIES = 1000, 2000


def write_segmentation(frames: Frames, series: Series, names: Sequence[str], output: Path) -> None:
    """Writes a segmentation with one segment per class but the background.

    Class indices become a BINARY segmentation, from which they are read back as they are. Probabilities
    become a FRACTIONAL one of 255 steps, from which they are read back to 1/510. Frames without a voxel
    are left out, unless all are, since a file needs a frame.

    Args:
        frames: As `nacl_monai.dicom.frames.read_frames` returns them.
        series: The series that was segmented; the file belongs to its patient and study.
        names: The names of all classes, the background first.
        output: The file.

    Raises:
        InputError: If the series lacks something that a segmentation has to say, or if the file cannot
            be written.
    """
    try:
        segmentation = _segmentation(frames, series, names)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        folder, cause = Path(series.slices[0].filename).parent, str(error).partition("\n")[0]
        raise InputError(
            f"{folder}: cannot be referred to ({cause}); export the series again"
        ) from error
    with atomic_path(output) as temporary:
        segmentation.save_as(temporary)


def _segmentation(frames: Frames, series: Series, names: Sequence[str]) -> Segmentation:
    is_label_map = frames.ndim == 3
    kind = "label map" if is_label_map else "probabilities"
    number = int(series.slices[0].get("SeriesNumber") or 0)
    return Segmentation(
        source_images=series.slices,
        pixel_array=frames,
        segmentation_type=SegmentationTypeValues.BINARY
        if is_label_map
        else SegmentationTypeValues.FRACTIONAL,
        segment_descriptions=[_described(k, name) for k, name in enumerate(names) if k > 0],
        series_instance_uid=UID(),
        series_number=number + (_LABEL_MAP if is_label_map else _PROBABILITIES),
        series_description=f"{_PRODUCT} {kind}",
        sop_instance_uid=UID(),
        instance_number=1,
        manufacturer=_PRODUCT,
        manufacturer_model_name=_PRODUCT,
        software_versions=__version__,
        device_serial_number="none",
        content_label=kind.upper().replace(" ", "_"),
        content_description=f"{kind} of {_PRODUCT} {__version__}",
        omit_empty_frames=bool(frames.any()),
        specific_character_set=_UTF8,
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
