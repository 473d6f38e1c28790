"""The page of a promise and its numbers, as the command and Python write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from nacl_monai import reports
from nacl_monai.evaluations.tables import csv_text
from nacl_monai.files import write_text
from nacl_monai.inference.records import BY_CASE, OUTER
from nacl_monai.reports.viewer import scripts

UNKNOWN = "each case counts as a patient; say whose it is with --patient-pattern or --patients"


def write_numbers(promise: Any, folder: Path) -> None:
    """``promise.json``, and ``held_out.csv`` with what became of it."""
    promise.write(folder / "promise.json")
    write_text(folder / "held_out.csv", csv_text(pd.DataFrame(promise.held_out)))


def write_page(promise: Any, file: Path, useless: float, command: str, **shown: Any) -> Path:
    """Writes the page; returns its path.

    Args:
        promise: A `nacl_monai.promises.Promise`.
        file: The file.
        useless: So many times as large as the structure, a contour is of no use.
        command: What makes the page again.
        **shown: What the promise alone does not say: ``figures``, name → source; ``pictures``, captions
            and sources of contours; rows of ``groups``; ``structures`` with their sizes by ``numbers``
            of patients; what `nacl_monai.reports.viewer.scripts` makes of cases.

    Raises:
        InputError: If it cannot be written.
    """
    text = reports.page_template("nacl_monai.promises", "promise.html.j2").render(
        made=promise,
        note=UNKNOWN if promise.known_by == BY_CASE else "",
        useless=f"{useless:g}",
        verdicts=[text for one, text in promise.verdicts() if one.kind == OUTER],
        headings=list(promise.table),
        rows=list(promise.table.itertuples()),
        command=command,
        **{
            "figures": {},
            "pictures": (),
            "groups": (),
            "structures": (),
            "numbers": {},
            **scripts(),
            **shown,
        },
    )
    return write_text(file, text + "\n")
