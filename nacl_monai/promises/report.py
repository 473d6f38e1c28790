"""One command for the whole road: ``nacl-monai report PREDICTIONS LABELS [--new FOLDER]``.

It audits, calibrates, promises and triages, and makes one page of what follows. A calibrator that has
seen the labels of a patient fits that patient better than the next one, so whoever fits it can neither
test it nor calibrate a promise: a drawn third of the patients, at most eight, fit it, and all others do
the rest.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Collection, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nacl_monai import reports
from nacl_monai.audits.calibrate import fit_calibrator
from nacl_monai.audits.command import audit_study, print_faults, show
from nacl_monai.cli import print_next, print_written
from nacl_monai.counting import counted
from nacl_monai.errors import InputError
from nacl_monai.evaluations.evaluated import Run
from nacl_monai.files import write_text
from nacl_monai.inference.promised import APPLIED
from nacl_monai.metrics.columns import METRICS
from nacl_monai.metrics.curves import read_curves
from nacl_monai.output import written_folder
from nacl_monai.posthoc.file import BY_CASE
from nacl_monai.posthoc.file import FILE as CALIBRATOR
from nacl_monai.predictions.names import images_of_cases
from nacl_monai.predictions.options import Options
from nacl_monai.predictions.study import Study, behind_calibrator, find
from nacl_monai.promises import command
from nacl_monai.promises.cases import NewCase, applied, find_new
from nacl_monai.promises.control import OUTER, Control
from nacl_monai.promises.fit import PROMISE_FILE, VOLUME, Promise, check_cases, read_promise
from nacl_monai.reports.page import decision_verdicts, leading_verdict
from nacl_monai.reports.viewer import scripts

PAGE, _LOG = "page.html", "log.txt"
#: So many patients fit six numbers, and more are not needed.
MOST = 8
_SHARE = 3  # the part of the patients who may fit them
_LEVEL = 0.1  # what the others must be able to promise, if nobody says
_STEP = 20  # levels are multiples of 1/20
_ROWS = 12
_VOLUME = ("Volume in ml", "at least", "at most")
_AUDITED = (
    *("dice", "hd95_mm", "ece_near", "confidence_gap_near"),
    *("contour_misses", "expected_volume_error"),
)


def level_of(patients: int) -> float:
    """The level at which so many patients promise contours of use: one of them may fail.

    It is 2 / (n + 1), rounded up to 5 %; at most 95 %.

    Example:
        >>> level_of(9), level_of(100), level_of(1)
        (0.2, 0.05, 0.95)
    """
    return min(_STEP - 1, math.ceil(2 * _STEP / (patients + 1) - 1e-9)) / _STEP


def drawn(patients: Sequence[str], level: float = _LEVEL) -> list[str]:
    r"""Who fits a calibrator: a third, at most eight, or nobody if too few would be left for a promise.

    A contour at a level :math:`\alpha` is of use from so many patients on that one of them may fail.

    Example:
        >>> len(drawn([f"person_{k}" for k in range(30)])), drawn(["a", "b", "c", "d"])
        (8, [])
    """
    number = min(MOST, len(patients) // _SHARE)
    if number < 2 or len(patients) - number < Control(level).useful:
        return []
    return sorted(np.random.default_rng(0).permutation(sorted(patients))[:number].tolist())


@dataclass(frozen=True)
class Section:
    """A part of the page: what it says, one picture, one table, and the files behind it."""

    title: str
    sentences: Sequence[str]
    picture: str = ""
    caption: str = ""
    headings: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    files: Sequence[str] = ()


def report_folders(given: Sequence[Path], output: Path, options: Options) -> list[InputError]:
    """Audits, calibrates, promises and triages, and writes one page of it.

    Args:
        given: The folder of predictions, and that of label maps.
        output: For ``page.html``, and a folder for each step as its own command writes it.
        options: As of an audit, with ``level``, ``new``, ``budget`` and ``images``; behind a
            ``calibrator`` that other patients fit, all patients promise.

    Returns:
        The faults of single cases.

    Raises:
        InputError: If it takes more patients, or the input cannot be used.
    """
    read = [*given, *options.files]
    with written_folder(output, "report", read=read) as aside:
        study = find(given[0], given[1], options)
        show(study)
        if study.known_by == BY_CASE:
            check_cases(list(study.patients), given[0])
        with (aside / _LOG).open("w", encoding="utf-8") as log, redirect_stdout(log):
            sections, people, faults = _steps(study, output, options)
        words = [*given, *options.words("report:folders", travels=False)]
        text = reports.page_template("nacl_monai.promises", "report.html.j2").render(
            name=study.name,
            people=people,
            sections=sections,
            faults=faults,
            command=shlex.join(map(str, ["nacl-monai", "report", *words])),
            **scripts(),
        )
        write_text(aside / PAGE, text + "\n")
    print_faults(faults)
    for section in sections:
        print("", section.title, *section.sentences, sep="\n")
    print_written([output / PAGE])
    if options.new is None:
        print_next("report", *words, "--new", "NEW")
    return faults


def _steps(
    study: Study, output: Path, options: Options
) -> tuple[list[Section], list[str], list[InputError]]:
    """What each step says, and who took part in which."""
    everyone = sorted({case.patient for case in study.cases})
    asked = options.level[0] if options.level else _LEVEL
    fitting = [] if options.calibrator else drawn(everyone, asked)
    promising = [patient for patient in everyone if patient not in fitting]
    asks = _asked(options, len(promising))
    plain = replace(_of(study, promising), modules={}, calibrated={}, name="as predicted")
    before, faults = _audited(plain, output / "audit")
    file = options.calibrator
    if fitting:
        file = output / "calibrator" / CALIBRATOR
        with written_folder(file.parent, "calibrate") as folder:
            fit_calibrator(replace(_of(study, fitting), faults=()), folder / CALIBRATOR)
    promised, after = plain, before
    if file is not None:
        at_file = replace(plain, options=replace(options, calibrator=file), name="calibrated")
        promised = behind_calibrator(replace(at_file, faults=()))
        after, _ = _audited(promised, output / "calibrated")
    made, contour = _promised(promised, after.folder, output / "promise", asks, options)
    at_new = replace(
        options, calibrator=file, level=(), miss=(), output=None, pairs=None, images=None
    )
    sections = [
        _trust(before),
        _calibrated(before, after, file, len(everyone), fitted=bool(fitting)),
        _kept(made, contour),
        *_new(made, output, at_new, faults),
    ]
    people = [f"{counted(len(promising), 'patient')} test and promise: {', '.join(promising)}."]
    if fitting:
        who = counted(len(fitting), "other")
        people.append(f"{who} fit the calibrator, and do neither: {', '.join(fitting)}.")
    return sections, people, faults


def _asked(options: Options, patients: int) -> Options:
    """What so many patients promise; refused where they are too few, before a volume is read."""
    level = options.level or (level_of(patients),)
    asks = Options(level=level, miss=options.miss, margin=options.margin)
    for control in command._controls(asks):
        control.check_patients(patients, "--level")
    return asks


def _of(study: Study, patients: Collection[str]) -> Study:
    """The cases of some patients."""
    return replace(study, cases=[case for case in study.cases if case.patient in patients])


def _audited(study: Study, output: Path) -> tuple[Run, list[InputError]]:
    with written_folder(output, "audit") as folder:
        run, faults = audit_study(study, folder, output)
    return replace(run, folder=output), faults


def _promised(
    study: Study, audit: Path, output: Path, asks: Options, options: Options
) -> tuple[Promise, tuple[str, str]]:
    """The promise from the sums of an audit; a contour of a held-out case, and its caption."""
    with written_folder(output, "promise") as folder:
        made = command._fitted(read_curves(audit), folder, asks, {})
        images = images_of_cases(options.images, study.patients) if options.images else {}
        draw = partial(command._contours, study, made, images)
        command._write_page(made, folder, [audit], asks, draw)
    held_out = [one for one in made.controls if one.needed < len(made.promise.patients)]
    if not held_out:
        return made.promise, ("", "")
    caption, picture, _ = next(draw(held_out[0]))
    return made.promise, (picture, caption)


def _kept(made: Promise, contour: tuple[str, str]) -> Section:
    """What is promised, and how held-out patients see it kept."""
    return Section(
        "What is promised?",
        [text for one, text in made.verdicts() if one.kind == OUTER],
        *contour,
        ["Promise", *made.table],
        list(made.table.itertuples()),
        ["promise/page.html", f"promise/{PROMISE_FILE}", "promise/held_out.csv"],
    )


def _trust(run: Run) -> Section:
    """Whether the probabilities can be trusted, as they were predicted."""
    numbers = {name: run.number(name) for name in _AUDITED}
    return Section(
        "Can you trust the probabilities?",
        [
            text.partition(" Calibrate it:")[0].partition(" Make one")[0]
            for text in (leading_verdict(run), *decision_verdicts(run))
            if text
        ],
        _diagram([run]),
        "How often it is right, by what it says, near the prediction",
        ("", counted(len(run.cases), "case")),
        [
            (METRICS[name].label, number.text(METRICS[name].decimals))
            for name, number in numbers.items()
            if number is not None
        ],
        ["audit/page.html", "audit/cases.csv"],
    )


def _diagram(runs: Sequence[Run]) -> str:
    bins = runs[0].bins
    near = [name for name in bins.regions if bins.region_and_structure(name)[0] == "near"]
    return reports.png_source(reports.draw_reliability(runs, region=(near or bins.regions)[0]))


def _calibrated(
    before: Run, after: Run, file: Path | None, everyone: int, *, fitted: bool
) -> Section:
    """What a calibrator changes, for patients who did not fit it."""
    title = "Does calibration help?"
    if file is None:
        few = f"Nothing is calibrated: of {counted(everyone, 'patient')} too few would be left"
        why = "for a promise, since whoever fits a calibrator cannot promise behind it."
        return Section(title, [f"{few} {why}"])
    found = reports.answers(before, after)
    return Section(
        title,
        [answer.text for answer in found],
        _diagram([before, after]),
        "Before and after, of patients who did not fit the calibrator",
        ("", "Before", "After", ""),
        [
            (shown.label, shown.text(one.before), shown.text(one.after), one.word)
            for one in found
            for shown in [METRICS[one.metric]]
        ],
        ["calibrated/page.html", *(["calibrator/calibrator.json"] if fitted else [])],
    )


def _new(
    made: Promise, output: Path, options: Options, faults: list[InputError]
) -> Iterator[Section]:
    """Volumes and contours of new cases, and which of them somebody must look at."""
    new, titles = options.new, ("What of new patients?", "Which new cases must be looked at?")
    if new is None:
        for title in titles:
            yield Section(title, ["Give their predictions with --new."])
        return
    file = output / "promise" / PROMISE_FILE
    faults += command.apply_folder(file, new, output / "new", options)
    command.triage_folder(file, new, output / "triage", options)
    applied = pd.read_csv(output / "new" / APPLIED, dtype={"case": str})
    listed = pd.read_csv(output / "triage" / "triage.csv", dtype={"case": str, "reason": str})
    usual = listed.iloc[len(listed) // 2]
    volumes = [text for one, text in made.verdicts() if one.kind == VOLUME]
    draw = partial(_drawn, file, new, options)
    yield Section(
        titles[0],
        volumes,
        draw(usual),
        f"{usual['case']}, the contours of {usual['structure']}",
        ("Case", "Structure", *_VOLUME, "Dice at least", "Outer in ml", "Inner in ml"),
        [_cells(row) for row in applied[:_ROWS].itertuples(index=False)],
        [f"new/{APPLIED}", "new"],
    )
    looked = listed[listed["look"] == "yes"]
    names = ", ".join(looked["case"])
    yield Section(
        titles[1],
        [f"Look at {len(looked)} of {counted(len(listed), 'new case')}, in this order: {names}."],
        draw(listed.iloc[0]),
        f"{listed['case'][0]}: {listed['reason'][0]}",
        ("Case", "Structure", "Dice at least", *_VOLUME, "Reason"),
        [_cells(row[1:]) for row in looked[:_ROWS].itertuples(index=False)],
        ["triage/page.html", "triage/triage.csv"],
    )


def _cells(row: Sequence[Any]) -> list[str]:
    return [cell if isinstance(cell, str) else f"{cell:.3f}" for cell in row]


def _drawn(file: Path, new: Path, options: Options, row: Any) -> str:
    """The contours of the structure of a new case that a row of the list names."""
    from nacl_monai.promises.pictures import draw_case  # noqa: PLC0415 - slow to load

    made = read_promise(file)
    study = find_new(file, made, new, options)
    (reading,) = (study.read(case) for case in study.cases if case.name == row["case"])
    shown = NewCase(reading, applied(made, reading.stored, reading.spacing))
    return reports.png_source(draw_case(shown, [row["structure"]]))
