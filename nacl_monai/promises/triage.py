"""``nacl-monai triage``: the new cases that someone must look at, the most doubtful first."""

from __future__ import annotations

import json
from bisect import insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import pandas as pd

from nacl_monai import reports
from nacl_monai.audits.command import print_faults
from nacl_monai.audits.components import doubtful, real_of
from nacl_monai.audits.measuring import curves_of
from nacl_monai.cli import bold, print_written
from nacl_monai.errors import InputError, print_line
from nacl_monai.evaluations.tables import csv_text, table_text
from nacl_monai.files import read_table, write_text
from nacl_monai.inference.promised import Applied, Array, table_rows
from nacl_monai.inference.records import OUTER
from nacl_monai.metrics.decisions import worst_found
from nacl_monai.output import visible_files, written_folder
from nacl_monai.posthoc.islands import RealIslands
from nacl_monai.predictions.finding import find
from nacl_monai.predictions.names import images_of_cases
from nacl_monai.predictions.options import BUDGET, Options, Use
from nacl_monai.predictions.reading import Case
from nacl_monai.predictions.study import Study
from nacl_monai.promises.apply import Measuring, add_cases
from nacl_monai.promises.cases import NewCase, find_new, read_study, seen_case
from nacl_monai.promises.cohort import ALARMED, CohortError, cohort_lines
from nacl_monai.promises.record import Promise, read_promise
from nacl_monai.reports.viewer import LIMIT, MOST_VIEWED, PAGE, Section, is_seen, write_sections
from nacl_monai.words import counted, first_of, row_texts

_ABOUT = (
    "The case whose worst structure has the lowest guaranteed Dice comes first; the volume is that of "
    "this structure. A bound holds for a structure of a new patient, but for {} of the patients, {}; {} "
    "patients calibrated it. A structure that is not predicted has no bound. It counts by how often "
    "that was right for them."
)
#: The list of a triage.
TRIAGE_FILE = "triage.csv"
#: The columns of the list as its page has them.
_HEADINGS = {
    "structure": "Worst structure",
    "dice_low": "Dice at least",
    "pairwise_dice": "Members' Dice",
    "volume_ml": "Its volume in ml",
    "volume_low_ml": "at least",
    "volume_high_ml": "at most",
    "doubtful_islands": "Islands likely false",
}
_SHOWN = 12  # cases that are drawn
#: Name, reason, picture and layers of a case.
_Drawn: TypeAlias = "tuple[str, str, str, dict[str, Any] | None]"
_WIDE = 1.5  # a contour is wide from this multiple of the usual size on


