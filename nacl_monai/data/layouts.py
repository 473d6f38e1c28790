"""Layouts on disk → lists of cases: official ones, folders of pairs, and files that list cases.

Only names are looked at here: files are read and checked when their voxels are cached
(`nacl_monai.data.LoadCase`), or by ``nacl-monai check``.

Every function takes ``dataset_dir``, the unpacked download, and ``report_fault``, which is called with
the `InputError` of each missing file. By default the first one is raised; with ``faults.append`` all are
collected, and the complete cases are returned. A folder that is missing or in another layout always
raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nacl_monai.data.cases import (
    LabeledCase,
    ReportFault,
    fault_of_encoding,
    image_files,
    make_case,
    names_by_path,
    one_case_per_patient,
    raise_fault,
    reported,
    split_unit,
)
from nacl_monai.errors import InputError
from nacl_monai.files import read_object

PatientOf = Callable[[str], str]
#: Endings of files that can be read, as inference reads them, which takes seconds to import.
IMAGE_ENDINGS = (".nii.gz", ".nii", ".mha", ".nrrd")
# nnU-Net's number of the first channel is not part of a name.
_CHANNEL = re.compile(rf"_0000(?=({'|'.join(map(re.escape, IMAGE_ENDINGS))})$)")


def acdc_cases(
    dataset_dir: str | Path | None, report_fault: ReportFault = raise_fault
) -> list[LabeledCase]:
    """Cases of ACDC (Bernard et al., 2018): the ED and the ES frame of every training patient.

    Reads ``training/patientXXX/`` with ``Info.cfg`` and ``patientXXX_frameYY[_gt].nii.gz``, below
    ``dataset_dir`` or, as in newer releases, below its ``database/``. The 4-D cine and the
    ``testing/`` folder are ignored.

    Raises:
        InputError: If the folder is missing or in another layout, ``Info.cfg`` lacks a frame or names
            one twice, or an image or label is missing.
    """
    patients = _folders(
        dataset_dir,
        ["training", "database/training", "."],
        "patient*",
        "ACDC's layout, training/patientXXX/ is not there",
        "the folder that holds training/ (or database/training/)",
    )
    cases = []
    for folder in patients:
        with reported(report_fault):
            for frame in _read_frames(folder / "Info.cfg"):
                name = folder / f"{folder.name}_frame{frame:02d}"
                image, label = (name.with_name(f"{name.name}{end}.nii.gz") for end in ("", "_gt"))
                cases.append(make_case(name.name, image, label, folder.name))
    return keep_complete(cases, report_fault)


def brats_cases(
    dataset_dir: str | Path | None,
    modalities: Sequence[str],
    report_fault: ReportFault = raise_fault,
) -> list[LabeledCase]:
    """Cases of BraTS 2019 (Menze et al., 2015; Bakas et al., 2017, 2018), one per patient.

    Reads ``{HGG,LGG}/NAME/NAME_{flair,t1,t1ce,t2,seg}.nii.gz``, below ``dataset_dir`` or below its
    ``MICCAI_BraTS_2019_Data_Training/``.

    Args:
        dataset_dir: The unpacked download.
        modalities: Endings of the images to stack as channels, such as ``["flair", "t1"]``.
        report_fault: See the module.

    Raises:
        InputError: If the folder is missing or in another layout, or an image or label is missing.
    """
    patients = _folders(
        dataset_dir,
        [".", "MICCAI_BraTS_2019_Data_Training"],
        "[HL]GG/*",
        "BraTS's layout, HGG/BraTS19_*/ is not there",
        "the folder that holds HGG/ and LGG/",
    )
    return _one_each(patients, [f"*_{name}" for name in modalities], "*_seg", report_fault)


def decathlon_cases(
    dataset_dir: str | Path | None,
    report_fault: ReportFault = raise_fault,
    patient_of: PatientOf | None = None,
) -> list[LabeledCase]:
    """Cases of a Medical Segmentation Decathlon task (Antonelli et al., 2022).

    Pairs ``imagesTr/NAME.nii.gz`` with ``labelsTr/NAME.nii.gz`` below ``dataset_dir`` and skips the
    ``._*`` files that macOS leaves beside them.

    Args:
        dataset_dir: The unpacked task.
        report_fault: See the module.
        patient_of: Gives the patient of a case by its name, such as `one_case_per_patient` or
            `hippocampus_patient`; None where nobody knows which cases are of one person.

    Raises:
        InputError: If the folder is missing or in another layout, or a file lacks its partner.
    """
    folders, layout = [["imagesTr", "labelsTr"]], "the Decathlon's layout"
    return paired_cases(
        dataset_dir, folders, patient_of=patient_of, report_fault=report_fault, layout=layout
    )


def flare_cases(
    dataset_dir: str | Path | None, report_fault: ReportFault = raise_fault
) -> list[LabeledCase]:
    """Cases of FLARE 2021 (Ma et al., 2021), one per patient.

    Pairs ``TrainingImg/NAME_0000.nii.gz`` with ``TrainingMask/NAME.nii.gz`` below ``dataset_dir``.

    Raises:
        InputError: If the folder is missing or in another layout, or a file lacks its partner.
    """
    return paired_cases(
        dataset_dir,
        [["TrainingImg", "TrainingMask"]],
        ["_0000"],
        patient_of=one_case_per_patient,
        report_fault=report_fault,
        layout="FLARE's layout",
    )


def kits_cases(
    dataset_dir: str | Path | None, report_fault: ReportFault = raise_fault
) -> list[LabeledCase]:
    """Cases of KiTS19 (Heller et al., 2019) that have a segmentation, one per patient.

    Reads ``case_XXXXX/{imaging,segmentation}.nii.gz`` below ``dataset_dir`` or its ``data/``. Cases
    without a segmentation (officially 00210 to 00299) are skipped.

    Raises:
        InputError: If the folder is missing or in another layout, or a segmentation has no image.
    """
    segmented = _folders(
        dataset_dir,
        ["data", "."],
        "case_*",
        "KiTS19's layout, no data/case_*/segmentation.nii.gz is there",
        "the folder that holds data/",
        holding="segmentation.nii.gz",
    )
    return _one_each(segmented, ["imaging"], "segmentation", report_fault)


def mrbrains_cases(
    dataset_dir: str | Path | None,
    modalities: Sequence[str],
    report_fault: ReportFault = raise_fault,
) -> list[LabeledCase]:
    """Cases of MRBrainS18 (Kuijf and Bennink), one per patient.

    Reads ``PATIENT/pre/{reg_T1,reg_IR,FLAIR}.nii.gz`` and ``PATIENT/segm.nii.gz`` below
    ``dataset_dir`` or its ``training/``.

    Args:
        dataset_dir: The unpacked download.
        modalities: Names of the images to stack as channels, such as ``["reg_T1", "FLAIR"]``.
        report_fault: See the module.

    Raises:
        InputError: If the folder is missing or in another layout, or an image or label is missing.
    """
    preprocessed = _folders(
        dataset_dir,
        ["training", "."],
        "*/pre",
        "MRBrainS18's layout, training/*/pre/ is not there",
        "the folder that holds training/",
    )
    segmented = preprocessed[0].parent.parent.glob("*/segm.nii.gz")
    patients = sorted({path.parent for path in (*preprocessed, *segmented)})
    return _one_each(patients, [f"pre/{name}" for name in modalities], "segm", report_fault)


def _read_frames(info: Path) -> list[int]:
    """The frame numbers of end-diastole and end-systole in ACDC."""
    if not info.is_file():
        raise InputError(f"{info}: missing; unpack the patient's folder again")
    lines = info.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    entries = {key.strip(): value for key, _, value in (line.partition(":") for line in lines)}
    try:
        frames = [int(entries[phase]) for phase in ("ED", "ES")]
    except (KeyError, ValueError):
        raise InputError(
            f"{info}: needs the lines 'ED: <frame>' and 'ES: <frame>'; unpack it again"
        ) from None
    if frames[0] == frames[1]:
        raise InputError(
            f"{info}: ED and ES are both frame {frames[0]}; correct it, or remove the patient"
        )
    return frames


def _folders(
    dataset_dir: str | Path | None,
    places: Sequence[str],
    pattern: str,
    layout: str,
    remedy: str,
    holding: str = ".",
) -> list[Path]:
    """The folders that match in the first of ``places`` where any does, if they hold a file.

    Hidden folders match nothing.

    Raises:
        InputError: If there is no such file.
    """
    root = existing_folder(dataset_dir)
    matches = ([path for path in (root / place).glob(pattern) if path.is_dir()] for place in places)
    shown = ([path for path in paths if not path.name.startswith(".")] for paths in matches)
    folders = [path for path in next(filter(None, shown), []) if (path / holding).exists()]
    if not folders:
        raise InputError(f"dataset_dir {root}: not {layout}; name {remedy}")
    return sorted(folders)


def _one_each(
    folders: Iterable[Path], images: Sequence[str], label: str, report_fault: ReportFault
) -> list[LabeledCase]:
    """The case of each folder; ``*`` in the names of its files is the folder's own name."""

    def case_of(folder: Path) -> LabeledCase:
        *channels, labels = (
            folder / f"{name.replace('*', folder.name)}.nii.gz" for name in (*images, label)
        )
        image = channels if len(channels) > 1 else channels[0]
        return make_case(folder.name, image, labels, folder.name)

    return keep_complete(map(case_of, folders), report_fault)


