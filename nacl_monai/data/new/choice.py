"""What is chosen for a bundle of one's own, and what its user says beside the files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Options:
    """What a user says of a dataset beside its files.

    Attributes:
        patient_pattern: A regular expression whose one group is the patient, in a case's name.
        patients: A CSV file with the columns ``case`` and ``patient``.
        modality: The modality of all channels, such as "CT", where no file says it.
        window: The intensities that become 0 and 1.
        spacing: ``median``, ``none``, or sizes in mm; see `nacl_monai.data.new.geometry.resampled`.
    """

    patient_pattern: str | None = None
    patients: Path | None = None
    modality: str | None = None
    window: tuple[float, float] | None = None
    spacing: str = "median"


class Choice(NamedTuple):
    """Keys of ``dataset.yaml``, and why they are what they are."""

    why: str
    keys: dict[str, Any]