class Triage:
    """The list of new cases that someone must look at, the most doubtful first.

    Args:
        study: The new predictions.
        promise: What was promised.

    Attributes:
        cases: The most doubtful ones, to be drawn.
        measured: Column of a measurement → heading, once there is a table.

    Raises:
        InputError: If a case has no image where there is a folder of them.
    """

    curves: ClassVar[bool] = True

    def __init__(self, study: Study, promise: Promise) -> None:
        self.study, self.promise, self.real = study, promise, real_of(study)
        self.measuring = Measuring.of(promise, study, study.options)
        self.headings, self.measured = dict(_HEADINGS), dict[str, str]()
        self.cases: dict[str, NewCase] = {}
        images = study.options.images
        self._images = images_of_cases(images, study.patients) if images else {}
        self._rows: list[dict[str, Any]] = []
        self._layers: dict[str, tuple[int, dict[str, Any]]] = {}  # with their size
        self._counted: list[tuple[Case, Mapping[str, Array]]] = []

    def add(self, case: NewCase) -> None:
        """Takes the row of a case, and the case itself and its layers if it is among the first."""
        self.measuring.add(case)
        self._counted.append((case.reading.case, case.curve))
        row = _triaged(case, self.promise, self.real)
        insort(self._rows, row, key=lambda each: each["dice_low"])
        names = [each["case"] for each in self._rows]
        self.cases = {name: self.cases.get(name, case) for name in names[:_SHOWN]}
        if self.study.options.pictures and is_seen(self.study.options):
            number = _number_held(self._sizes(names, case, row), _SHOWN)
            self._layers = {name: self._layers[name] for name in names[:number]}

    def _sizes(self, names: Sequence[str], case: NewCase, row: Mapping[str, Any]) -> Iterator[int]:
        """Those of the layers of cases, of a new one when asked for, up to one that was left out."""
        for name in names:
            if name == case.name:
                kept, image, reason = self.promise.of_level(), self._image(case), row["reason"]
                layers = seen_case(case, kept, image, reason, row["structure"])
                self._layers[name] = len(json.dumps(layers)), layers
            if name not in self._layers:
                return
            yield self._layers[name][0]

    @cached_property
    def table(self) -> pd.DataFrame:
        """Of ``triage.csv``."""
        rows = pd.DataFrame(self._rows)
        table = rows.sort_values("dice_low", kind="stable", ignore_index=True)
        self.measured = self.measuring.insert(table)
        self.headings |= self.measured
        number = self.study.options.number_of(table["dice_low"].tolist())
        table.insert(0, "look", ["yes"] * number + ["no"] * (len(table) - number))
        return table

    @cached_property
    def cohort(self) -> list[str]:
        """The lines about all cases together."""
        curves = curves_of(self.study, *zip(*self._counted, strict=True))
        cases, patients = len(self._counted), len({*curves.patients})
        whose = f" of {counted(patients, 'patient')}" * (patients < cases)
        return cohort_lines(self.promise.cohort, curves, f"{counted(cases, 'case')}{whose}")

    @cached_property
    def drawn(self) -> list[_Drawn]:
        """Name, reason, picture and layers of those to look at, as far as they are drawn."""
        rows = self.table[self.table["look"] == "yes"].to_dict("records")
        layers = {name: layers for name, (_, layers) in self._layers.items()}
        return [
            (row["case"], row["reason"], self._draw(row), layers.get(row["case"]))
            for row in rows[: _SHOWN * self.study.options.pictures]
        ]

    def picture(self, row: Mapping[Any, Any]) -> str:
        """The picture of one of the first cases, by its row, as the page has it."""
        known = {name: source for name, _, source, _ in self.drawn}
        return known.get(row["case"]) or self._draw(row)

    def _draw(self, row: Mapping[Any, Any]) -> str:
        from nacl_monai.promises.pictures import draw_case  # noqa: PLC0415 - matplotlib takes a second

        case = self.cases[row["case"]]
        return reports.png_source(draw_case(case, [row["structure"]], self._image(case)))

    def _image(self, case: NewCase) -> Array | None:
        """The image of a case, if it has one."""
        file = self._images.get(case.name)
        return None if file is None else case.reading.image(file)

    def _seen(self) -> tuple[list[dict[str, Any]], list[str], dict[str, str]]:
        """The layers of as many cases as the page holds, which these are, and a command for others."""
        rows, options = self.table.to_dict("records"), self.study.options
        looked = sum(row["look"] == "yes" for row in rows)
        sizes = (size for size, _ in self._layers.values())
        number = _number_held(sizes, min(looked, _SHOWN))
        cases = [self._layers[row["case"]][1] for row in rows[:number]]
        for k, case in enumerate(cases[looked:], looked):
            cases[k] = {**case, "reason": f"not among those to look at: {case['reason']}"}
        left = [row["case"] for row in rows[number:]]
        if not (left and self._layers):
            which = {1: "The new case", 2: "Both new cases"}.get(number, "All new cases")
            order = ", the most doubtful first" * (number > 1)
            return cases, [f"{which} can be seen{order}."] * bool(number), {}
        which = (
            f"The {number} most doubtful of {len(rows)} new cases can be seen, as many as "
            f"{LIMIT // 10**6} MB hold. Left out: {first_of(left, MOST_VIEWED)}."
        )
        of_view = replace(options, cases=tuple(left[:MOST_VIEWED])).words(Use.VIEW, travels=False)
        command = options.command("view", self.study.folder, *options.members, *of_view)
        return cases, [which], {"See those that are left out": command}

    def write(
        self, folder: Path, command: str, faults: Sequence[InputError], found: str = ""
    ) -> None:
        """Writes the list and its page.

        Args:
            folder: For the files.
            command: The command that makes the page again.
            faults: Of cases that could not be read.
            found: The sentence on the worst tenth, where labels are known.
        """
        table, promise = self.table, self.promise
        cases, notes, commands = self._seen()
        write_text(folder / TRIAGE_FILE, csv_text(table))
        lacking = map(self.study.options.named, faults)
        level = promise.of_level()[0].level
        head = Section(
            "Cases to look at",
            sentences=[
                look_text(table, self.study.options),
                *[found] * bool(found),
                *self.cohort,
                *(f"Could not be read, so look at it, too: {fault}" for fault in lacking),
            ],
            notes=[_ABOUT.format(f"{level:.0%}", promise.unit, len(promise.patients))],
            numbers=table.to_dict("records"),
        )
        headings = {"case": "Case", "look": "Look", **self.headings, "reason": "Reason"}
        columns = ["case", "look", *(name for name in table if name in self.headings), "reason"]
        rows = [[texts[name] for name in columns] for texts in map(row_texts, head.numbers)]
        pictures = {f"{name}: {why}": png for name, why, png, _ in self.drawn}
        shown = [headings[name] for name in columns]
        write_sections(
            folder / PAGE,
            head,
            [
                Section(pictures=pictures, viewer=True, notes=notes),
                Section("All cases", headings=shown, rows=rows),
            ],
            {**commands, "Made by": command},
            layers=cases,
            measures=self.measuring.rows,
            level=level,
            calibrated_by=promise.patients,
            patients=sorted({*self.study.patients.values()}),
        )


