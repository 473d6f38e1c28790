"""Official layouts on disk → lists of cases, one short function per layout.

Only names are looked at here: files are read and checked when their voxels are cached
(`nacl_monai.data.LoadCase`), or by ``nacl-monai check``.

Every function takes ``dataset_dir``, the unpacked download, and ``report_fault``, which is called with
the `InputError` of each missing file. By default the first one is raised; with ``faults.append`` all are
collected, and the complete cases are returned. A folder that is missing or in another layout always
raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nacl_monai.data.cases import (
    Case,
    ReportFault,
    existing_folder,
    folders_in_first,
    keep_complete,
    make_case,
    other_layout,
    pair_by_name,
    raise_fault,
    reported,
)
from nacl_monai.data.patients import one_case_per_patient
from nacl_monai.errors import InputError


def acdc_cases(
    dataset_dir: str | Path | None, report_fault: ReportFault = raise_fault
) -> list[Case]:
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
    frames = (
        (folder, f"{folder.name}_frame{frame:02d}")
        for folder in patients
        for frame in _acdc_frames(folder / "Info.cfg", report_fault)
    )
    return keep_complete(
        (
            make_case(name, folder / f"{name}.nii.gz", folder / f"{name}_gt.nii.gz", folder.name)
            for folder, name in frames
        ),
        report_fault,
    )


def brats_cases(
    dataset_dir: str | Path | None,
    modalities: Sequence[str],
    report_fault: ReportFault = raise_fault,
) -> list[Case]:
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
    return keep_complete(
        (
            make_case(
                folder.name,
                [folder / f"{folder.name}_{modality}.nii.gz" for modality in modalities],
                folder / f"{folder.name}_seg.nii.gz",
                folder.name,
            )
            for folder in patients
        ),
        report_fault,
    )


def decathlon_cases(
    dataset_dir: str | Path | None,
    report_fault: ReportFault = raise_fault,
    patient_of: Callable[[str], str] | None = None,
) -> list[Case]:
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
    root = existing_folder(dataset_dir)
    cases = pair_by_name(root / "imagesTr", ".nii.gz", root / "labelsTr", patient_of)
    if not cases:
        raise other_layout(
            root,
            "the Decathlon's layout, no imagesTr/*.nii.gz is there",
            "the unpacked task folder (TaskXX_Name)",
        )
    return keep_complete(cases, report_fault)


def flare_cases(
    dataset_dir: str | Path | None, report_fault: ReportFault = raise_fault
) -> list[Case]:
    """Cases of FLARE 2021 (Ma et al., 2021), one per patient.

    Pairs ``TrainingImg/NAME_0000.nii.gz`` with ``TrainingMask/NAME.nii.gz`` below ``dataset_dir``.

    Raises:
        InputError: If the folder is missing or in another layout, or a file lacks its partner.
    """
    root = existing_folder(dataset_dir)
    cases = pair_by_name(
        root / "TrainingImg", "_0000.nii.gz", root / "TrainingMask", one_case_per_patient
    )
    if not cases:
        raise other_layout(
            root,
            "FLARE's layout, no TrainingImg/*_0000.nii.gz is there",
            "the folder that holds TrainingImg/ and TrainingMask/",
        )
    return keep_complete(cases, report_fault)


def kits_cases(
    dataset_dir: str | Path | None, report_fault: ReportFault = raise_fault
) -> list[Case]:
    """Cases of KiTS19 (Heller et al., 2019) that have a segmentation, one per patient.

    Reads ``case_XXXXX/{imaging,segmentation}.nii.gz`` below ``dataset_dir`` or its ``data/``. Cases
    without a segmentation (officially 00210 to 00299) are skipped.

    Raises:
        InputError: If the folder is missing or in another layout, or a segmentation has no image.
    """
    root = existing_folder(dataset_dir)
    folders = folders_in_first(root, ["data", "."], "case_*")
    segmented = [folder for folder in folders if (folder / "segmentation.nii.gz").is_file()]
    if not segmented:
        raise other_layout(
            root,
            "KiTS19's layout, no data/case_*/segmentation.nii.gz is there",
            "the folder that holds data/",
        )
    return keep_complete(
        (
            make_case(
                folder.name,
                folder / "imaging.nii.gz",
                folder / "segmentation.nii.gz",
                folder.name,
            )
            for folder in segmented
        ),
        report_fault,
    )


def mrbrains_cases(
    dataset_dir: str | Path | None,
    modalities: Sequence[str],
    report_fault: ReportFault = raise_fault,
) -> list[Case]:
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
    patients = {path.parent for path in (*preprocessed, *segmented)}
    return keep_complete(
        (
            make_case(
                folder.name,
                [folder / "pre" / f"{modality}.nii.gz" for modality in modalities],
                folder / "segm.nii.gz",
                folder.name,
            )
            for folder in sorted(patients)
        ),
        report_fault,
    )


def _folders(
    dataset_dir: str | Path | None, places: Sequence[str], pattern: str, layout: str, remedy: str
) -> list[Path]:
    """The folders of the patients, of whom there must be some."""
    root = existing_folder(dataset_dir)
    folders = folders_in_first(root, places, pattern)
    if not folders:
        raise other_layout(root, layout, remedy)
    return folders


def _acdc_frames(info: Path, report_fault: ReportFault) -> Iterator[int]:
    """The frame numbers of end-diastole and end-systole; none where they are not known."""
    with reported(report_fault):
        yield from _read_frames(info)


def _read_frames(info: Path) -> list[int]:
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
