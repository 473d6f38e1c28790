"""Official layouts on disk → lists of cases, one short function per layout.

A case is a dictionary of the names of an image and its label, as MONAI's transforms expect them:
``{"case": "patient001_frame01", "patient": "patient001", "image": "….nii.gz", "label": "….nii.gz"}``.
Splits are made by ``patient``. Only names are looked at here; files are read and checked when the
volumes are cached (`nacl_monai.data.LoadCased`).
"""

from __future__ import annotations

from pathlib import Path

from nacl_monai.errors import InputError

Case = dict[str, str]


def acdc_cases(dataset_dir: str | Path | None) -> list[Case]:
    """Cases of ACDC (Bernard et al., 2018): the ED and the ES frame of every training patient.

    Reads ``training/patientXXX/`` with ``Info.cfg`` and ``patientXXX_frameYY[_gt].nii.gz``, below
    ``dataset_dir`` or, as in newer releases, below its ``database/``. The 4-D cine and the
    ``testing/`` folder are ignored.

    Raises:
        InputError: The folder is missing or in another layout, ``Info.cfg`` lacks a frame, or an
            image or label is missing.
    """
    root = _existing_folder(dataset_dir)
    layouts = [root / "training", root / "database" / "training", root]
    patients = next((found for layout in layouts if (found := _patient_folders(layout))), None)
    if not patients:
        raise InputError(
            f"dataset_dir {root}: not ACDC's layout, training/patientXXX/ is not there; "
            "name the folder that holds training/ (or database/training/)"
        )
    cases = []
    for folder in patients:
        for frame in _acdc_frames(folder / "Info.cfg"):
            name = f"{folder.name}_frame{frame:02d}"
            cases.append(
                _case(folder.name, folder / f"{name}.nii.gz", folder / f"{name}_gt.nii.gz")
            )
    return cases


def decathlon_cases(dataset_dir: str | Path | None) -> list[Case]:
    """Cases of a Medical Segmentation Decathlon task (Antonelli et al., 2022), one per patient.

    Pairs ``imagesTr/NAME.nii.gz`` with ``labelsTr/NAME.nii.gz`` below ``dataset_dir`` and skips the
    ``._*`` files that macOS leaves beside them.

    Raises:
        InputError: The folder is missing or in another layout, or a file lacks its partner.
    """
    root = _existing_folder(dataset_dir)
    images, labels = (_niftis(root / folder) for folder in ("imagesTr", "labelsTr"))
    if not images:
        raise InputError(
            f"dataset_dir {root}: not the Decathlon's layout, no imagesTr/*.nii.gz is there; "
            "name the unpacked task folder (TaskXX_Name)"
        )
    for orphan in sorted(labels.keys() - images.keys()):
        raise InputError(f"{labels[orphan]}: has no image imagesTr/{orphan}; unpack the task again")
    return [
        _case(name.removesuffix(".nii.gz"), image, root / "labelsTr" / name)
        for name, image in sorted(images.items())
    ]


def _existing_folder(dataset_dir: str | Path | None) -> Path:
    if not dataset_dir:
        raise InputError(
            "dataset_dir is not set; name the unpacked data set: --dataset_dir DIR "
            "(make: DATASET_DIR=DIR)"
        )
    root = Path(dataset_dir)
    if not root.is_dir():
        raise InputError(f"dataset_dir {root}: no such folder; name the unpacked data set")
    return root


def _patient_folders(root: Path) -> list[Path]:
    return sorted(folder for folder in root.glob("patient*") if folder.is_dir())


def _acdc_frames(info: Path) -> list[int]:
    """The frame numbers of end-diastole and end-systole."""
    if not info.is_file():
        raise InputError(f"{info}: missing; unpack the patient's folder again")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
    entries = {key.strip(): value for key, _, value in (line.partition(":") for line in lines)}
    try:
        return [int(entries[phase]) for phase in ("ED", "ES")]
    except (KeyError, ValueError):
        raise InputError(
            f"{info}: needs the lines 'ED: <frame>' and 'ES: <frame>'; unpack it again"
        ) from None


def _niftis(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in folder.glob("*.nii.gz") if not path.name.startswith(".")}


def _case(patient: str, image: Path, label: Path) -> Case:
    if not image.is_file():
        raise InputError(f"{image}: missing image; unpack the data set again")
    if not label.is_file():
        raise InputError(f"{image}: has no label; expected it at {label}")
    name = image.name.removesuffix(".nii.gz")
    return {"case": name, "patient": patient, "image": str(image), "label": str(label)}