def triage_folder(file: Path, new: Path, output: Path, options: Options) -> list[InputError]:
    """Writes the list of new cases that someone must look at, the most doubtful first, and its page.

    Args:
        file: ``promise.json``, or the folder that it is in.
        new: The folder of the new predictions.
        output: The folder for ``triage.csv`` and ``page.html``, with pictures of the first cases.
        options: As for an audit; ``budget`` is how many can be looked at, or a share of the cases in
            percent, and ``below`` a bound of Dice in its place; ``labels`` say how many of the worst
            tenth are in it; ``images`` are for pictures, which show the probabilities otherwise.

    Returns:
        The faults of single cases, which must be looked at, too.

    Raises:
        InputError: If the promise does not hold for these predictions, no case can be read, or one that
            is shown has no image.
        CohortError: At the end, by ``alarm``, if the cases are unlike those who calibrated.
        SettingError: If the budget is neither a number nor a share.
    """
    faults: list[InputError] = []
    with written_folder(output, "triage", read=[file, new, *options.files]) as folder:
        promise = read_promise(file)
        triage = Triage(find_new(file, promise, new, options), promise)
        add_cases(triage.study, promise, faults, [triage])
        labels = options.labels
        found = _share_found(triage.table, find(new, labels, options)) if labels else ""
        triage.write(folder, triage_command(file, new, output, options), faults, found)
    print_faults(faults)
    print(bold(look_text(triage.table, options)))
    looked = triage.table[triage.table["look"] == "yes"]
    if len(looked):
        print(table_text(looked))
    if found:
        print(found)
    print_written(visible_files(output))
    print(*triage.cohort, sep="\n")
    if options.alarm and ALARMED in triage.cohort[-1]:
        raise CohortError(f"{new}: {triage.cohort[-1]} Look at why")
    return faults


def look_text(table: pd.DataFrame, options: Options) -> str:
    """The cases to look at, why so many, and which would be next.

    Args:
        table: Of ``triage.csv``, the most doubtful first.
        options: With the budget, or the bound of Dice in its place.
    """
    looked, rest = table[table["look"] == "yes"], table[table["look"] == "no"]
    cases, number = counted(len(table), "new case"), len(looked)
    why = f"as many as a budget of {options.budget or BUDGET} allows"
    if options.below is not None:
        why = f"all with a bound of Dice below {options.below:g}"
    if not number:
        text = f"Look at none of {cases}: no bound of Dice is below {options.below:g}."
    else:
        text = f"Look at {number} of {cases}, {why}, in this order: {', '.join(looked['case'])}."
    following = rest[["case", "dice_low"]].itertuples(index=False, name=None)
    return text + "".join(
        f" Next would be {case}, with Dice of at least {bound:.3f}."
        for case, bound in [*following][:1]
    )


def triage_command(file: Path, new: Path, output: Path, options: Options) -> str:
    """The command that makes the page again."""
    budget = (options.budget or BUDGET) if options.below is None else None
    arguments = replace(options, budget=budget, output=output).words(Use.TRIAGE_NEW, travels=False)
    return options.command("triage", file, new, *options.members, *arguments)


def _number_held(sizes: Iterable[int], always: int) -> int:
    """How many of the first cases a page holds; always the first few, for which it has pages beside it.

    Example:
        >>> _number_held([LIMIT - 2, 3, 1, 1], 2), _number_held([LIMIT - 2, 3, 1, 1], 1)
        (4, 1)
    """
    room, number = LIMIT, 0
    for size in sizes:
        if size <= room:
            room -= size
        elif number >= always:
            break
        number += 1
    return number


