"""``nacl-monai dicom SERIES MAP``: maps and contours as DICOM, on the slices of their series."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from nacl_monai.cli import Parser, write_files
from nacl_monai.data.cases import AFFINE_TOLERANCE, distance
from nacl_monai.errors import InputError, SettingError, print_line
from nacl_monai.files import check_apart
from nacl_monai.output import check_new_file
from nacl_monai.predictions.names import stem_of

if TYPE_CHECKING:
    from nacl_monai.inference.images import Series


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    options = _parser().parse_args(argv)
    return write_files(lambda: _write(options))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="nacl-monai dicom",
        description="Writes a label map as a BINARY segmentation, or probabilities as a FRACTIONAL one; "
        "numbers as Parametric Maps; or the contours of a promise as one BINARY segmentation.",
    )
    add = parser.add_argument
    folder = "the folder of the series that was segmented"
    add("series", type=Path, metavar="SERIES", help=folder)
    kinds = (
        "NAME_label.nii.gz or NAME_probabilities.nii.gz; as a map NAME_confidence.nii.gz, too; or all "
        "of NAME_outer_*.nii.gz NAME_inner_*.nii.gz"
    )
    add("files", nargs="+", type=Path, metavar="MAP", help=kinds)
    shown = "map: a Parametric Map of each class, or of one other map (default: segmentation)"
    add("--as", dest="kind", choices=["segmentation", "map"], default="segmentation", help=shown)
    beside = "default: MAP with the ending .dcm, of contours NAME_contours.dcm"
    add("--output", type=Path, metavar="FILE", help=beside)
    names = "those of labels.txt, which inference writes"
    classes = f"of all classes, background first (default: {names})"
    add("--names", nargs="+", metavar="NAME", help=classes)
    apart = f"how far apart series and map may put a voxel (default: {AFFINE_TOLERANCE})"
    add("--affine_tolerance", type=distance, default=AFFINE_TOLERANCE, metavar="MM", help=apart)
    return parser


def _write(options: argparse.Namespace) -> list[Path]:
    if find_spec("highdicom") is None:
        raise InputError("highdicom: is not installed; pip install highdicom pydicom")
    from nacl_monai.dicom.frames import read_source
    from nacl_monai.dicom.segmentation import case_of, contour_names

    file = options.files[0]
    contours = contour_names(options.files) if options.names is None else {}
    stem = f"{case_of(file)}_contours" if contours else stem_of(file)
    output = options.output or file.with_name(f"{stem}.dcm")
    check_new_file(output)
    for other in options.files[1:]:
        if not {file, other} <= contours.keys() or case_of(other) != case_of(file):
            raise SettingError(
                f"MAP: {other} is too much; give one map, or the contours of one case, as "
                "NAME_outer_STRUCTURE.nii.gz"
            )
    source = read_source(options.series)
    if contours or options.kind == "segmentation":
        return _write_segments(options, source, contours, output)
    return _write_maps(options, source, output)


def _write_maps(options: argparse.Namespace, source: Series, output: Path) -> list[Path]:
    """Numbers as a Parametric Map, or as one of each class."""
    from nacl_monai.dicom.frames import read_values
    from nacl_monai.dicom.segmentation import check_segment_names, class_names, write_map

    file, names = options.files[0], options.names
    if stem_of(file).endswith("_probabilities"):
        names = names or class_names(file)
    if names:
        check_segment_names(names)
    maps = read_values(file, source, names, options.affine_tolerance)
    files = [output]
    if len(maps) > 1:
        names = [re.sub(r"[^\w.-]", "_", name) for name in maps]
        check_apart(file, names)
        files = [output.with_name(f"{output.stem}_{name}.dcm") for name in names]
    for path in files:
        check_new_file(path)
    for (name, values), path in zip(maps.items(), files, strict=True):
        write_map(values, source, name, path)
    return files


def _write_segments(
    options: argparse.Namespace, source: Series, contours: Mapping[Path, str], output: Path
) -> list[Path]:
    """A label map, probabilities, or contours, as one segmentation."""
    from nacl_monai.dicom import segmentation
    from nacl_monai.dicom.frames import read_contours, read_frames

    file, apart = options.files[0], options.affine_tolerance
    names = ["", *contours.values()] if contours else options.names
    names = names or segmentation.class_names(file)
    segmentation.check_segment_names(names)
    if contours:
        frames = read_contours(options.files, source, apart)
    else:
        frames = read_frames(file, source, len(names), apart)
    if not frames.any():
        empty = "holds no voxel of a class, so every frame is empty"
        print_line("warning", f"{file}: {empty}")
    segmentation.write_segmentation(frames, source, names, output)
    for number, name in enumerate(names[1:], start=1):
        what = segmentation.property_of(name)
        code = f"{what.kind.meaning} ({what.kind.scheme_designator} {what.kind.value})"
        unlisted = ", since DICOM lists no such name" * what.generic
        print(f"segment {number}: {name}, coded as {code}{unlisted}")
    return [output]


if __name__ == "__main__":
    sys.exit(main())
