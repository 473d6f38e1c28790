"""Official layouts on disk → lists of cases, one short function per layout.

A case names its files as MONAI's transforms expect them (`Case`); splits are made by ``patient``. Only
names are looked at here: files are read and checked when the volumes are cached
(`nacl_monai.data.LoadCase`), or by ``python -m nacl_monai.data check``.

Every function takes ``dataset_dir``, the unpacked download, and ``on_fault``, which is called with the
`InputError` of each missing file; by default it raises the first. With another, such as
``faults.append``, the cases that are complete are returned all the same. A folder that is missing or in
another layout always raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn, TypedDict

from nacl_monai.errors import InputError


class Case(TypedDict):
    """The files of one volume, whose split follows its patient."""

    case: str
    patient: str
    image: str | list[str]  # a file, or one per modality, stacked as channels in this order
    label: str


def refuse(fault: InputError) -> NoReturn:
    """The default ``on_fault``: the first fault ends the search."""
    raise fault


OnFault = Callable[[InputError], object]


def acdc_cases(dataset_dir: str | Path | None, on_fault: OnFault = refuse) -> list[Case]:
    """Cases of ACDC (Bernard et al., 2018): the ED and the ES frame of every training patient.

    Reads ``training/patientXXX/`` with ``Info.cfg`` and ``patientXXX_frameYY[_gt].nii.gz``, below
    ``dataset_dir`` or, as in newer releases, below its ``database/``. The 4-D cine and the
    ``testing/`` folder are ignored.

    Raises:
        InputError: The folder is missing or in another layout, ``Info.cfg`` lacks a frame, or an
            image or label is missing.
    """
    root = _existing_folder(dataset_dir)
    patients = _first_found(root, ["training", "database/training", "."], "patient*")
    if not patients:
        raise InputError(
            f"dataset_dir {root}: not ACDC's layout, training/patientXXX/ is not there; "
            "name the folder that holds training/ (or database/training/)"
        )
    frames = (
        (folder, f"{folder.name}_frame{frame:02d}")
        for folder in patients
        for frame in _acdc_frames(folder / "Info.cfg", on_fault)
    )
    return _complete(
        (
            _case(name, folder / f"{name}.nii.gz", folder / f"{name}_gt.nii.gz", folder.name)
            for folder, name in frames
        ),
        on_fault,
    )


def brats_cases(
    dataset_dir: str | Path | None, modalities: Sequence[str], on_fault: OnFault = refuse
) -> list[Case]:
    """Cases of BraTS 2019 (Menze et al., 2015; Bakas et al., 2017, 2018), one per patient.

    Reads ``{HGG,LGG}/NAME/NAME_{flair,t1,t1ce,t2,seg}.nii.gz``, below ``dataset_dir`` or below its
    ``MICCAI_BraTS_2019_Data_Training/``.

    Args:
        dataset_dir: The unpacked download.
        modalities: Endings of the images to stack as channels, such as ``["flair", "t1"]``.
        on_fault: See the module.

    Raises:
        InputError: The folder is missing or in another layout, or an image or label is missing.
    """
    root = _existing_folder(dataset_dir)
    patients = _first_found(root, [".", "MICCAI_BraTS_2019_Data_Training"], "[HL]GG/*")
    if not patients:
        raise InputError(
            f"dataset_dir {root}: not BraTS's layout, HGG/BraTS19_*/ is not there; "
            "name the folder that holds HGG/ and LGG/"
        )
    return _complete(
        (
            _case(
                folder.name,
                [folder / f"{folder.name}_{modality}.nii.gz" for modality in modalities],
                folder / f"{folder.name}_seg.nii.gz",
            )
            for folder in patients
        ),
        on_fault,
    )


def decathlon_cases(dataset_dir: str | Path | None, on_fault: OnFault = refuse) -> list[Case]:
    """Cases of a Medical Segmentation Decathlon task (Antonelli et al., 2022), one per patient.

    Pairs ``imagesTr/NAME.nii.gz`` with ``labelsTr/NAME.nii.gz`` below ``dataset_dir`` and skips the
    ``._*`` files that macOS leaves beside them.

    Raises:
        InputError: The folder is missing or in another layout, or a file lacks its partner.
    """
    root = _existing_folder(dataset_dir)
    cases = _pairs(root / "imagesTr", ".nii.gz", root / "labelsTr")
    if not cases:
        raise InputError(
            f"dataset_dir {root}: not the Decathlon's layout, no imagesTr/*.nii.gz is there; "
            "name the unpacked task folder (TaskXX_Name)"
        )
    return _complete(cases, on_fault)


def flare_cases(dataset_dir: str | Path | None, on_fault: OnFault = refuse) -> list[Case]:
    """Cases of FLARE 2021 (Ma et al., 2021), one per scan.

    Pairs ``TrainingImg/NAME_0000.nii.gz`` with ``TrainingMask/NAME.nii.gz`` below ``dataset_dir``.

    Raises:
        InputError: The folder is missing or in another layout, or a file lacks its partner.
    """
    root = _existing_folder(dataset_dir)
    cases = _pairs(root / "TrainingImg", "_0000.nii.gz", root / "TrainingMask")
    if not cases:
        raise InputError(
            f"dataset_dir {root}: not FLARE's layout, no TrainingImg/*_0000.nii.gz is there; "
            "name the folder that holds TrainingImg/ and TrainingMask/"
        )
    return _complete(cases, on_fault)


def kits_cases(dataset_dir: str | Path | None, on_fault: OnFault = refuse) -> list[Case]:
    """Cases of KiTS19 (Heller et al., 2019) that have a segmentation, one per patient.

    Reads ``case_XXXXX/{imaging,segmentation}.nii.gz`` below ``dataset_dir`` or its ``data/``. Cases
    without a segmentation (officially 00210 to 00299) are skipped.

    Raises:
        InputError: The folder is missing or in another layout, or a segmentation has no image.
    """
    root = _existing_folder(dataset_dir)
    folders = _first_found(root, ["data", "."], "case_*")
    segmented = [folder for folder in folders if (folder / "segmentation.nii.gz").is_file()]
    if not segmented:
        raise InputError(
            f"dataset_dir {root}: not KiTS19's layout, no data/case_*/segmentation.nii.gz is there; "
            "name the folder that holds data/"
        )
    return _complete(
        (
            _case(folder.name, folder / "imaging.nii.gz", folder / "segmentation.nii.gz")
            for folder in segmented
        ),
        on_fault,
    )


def mrbrains_cases(
    dataset_dir: str | Path | None, modalities: Sequence[str], on_fault: OnFault = refuse
) -> list[Case]:
    """Cases of MRBrainS18 (Kuijf and Bennink), one per subject.

    Reads ``SUBJECT/pre/{reg_T1,reg_IR,FLAIR}.nii.gz`` and ``SUBJECT/segm.nii.gz`` below
    ``dataset_dir`` or its ``training/``.

    Args:
        dataset_dir: The unpacked download.
        modalities: Names of the images to stack as channels, such as ``["reg_T1", "FLAIR"]``.
        on_fault: See the module.

    Raises:
        InputError: The folder is missing or in another layout, or an image or label is missing.
    """
    root = _existing_folder(dataset_dir)
    preprocessed = _first_found(root, ["training", "."], "*/pre")
    if not preprocessed:
        raise InputError(
            f"dataset_dir {root}: not MRBrainS18's layout, training/*/pre/ is not there; "
            "name the folder that holds training/"
        )
    segmented = preprocessed[0].parent.parent.glob("*/segm.nii.gz")
    subjects = {path.parent for path in (*preprocessed, *segmented)}
    return _complete(
        (
            _case(
                subject.name,
                [subject / "pre" / f"{modality}.nii.gz" for modality in modalities],
                subject / "segm.nii.gz",
            )
            for subject in sorted(subjects)
        ),
        on_fault,
    )


def image_files(case: Case) -> list[str]:
    """The files of a case's image, one per modality."""
    return [case["image"]] if isinstance(case["image"], str) else case["image"]


