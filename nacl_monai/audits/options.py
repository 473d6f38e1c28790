"""What a command on saved predictions says, and what it means where it says nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nacl_monai.data.faults import AFFINE_TOLERANCE
from nacl_monai.errors import SettingError

#: The regions of an evaluation, in its order.
EVALUATED_REGIONS = ("foreground", "union", "boundary", "all")
_FILES = ("dataset", "patients", "calibrator")


@dataclass(frozen=True)
class Options:
    """What a command says; see `nacl_monai.audits.__main__` for the words.

    Raises:
        SettingError: If a number counts things and is smaller than 1.
    """

    dataset: Path | None = None
    activation: str | None = None
    structures: Sequence[str] = ()
    regions: Sequence[str] = EVALUATED_REGIONS
    num_bins: int = 15
    patient_pattern: str | None = None
    patients: Path | None = None
    affine_tolerance: float = AFFINE_TOLERANCE
    jobs: int = 1
    pictures: bool = True
    write: str | None = None
    calibrator: Path | None = None

    def __post_init__(self) -> None:
        for name in _FILES:  # in Python, text will do
            file = getattr(self, name)
            object.__setattr__(self, name, None if file is None else Path(file))
        for option, number in (("--num-bins", self.num_bins), ("--jobs", self.jobs)):
            if number < 1:
                raise SettingError(f"{option}: is {number}; give 1 or more")

    @property
    def files(self) -> list[Path]:
        """The files that it names."""
        return [file for name in _FILES if (file := getattr(self, name)) is not None]
