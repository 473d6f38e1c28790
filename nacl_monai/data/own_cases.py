"""Datasets of one's own → lists of cases: folders of pairs, and files that list them.

As in `nacl_monai.data.layouts`, only names are looked at here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nacl_monai.data.cases import (
    Case,
    ReportFault,
    existing_folder,
    keep_complete,
    make_case,
    names_by_path,
    other_layout,
    paired_names,
    raise_fault,
)
from nacl_monai.errors import InputError
from nacl_monai.files import read_object

PatientOf = Callable[[str], str]
#: Endings of files that can be read.
ENDINGS = (".nii.gz", ".nii", ".mha", ".nrrd")  # inference reads these; importing it takes seconds
# nnU-Net's number of the first channel is not part of a name.
_CHANNEL = re.compile(rf"_0000(?=({'|'.join(map(re.escape, ENDINGS))})$)")


def paired_cases(
    dataset_dir: str | Path | None,
    folders: Sequence[Sequence[str]],
    channels: Sequence[str] = ("",),
    file_ending: str = ".nii.gz",
    patient_of: PatientOf | None = None,
    report_fault: ReportFault = raise_fault,
) -> list[Case]:
    """Cases of pairs of folders: ``IMAGES/NAME[_0000].nii.gz`` and ``LABELS/NAME.nii.gz``.

    Args:
        dataset_dir: The folder in which the others are.
        folders: Pairs of a folder of images and one of labels, such as ``[["imagesTr", "labelsTr"]]``.
        channels: What is between the name and the ending of each channel's file, in their order:
            ``["_0000", "_0001"]``, or ``[""]`` for one file.
        file_ending: The ending of all files.
        patient_of: Gives the patient of a case by its name; None where nobody knows.
        report_fault: See `nacl_monai.data.layouts`.

    Returns:
        The cases in the order of their names. Hidden files name no case.

    Raises:
        InputError: If the folder is missing or has no images, if a file lacks its partner or a channel,
            or if two cases have one name.
    """
    root = existing_folder(dataset_dir)
    cases = []
    for images, labels in folders:
        endings = [f"{channel}{file_ending}" for channel in channels]
        names = paired_names(root / images, endings, root / labels, file_ending)
        if not names:
            raise other_layout(
                root,
                f"as expected, no {images}/*{channels[0]}{file_ending} is there",
                f"the folder that holds {images}/ and {labels}/",
            )
        for name in names:
            files = [root / images / f"{name}{end}" for end in endings]
            cases.append((name, files, root / labels / f"{name}{file_ending}"))
    return _complete(cases, patient_of, report_fault)


def listed_cases(
    dataset_dir: str | Path | None,
    file: str,
    lists: Sequence[str] = ("training",),
    patient_of: PatientOf | None = None,
    report_fault: ReportFault = raise_fault,
) -> list[Case]:
    """Cases that a JSON file lists: the Decathlon's ``dataset.json``, or a datalist of MONAI.

    Its entries are ``{"image": FILE or [FILE of each channel], "label": FILE}``. A case is called by the
    first file of its image, with as many of its folders as make the names distinct.

    Args:
        dataset_dir: The folder to which the files in the lists are relative.
        file: The JSON file, relative to it.
        lists: The lists to read, such as ``["training", "testing"]``.
        patient_of: Gives the patient of a case by its name; None where nobody knows.
        report_fault: See `nacl_monai.data.layouts`.

    Returns:
        The cases in the order of their names.

    Raises:
        InputError: If the folder or the file is missing, if an entry is none, if a file is missing, or
            if two cases have one name.
    """
    root = existing_folder(dataset_dir)
    entries = [entry for name in lists for entry in read_entries(root / file, name)]
    names = entry_names(entries)
    cases = []
    for name, entry in zip(names, entries, strict=True):
        cases.append((name, [root / image for image in files_of(entry)], root / entry["label"]))
    return _complete(cases, patient_of, report_fault)


def read_entries(file: Path, name: str) -> list[dict[str, Any]]:
    """The entries of one of the lists in a file, each with ``image`` and ``label``.

    Raises:
        InputError: If the file is missing or damaged, has no such list, or one with other entries.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file; name the folder that holds it")
    return entries_of(file, read_object(file, "write it again"), name)


def entries_of(file: Path, content: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The entries of one of the lists in the content of a file, as `read_entries` returns them."""
    entries = content.get(name)
    if not (isinstance(entries, list) and entries):
        raise InputError(f"{file}: has no list {name!r} with cases; add it")
    for number, entry in enumerate(entries):
        _check_entry(f"{file}: {name}[{number}]", entry)
    return entries


def _check_entry(where: str, entry: Any) -> None:
    if not (isinstance(entry, dict) and {"image", "label"} <= entry.keys()):
        raise InputError(f"{where} needs an image and a label; add what is missing")
    files = files_of(entry)
    if not files or not all(isinstance(one, str) for one in (*files, entry["label"])):
        raise InputError(f"{where} has something else than the names of files; correct it")
    if len({*files}) < len(files):
        raise InputError(f"{where} has a file of its image twice; correct it")


def files_of(entry: dict[str, Any]) -> list[Any]:
    """The image files of an entry."""
    image = entry["image"]
    return image if isinstance(image, list) else [image]


def entry_names(entries: Iterable[dict[str, Any]]) -> list[str]:
    """What the cases of entries are called.

    Example:
        >>> entry_names([{"image": "./imagesTr/a_1.nii.gz"}, {"image": ["b_0000.nii", "b_0001.nii"]}])
        ['a_1', 'b']
        >>> entry_names([{"image": "p1/t1.nii.gz"}, {"image": "p2/t1.nii.gz"}])
        ['p1_t1', 'p2_t1']
    """
    return names_by_path([_CHANNEL.sub("", files_of(entry)[0]) for entry in entries])


def _complete(
    cases: Iterable[tuple[str, list[Path], Path]],
    patient_of: PatientOf | None,
    report_fault: ReportFault,
) -> list[Case]:
    """The complete cases in the order of their names, of which none is there twice."""
    found: dict[str, Case] = {}
    for name, images, label in sorted(cases, key=lambda case: case[0]):
        if name in found:
            report_fault(
                InputError(
                    f"{label}: its case is called {name}, as that of {found[name]['label']}; rename one"
                )
            )
            continue
        image = images[0] if len(images) == 1 else images
        found[name] = make_case(name, image, label, patient_of and patient_of(name))
    return keep_complete(found.values(), report_fault)
