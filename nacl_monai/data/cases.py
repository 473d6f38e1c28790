"""A case: an image with its label, and the patient to whom both belong.

A case names its files as MONAI's transforms expect them; splits are made by ``patient``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn, TypedDict

from nacl_monai.errors import InputError


class Case(TypedDict):
    """An image with its label, and the patient whom the split follows."""

    case: str
    patient: str
    image: str | list[str]  # a file, or one per modality, stacked as channels in this order
    label: str


def raise_fault(fault: InputError) -> NoReturn:
    """Ends the search at the first fault."""
    raise fault


ReportFault = Callable[[InputError], object]


def image_files(case: Case) -> list[str]:
    """Returns the files of a case's image, one per modality."""
    return [case["image"]] if isinstance(case["image"], str) else case["image"]


def make_case(
    name: str, image: Path | Sequence[Path], label: Path, patient: str | None = None
) -> Case:
    """Makes a case from its files; the patient is named after the case unless given."""
    return {
        "case": name,
        "patient": name if patient is None else patient,
        "image": str(image) if isinstance(image, Path) else list(map(str, image)),
        "label": str(label),
    }


def keep_complete(cases: Iterable[Case], report_fault: ReportFault) -> list[Case]:
    """The cases whose files are all there; each missing file is reported."""
    complete = []
    for case in cases:
        missing = [file for file in image_files(case) if not Path(file).is_file()]
        for file in missing:
            report_fault(InputError(f"{file}: missing image; unpack the dataset again"))
        if not Path(case["label"]).is_file():
            report_fault(
                InputError(f"{image_files(case)[0]}: has no label; expected it at {case['label']}")
            )
        elif not missing:
            complete.append(case)
    return complete