def existing_folder(dataset_dir: str | Path | None) -> Path:
    """Returns the folder of a dataset.

    Raises:
        InputError: If it is not set, or is not there.
    """
    if not dataset_dir:
        raise InputError(
            "dataset_dir is not set; name the unpacked dataset: --dataset_dir DIR "
            "(make: DATASET_DIR=DIR)"
        )
    root = Path(dataset_dir)
    if not root.is_dir():
        raise InputError(f"dataset_dir {root}: no such folder; name the unpacked dataset")
    return root


def keep_complete(cases: Iterable[LabeledCase], report_fault: ReportFault) -> list[LabeledCase]:
    """The cases whose files are all there, under names that can be written; others are reported."""
    complete = []
    for case in cases:
        faults = [*_faults_of_files(case)]
        for fault in faults:
            report_fault(fault)
        if not faults:
            complete.append(case)
    return complete


def _faults_of_files(case: LabeledCase) -> Iterator[InputError]:
    """The fault of a case's files, whatever they hold."""
    images = image_files(case)
    misnamed = fault_of_encoding("".join([*images, case["label"], split_unit(case)]), images[0])
    if misnamed is not None:
        yield misnamed
        return
    for file in images:
        if not Path(file).is_file():
            yield InputError(f"{file}: missing image; unpack the dataset again")
    if not Path(case["label"]).is_file():
        yield InputError(f"{images[0]}: has no label; expected it at {case['label']}")