def _existing_folder(dataset_dir: str | Path | None) -> Path:
    if not dataset_dir:
        raise InputError(
            "dataset_dir is not set; name the unpacked dataset: --dataset_dir DIR "
            "(make: DATASET_DIR=DIR)"
        )
    root = Path(dataset_dir)
    if not root.is_dir():
        raise InputError(f"dataset_dir {root}: no such folder; name the unpacked dataset")
    return root


def _first_found(root: Path, places: Sequence[str], pattern: str) -> list[Path]:
    """The folders that match ``pattern`` in the first of ``places`` where any does."""
    for place in places:
        found = sorted(
            path
            for path in (root / place).glob(pattern)
            if path.is_dir() and not path.name.startswith(".")
        )
        if found:
            return found
    return []


def _pairs(images: Path, ending: str, labels: Path) -> list[Case]:
    """A case for each name in a folder of images and one of labels; none if there is no image."""
    names = _names(images, ending)
    if names:
        names |= _names(labels, ".nii.gz")
    return [
        _case(name, images / f"{name}{ending}", labels / f"{name}.nii.gz") for name in sorted(names)
    ]


def _names(folder: Path, ending: str) -> set[str]:
    paths = folder.glob(f"*{ending}")
    return {path.name.removesuffix(ending) for path in paths if not path.name.startswith(".")}


def _acdc_frames(info: Path, on_fault: OnFault) -> Iterator[int]:
    """The frame numbers of end-diastole and end-systole."""
    if not info.is_file():
        on_fault(InputError(f"{info}: missing; unpack the patient's folder again"))
        return
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
    entries = {key.strip(): value for key, _, value in (line.partition(":") for line in lines)}
    try:
        frames = [int(entries[phase]) for phase in ("ED", "ES")]
    except (KeyError, ValueError):
        on_fault(
            InputError(f"{info}: needs the lines 'ED: <frame>' and 'ES: <frame>'; unpack it again")
        )
        return
    yield from frames


def _case(name: str, image: Path | Sequence[Path], label: Path, patient: str | None = None) -> Case:
    return {
        "case": name,
        "patient": name if patient is None else patient,
        "image": str(image) if isinstance(image, Path) else list(map(str, image)),
        "label": str(label),
    }


def _complete(cases: Iterable[Case], on_fault: OnFault) -> list[Case]:
    """The cases whose files are all there; ``on_fault`` hears of each file that is not."""
    complete = []
    for case in cases:
        missing = [file for file in image_files(case) if not Path(file).is_file()]
        for file in missing:
            on_fault(InputError(f"{file}: missing image; unpack the dataset again"))
        if not Path(case["label"]).is_file():
            on_fault(
                InputError(f"{image_files(case)[0]}: has no label; expected it at {case['label']}")
            )
        elif not missing:
            complete.append(case)
    return complete