def _triaged(case: NewCase, promise: Promise, real: RealIslands | None) -> dict[str, Any]:
    """The Dice that a case has at least, its volume, and why it is doubtful."""
    alike = case.reading.predicted.pairwise_dice or [1.0] * len(case.structures)
    least = [_at_least(*pair, promise) for pair in zip(case.structures, alike, strict=True)]
    worst = int(np.argmin(least))
    of_worst = table_rows(case.name, [case.structures[worst]])[0]
    false = doubtful(case.reading, real) if real else {}
    apart = _disagreement(case.structures, alike)
    reasons = [_reason(case.structures[worst], least[worst], apart, promise)]
    if false:
        numbers = ", ".join(f"{number} of {name}" for name, number in false.items())
        reasons.append(f"islands likely false: {numbers}")
    return {
        "case": case.name,
        "structure": of_worst["structure"],
        "dice_low": least[worst],
        **{name: of_worst[name] for name in ("volume_ml", "volume_low_ml", "volume_high_ml")},
        **({"doubtful_islands": sum(false.values())} if real else {}),
        "reason": "; ".join(reasons),
        **({"pairwise_dice": min(alike)} if case.reading.predicted.pairwise_dice else {}),
    }


def _at_least(applied: Applied, alike: float, promise: Promise) -> float:
    """The bound of Dice of a structure; where it is not predicted, how often that was right.

    Dice is then 1 if nothing is labeled, and else 0. Among n calibration patients like that and the new
    one, at least r / (n + 1) were right. Probabilities cannot tell: their sum over a large background
    depends on its floor more than on the structure. Members that predict something contradict.
    """
    patients, rightly = promise.absent[applied.structure]
    return applied.dice if applied.predicted else min(alike, rightly / (patients + 1))


def _disagreement(structures: Sequence[Applied], alike: Sequence[float]) -> str | None:
    """The structure on which members agree less than their mean should with the label, if any."""
    below = [
        (expected - dice, applied.structure)
        for applied, dice in zip(structures, alike, strict=True)
        if dice < (expected := applied.expected_dice if applied.predicted else 1.0)
    ]
    return max(below)[1] if below else None


def _reason(applied: Applied, bound: float, apart: str | None, promise: Promise) -> str:
    """Why a case is where it is, by its worst structure and the one on which members disagree."""
    name, (patients, rightly) = applied.structure, promise.absent[applied.structure]
    usual = {kept.structure: kept.size for kept in promise.outer if kept in promise.of_level()}
    absent = "as for no calibration patient"
    if patients:
        absent = f"which was right for {rightly:g} of {patients} calibration patients"
    wide = applied.volumes.get(OUTER, 0.0) > _WIDE * usual.get(name, 1.0) * applied.expected
    doubts = [f"{name} is not predicted, {absent}"] * (not applied.predicted)
    doubts += [f"members disagree: {apart}"] * (apart is not None)
    doubts += [f"wide contours: {name}"] * bool(applied.predicted and wide)
    return "; ".join(doubts) or f"its bound alone: Dice of {name} is at least {bound:.2f}"


def _share_found(table: pd.DataFrame, study: Study) -> str:
    """The share of the worst tenth that is in the budget, beside chance and the best possible."""
    number = (table["look"] == "yes").sum()
    curves, _ = read_study(study)
    dice = dict(zip(curves.cases, curves.dice.min(1), strict=True))
    places = [k for k, name in enumerate(table["case"]) if name in dice]
    true = [dice[name] for name in table["case"] if name in dice]
    looked = sum(place < number for place in places) / len(true)
    share, best = (worst_found(order, true, looked) if looked else 0 for order in (places, true))
    chance = f"by chance {looked:.0%}, and at best {best:.0%}"
    return f"The worst tenth by Dice: {share:.0%} are among them, {chance}."


VERDICTS = ("accept", "edit", "reject")
#: Says nothing of the prediction, and so is counted within no budget.
WRONG = "label is wrong"
_REMEDY = "give the file that the page of the triage saved"
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
    file = triage / TRIAGE_FILE if triage.is_dir() else triage
    cases = read_table(file, ["case", "look"], _REMEDY, ["case"])["case"]
    verdicts: dict[str, str] = {}
    for file in files:
        for case, verdict in _judged(file, {*cases}):
            if (other := verdicts.setdefault(case, verdict)) != verdict:
                text = f"says {verdict} of {case!r}, but another file {other}"
                raise InputError(f"{file}: {text}; settle it")
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
        rate = f"{rejected / len(judged):.0%}" if judged else "–"
        rows.append([f"{share:.0%}", len(first), len(judged), rejected, rate])
    return pd.DataFrame(rows, columns=["budget", "cases", "judged", "rejected", "share"])


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
