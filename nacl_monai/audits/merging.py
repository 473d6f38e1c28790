"""Several sites, one audit: sums are exchanged, no image leaves a site.

Bins are counts and sums of every case, so that those of several audits side by side are those of the
audit of all cases, to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nacl_monai.audits.result import Audit, from_bins, read_audit
from nacl_monai.differences import differences, first_of
from nacl_monai.errors import InputError
from nacl_monai.reports.run_bins import RunBins


def merge(files: Sequence[str | Path]) -> Audit:
    """The audit of all cases in several ``bins.npz``; with fine bins where all of them have these.

    Args:
        files: The files, or the folders that they are in.

    Raises:
        InputError: If there is no file, or one cannot be read, if bins, regions, classes or calibrators
            differ, if a case or a patient is in two files, or if only some of them know patients.
    """
    parts = [read_audit(file).run.bins for file in files]
    if not parts:
        raise InputError("files: are none; give the bins.npz of each site")
    for other in parts[1:]:
        _check_alike(parts[0], other)
    _check_apart(parts, "case", [part.cases for part in parts])
    _check_apart(parts, "patient", [part.patients or [] for part in parts])
    merged = replace(parts[0].joined(parts[1:]), path=Path("merged") / "bins.npz")
    return from_bins(merged.ordered(sorted(merged.cases)), "merged")


def _check_alike(first: RunBins, other: RunBins) -> None:
    unlike = first_of(differences(*map(_made_with, (first, other))))
    if unlike:
        raise InputError(
            f"{other.path}: differs from {first.path} in {unlike}; audit both with the same options"
        )


def _made_with(part: RunBins) -> dict[str, Any]:
    patients = "unknown" if part.patients is None else "known"
    calibrator = " ".join(part.calibrator) or "none"
    return {**part.axes, "patients": patients, "calibrator": calibrator}


def _check_apart(parts: Sequence[RunBins], kind: str, names: Sequence[Sequence[str]]) -> None:
    seen: dict[str, RunBins] = {}
    for part, of_part in zip(parts, names, strict=True):
        repeated = sorted(set(of_part) & set(seen))
        if repeated:
            raise InputError(
                f"{part.path}: its {kind} {repeated[0]!r} is in {seen[repeated[0]].path}, too; rename "
                "one if they are not the same"
            )
        seen |= dict.fromkeys(of_part, part)
