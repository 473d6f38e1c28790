"""``nacl-monai dicom SERIES MAP``: a map of inference as DICOM, on the slices of its series."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from nacl_monai.audits.names import stem_of
from nacl_monai.cli import write_files
from nacl_monai.data.cases import AFFINE_TOLERANCE, distance
from nacl_monai.errors import InputError
from nacl_monai.output import check_new_file


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    options = vars(_parser().parse_args(argv))
    write = _write_maps if options.pop("kind") == "map" else _write
    return write_files(lambda: write(**options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nacl-monai dicom",
        description="Writes a label map as a BINARY segmentation, or probabilities as a FRACTIONAL one; "
        "or numbers as Parametric Maps.",
    )
    add = parser.add_argument
    folder = "the folder of the series that was segmented"
    add("series", type=Path, metavar="SERIES", help=folder)
    kinds = "NAME_label.nii.gz or NAME_probabilities.nii.gz; as a map NAME_confidence.nii.gz, too"
    add("file", type=Path, metavar="MAP", help=kinds)
    shown = "map: a Parametric Map of each class, or of one other map (default: segmentation)"
    add("--as", dest="kind", choices=["segmentation", "map"], default="segmentation", help=shown)
    beside = "default: MAP with the ending .dcm"
    add("--output", type=Path, metavar="FILE", help=beside)
    names = "those of labels.txt, which inference writes"
    classes = f"of all classes, background first (default: {names})"
    add("--names", nargs="+", metavar="NAME", help=classes)
    apart = f"how far apart series and map may put a voxel (default: {AFFINE_TOLERANCE})"
    limit = AFFINE_TOLERANCE
    add("--affine_tolerance", type=distance, default=limit, metavar="MM", help=apart)
    return parser


def _output(file: Path, output: Path | None) -> Path:
    if find_spec("highdicom") is None:
        raise InputError("highdicom: is not installed; pip install highdicom pydicom")
    return output or file.with_name(f"{stem_of(file)}.dcm")


def _write(
    series: Path,
    file: Path,
    output: Path | None,
    names: Sequence[str] | None,
    affine_tolerance: float,
) -> list[Path]:
    from nacl_monai.dicom.frames import read_frames, read_source

    output = _output(file, output)
    check_new_file(output)
    from nacl_monai.dicom.segmentation import check_names, class_names, write_segmentation

    source = read_source(series)
    classes = names or class_names(file)
    check_names(classes)
    frames = read_frames(file, source, len(classes), affine_tolerance)
    if not frames.any():
        print(
            f"warning: {file}: holds no voxel of a class, so every frame is empty", file=sys.stderr
        )
    write_segmentation(frames, source, classes, output)
    for number, name in enumerate(classes[1:], start=1):
        print(f"segment {number}: {name}, coded as {_code(name)}")
    return [output]


def _write_maps(
    series: Path,
    file: Path,
    output: Path | None,
    names: Sequence[str] | None,
    affine_tolerance: float,
) -> list[Path]:
    from nacl_monai.dicom.frames import read_source, read_values

    output = _output(file, output)
    check_new_file(output)
    from nacl_monai.dicom.segmentation import check_names, class_names, write_map

    if names:
        check_names(names)
    elif stem_of(file).endswith("_probabilities"):
        names = class_names(file)
    source = read_source(series)
    maps = read_values(file, source, names, affine_tolerance)
    files = [output]
    if len(maps) > 1:
        files = [output.with_name(f"{output.stem}_{_as_file(name)}.dcm") for name in maps]
    for path in files:
        check_new_file(path)
    for (name, values), path in zip(maps.items(), files, strict=True):
        write_map(values, source, name, path)
    return files


def _as_file(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)


def _code(name: str) -> str:
    from nacl_monai.dicom.segmentation import property_of

    what = property_of(name)
    code = f"{what.kind.meaning} ({what.kind.scheme_designator} {what.kind.value})"
    return f"{code}, since DICOM lists no such name" if what.generic else code


if __name__ == "__main__":
    sys.exit(main())