def paired_cases(
    dataset_dir: str | Path | None,
    folders: Sequence[Sequence[str]],
    channels: Sequence[str] = ("",),
    file_ending: str = ".nii.gz",
    patient_of: PatientOf | None = None,
    report_fault: ReportFault = raise_fault,
    layout: str = "as expected",
) -> list[LabeledCase]:
    """Cases of pairs of folders: ``IMAGES/NAME[_0000].nii.gz`` and ``LABELS/NAME.nii.gz``.

    Args:
        dataset_dir: The folder in which the others are.
        folders: Pairs of a folder of images and one of labels, such as ``[["imagesTr", "labelsTr"]]``.
        channels: What is between the name and the ending of each channel's file, in their order:
            ``["_0000", "_0001"]``, or ``[""]`` for one file.
        file_ending: The ending of all files.
        patient_of: Gives the patient of a case by its name; None if unknown.
        report_fault: See the module.
        layout: What a message calls it.

    Returns:
        The cases in the order of their names. Hidden files name no case.

    Raises:
        InputError: If the folder is missing or has no images, if a file lacks its partner or a channel,
            or if two cases have one name.
    """
    root = existing_folder(dataset_dir)
    endings = [f"{channel}{file_ending}" for channel in channels]
    cases = []
    for images, labels in folders:
        names = paired_names(root / images, endings, root / labels, file_ending)
        if not names:
            raise InputError(
                f"dataset_dir {root}: not {layout}, no {images}/*{endings[0]} is there; name the folder "
                f"that holds {images}/ and {labels}/"
            )
        for name in names:
            files = [root / images / f"{name}{end}" for end in endings]
            cases.append((name, files, root / labels / f"{name}{file_ending}"))
    return _complete(cases, patient_of, report_fault)


