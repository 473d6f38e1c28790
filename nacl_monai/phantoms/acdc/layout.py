"""A patient's folder in ACDC's official layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nacl_monai.phantoms.acdc.annotator import annotate
from nacl_monai.phantoms.acdc.patient import FRAMES, Patient, draw_patient
from nacl_monai.phantoms.acdc.rendering import render
from nacl_monai.phantoms.acdc.scanner import acquire, draw_scanner
from nacl_monai.phantoms.shapes import Array
from nacl_monai.phantoms.writing import CaseRequest, Phantom, save_nifti


def write_patient(root: Path, case: CaseRequest) -> None:
    """Writes one patient's folder, ``training/patientXXX``."""
    patient = draw_patient(case.anatomy, case.number)
    folder = root / "training" / patient.name
    cine = draw_cine(case.scanner, patient)
    volumes = np.stack([cine[frame] for frame in sorted(cine)], axis=-1)
    save(patient, volumes, folder / f"{patient.name}_4d.nii.gz")
    for frame, contraction in patient.phases.items():
        stem = f"{patient.name}_frame{frame:02d}"
        label = annotate_as_asked(case, patient, contraction)
        save(patient, cine[frame], folder / f"{stem}.nii.gz")
        save(patient, label, folder / f"{stem}_gt.nii.gz")
    (folder / "Info.cfg").write_text(info_cfg(patient), encoding="utf-8")


def annotate_as_asked(case: CaseRequest, patient: Patient, contraction: float) -> Array:
    """Labels of a phase; a stated deviation is only in the plane: all slices are where they are."""
    if case.deviation is None:
        return annotate(case.annotator, patient, contraction)
    return annotate(case.annotator, patient, contraction, case.deviation, frame_error=0.0)


def draw_cine(rng: np.random.Generator, patient: Patient) -> dict[int, Array]:
    """Draws the image of every frame of a patient's cine, by the frame's number."""
    scanner = draw_scanner(rng, patient)
    signals = [render(patient, phase, scanner.grain) for phase in patient.phases.values()]
    signals.append((signals[0] + signals[1]) / 2)  # the frame in between, blurred by motion
    images = [acquire(rng, scanner, signal) for signal in signals]
    return dict(zip((*patient.phases, patient.other_frame), images, strict=True))


def info_cfg(patient: Patient) -> str:
    """Text of ACDC's description of a patient."""
    fields = {
        "ED": patient.ed_frame,
        "ES": patient.es_frame,
        "Group": patient.group,
        "Height": patient.stature,
        "NbFrame": len(FRAMES),
        "Weight": patient.weight,
    }
    return "".join(f"{key}: {value}\n" for key, value in fields.items())


def save(patient: Patient, voxels: Array, path: Path) -> None:
    """Writes voxels in the patient's geometry; a fourth axis is time."""
    seconds_per_frame = (1 / len(FRAMES),) * (voxels.ndim - 3)
    save_nifti(voxels, patient.affine, path, zooms=(*patient.spacing, *seconds_per_frame))


# Groups alternate, so that any few patients in a row show healthy hearts and each disease.
ACDC = Phantom("acdc", write_patient, first=1, one_size=True, deviates=True)
