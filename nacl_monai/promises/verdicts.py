"""Verdicts that people gave in the page of triage → how many cases within each budget were rejected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from nacl_monai.counting import counted
from nacl_monai.errors import InputError, print_line
from nacl_monai.files import read_table

VERDICTS = ("accept", "edit", "reject")
#: Says nothing of the prediction, and so is counted within no budget.
WRONG = "label is wrong"
_REMEDY = "give the file as it was"
_BUDGETS = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)


def print_verdicts(triage: Path, files: Sequence[Path]) -> list[InputError]:
    """Prints the verdicts on a triage within each budget; returns no fault.

    Args:
        triage: ``triage.csv``, or the folder that it is in.
        files: What its page or a report's lets one download, of one person or several, who judged other
            cases; cases outside the triage are not counted.

    Raises:
        InputError: If a file is missing or wrong, has no case of the triage, or a case has two verdicts.
    """
    file = triage / "triage.csv" if triage.is_dir() else triage
    cases = read_table(file, ["case", "look"], _REMEDY, ["case"])["case"]
    verdicts: dict[str, str] = {}
    for file in files:
        for case, verdict in _judged(file, {*cases}):
            if verdicts.setdefault(case, verdict) != verdict:
                raise InputError(
                    f"{file}: says {verdict} of {case!r}, but another file {verdicts[case]}; settle it"
                )
    counts = [f"{list(verdicts.values()).count(verdict)} {verdict}" for verdict in VERDICTS]
    print(f"{len(verdicts)} of {counted(len(cases), 'case')} are judged: {', '.join(counts)}.")
    print(by_budget(cases, verdicts).to_string(index=False))
    return []


def by_budget(cases: Sequence[str], verdicts: dict[str, str]) -> pd.DataFrame:
    """A row for each budget: how many cases are within it, are judged, and are rejected.

    Args:
        cases: The most doubtful first.
        verdicts: Case → verdict, of those who were judged.

    Example:
        >>> by_budget(["a", "b", "c", "d"], {"a": "reject", "c": "accept"})["share"].tolist()[-1]
        '50%'
    """
    rows = []
    for share in _BUDGETS:
        first = cases[: max(1, round(share * len(cases)))]
        judged = [verdicts[case] for case in first if case in verdicts]
        rejected = judged.count("reject")
        rows.append(
            {
                "budget": f"{share:.0%}",
                "cases": len(first),
                "judged": len(judged),
                "rejected": rejected,
                "share": f"{rejected / len(judged):.0%}" if judged else "–",
            }
        )
    return pd.DataFrame(rows)


def _given(file: Path, known: set[str]) -> list[tuple[str, str]]:
    """Case and verdict of each row, which may be empty."""
    table = read_table(file, ["case", "verdict"], _REMEDY, ["case"])
    allowed = [*VERDICTS, WRONG]
    for verdict in {*table["verdict"]} - {*allowed, ""}:
        raise InputError(f"{file}: {verdict!r} is not one of {', '.join(allowed)}; correct it")
    if not known.intersection(table["case"]):
        first = ", ".join(table["case"][:1])
        raise InputError(f"{file}: {first!r} is no case of this triage; give the one it is of")
    return [*zip(table["case"], table["verdict"], strict=True)]


def _judged(file: Path, known: set[str]) -> list[tuple[str, str]]:
    """Case and verdict of each row that judges a prediction."""
    rows = _given(file, known)
    _note([case for case, verdict in rows if verdict == WRONG], f"the label is wrong, says {file}")
    judged = [(case, verdict) for case, verdict in rows if verdict in VERDICTS]
    unlisted = [case for case, _ in judged if case not in known]  # a report shows some
    _note(unlisted, "no case of this triage, and not counted")
    return [row for row in judged if row[0] in known]


def _note(cases: Sequence[str], text: str) -> None:
    """Says something of cases, if there are any."""
    if cases:
        print_line("note", f"{', '.join(cases)}: {text}", answer=True)