def paired_names(images: Path, endings: Sequence[str], labels: Path, ending: str) -> set[str]:
    """The names of cases in a folder of images or one of labels; none if there is no image.

    Args:
        images: Folder of the files ``NAME`` + one of ``endings``, such as one per channel.
        endings: What the names of images end with.
        labels: Folder of the files ``NAME`` + ``ending``.
        ending: What the names of labels end with.
    """
    names = set().union(*(names_ending(images, end) for end in endings))
    return names | names_ending(labels, ending) if names else names


def names_ending(folder: Path, ending: str) -> set[str]:
    """The names of the files that end so, without the ending; none of hidden ones."""
    paths = folder.glob(f"*{ending}")
    return {path.name.removesuffix(ending) for path in paths if not path.name.startswith(".")}


def listed_cases(
    dataset_dir: str | Path | None,
    file: str,
    lists: Sequence[str] = ("training",),
    patient_of: PatientOf | None = None,
    report_fault: ReportFault = raise_fault,
) -> list[LabeledCase]:
    """Cases that a JSON file lists: the Decathlon's ``dataset.json``, or a datalist of MONAI.

    Its entries are ``{"image": FILE or [FILE of each channel], "label": FILE}``. A case is called by the
    first file of its image, with as many of its folders as make the names distinct.

    Args:
        dataset_dir: The folder to which the files in the lists are relative.
        file: The JSON file, relative to it.
        lists: The lists to read, such as ``["training", "testing"]``.
        patient_of: Gives the patient of a case by its name; None if unknown.
        report_fault: See the module.

    Returns:
        The cases in the order of their names.

    Raises:
        InputError: If the folder or the file is missing, if an entry is none, if a file is missing, or
            if two cases have one name.
    """
    root = existing_folder(dataset_dir)
    where = root / file
    if not where.is_file():
        raise InputError(f"{where}: no such file; name the folder that holds it")
    content = read_object(where, "write it again")
    entries = [entry for name in lists for entry in entries_of(where, content, name)]
    cases = [
        (name, [root / image for image in files_of(entry)], root / entry["label"])
        for name, entry in zip(entry_names(entries), entries, strict=True)
    ]
    return _complete(cases, patient_of, report_fault)


def entries_of(file: Path, content: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The entries of one of the lists in the content of a file, each with ``image`` and ``label``.

    Raises:
        InputError: If there is no such list, or one with other entries.
    """
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
    if not files or not all(isinstance(file, str) for file in (*files, entry["label"])):
        raise InputError(f"{where} has something else than the names of files; correct it")
    if len({*files}) < len(files):
        raise InputError(f"{where} has a file of its image twice; correct it")


def files_of(entry: dict[str, Any]) -> list[Any]:
    """The image files of an entry."""
    image = entry["image"]
    return image if isinstance(image, list) else [image]


def entry_names(entries: Iterable[dict[str, Any]]) -> list[str]:
    """The names of the cases of entries.

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
) -> list[LabeledCase]:
    """The complete cases in the order of their names, of which none is there twice."""
    found: dict[str, LabeledCase] = {}
    for name, images, label in sorted(cases, key=lambda case: case[0]):
        if name in found:
            whose = f"as that of {found[name]['label']}"
            report_fault(InputError(f"{label}: its case is called {name}, {whose}; rename one"))
            continue
        image = images[0] if len(images) == 1 else images
        found[name] = make_case(name, image, label, patient_of and patient_of(name))
    return keep_complete(found.values(), report_fault)
