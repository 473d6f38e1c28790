"""One command for the whole road: ``nacl-monai report PREDICTIONS LABELS [--new FOLDER]``.

It audits, calibrates, promises and triages, and makes one page of the results. A calibrator that has
seen the labels of a patient fits that patient better than the next one, so whoever fits it can neither
test it nor calibrate a promise: a drawn third of the patients, at most eight, fit it, and all others do
the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nacl_monai import reports
from nacl_monai.audits.calibrate import fit_usual_calibrator
from nacl_monai.audits.command import audit_study, print_faults, show
from nacl_monai.cli import bold, print_next, print_written
from nacl_monai.errors import InputError, SettingError
from nacl_monai.evaluations.evaluated import Run
from nacl_monai.evaluations.tables import SUSPECTS, doubtful_labels, doubtful_text
from nacl_monai.files import checksum
from nacl_monai.inference.promised import APPLIED
from nacl_monai.inference.records import BY_CASE, VOLUME, each, string
from nacl_monai.metrics.columns import METRICS
from nacl_monai.metrics.curves import Curves
from nacl_monai.output import written_folder
from nacl_monai.posthoc.file import FILE as CALIBRATOR
from nacl_monai.posthoc.sides import Sides
from nacl_monai.predictions.channels import Channels
from nacl_monai.predictions.finding import find
from nacl_monai.predictions.names import images_of_cases
from nacl_monai.predictions.options import Options, Use
from nacl_monai.predictions.study import Study
from nacl_monai.promises.apply import Contours, add_cases, empty_text
from nacl_monai.promises.cases import check_new
from nacl_monai.promises.cohort import ALARMED
from nacl_monai.promises.command import (
    FittedPromise,
    all_promises,
    asked_controls,
    make_promise,
    more_patients,
)
from nacl_monai.promises.control import STEPS, Control, level_of
from nacl_monai.promises.record import PROMISE_FILE, Promise
from nacl_monai.promises.rules import check_cases
from nacl_monai.promises.triage import Triage, look_text, triage_command
from nacl_monai.reports.page import decision_verdicts, leading_verdict, numbers_of
from nacl_monai.reports.viewer import MOST_VIEWED as MOST_SEEN
from nacl_monai.reports.viewer import PAGE, PAGES, Section, check_images, read_again, write_sections
from nacl_monai.words import counted, row_texts

_LOG = "log.txt"
#: What the page draws: sentences, numbers, who took part in what, commands and versions.
REPORT = "report.json"
REPORTS = PAGES | dict.fromkeys(("promising", "fitting", "new"), each(string))
#: The number of patients that is enough to fit twelve numbers.
MOST_FITTED = 8
_SHARE = 3  # the part of the patients who may fit them
_LEVEL = 0.1  # what the others must be able to promise, if nobody says
_ROWS = 12
#: With fewer patients nothing is promised, unless a level is asked for.
_FEWEST = 9
_PROMISE_PAGE = "promise/page.html"
_PROMISED, _NEW = "What is promised?", "What of new patients?"
_ABOUT = (
    "An outer contour is drawn with room to spare, so that little of the structure is outside; an "
    "inner one, so that it holds little else. Each sentence is a promise for new patients like these. "
    "Whether it is kept takes labels of patients who did not calibrate."
)
_OF_NEW = (
    "The volume that the probabilities let one expect, with the interval that the true one is in, and "
    "the contours. All of it holds as often as promised, if they are like those who calibrated."
)
_UNLIKE = "The new patients differ from those who calibrated, so no promise may hold: look at why."
_VOLUME = ("Volume in ml", "at least", "at most")
_INTERVAL = "At least and at most are the ends of the interval of the true volume."
_AUDITED = (
    *("dice", "hd95_mm", "ece_near", "confidence_gap_near"),
    *("contour_misses", "expected_volume_error"),
)


def patients_to_fit(patients: Sequence[str], level: float = _LEVEL) -> list[str]:
    r"""The patients who fit a calibrator: a third, at most eight; none if too few remain to promise.

    A contour at a level :math:`\alpha` is of use from so many patients on that one of them may fail.

    Example:
        >>> people = [f"person_{k}" for k in range(30)]
        >>> len(patients_to_fit(people)), patients_to_fit(people[:4])
        (8, [])
    """
    number = _fitting(len(patients), level)
    return sorted(np.random.default_rng(0).permutation(sorted(patients))[:number].tolist())


def _fitting(patients: int, level: float) -> int:
    """How many of so many patients fit a calibrator."""
    number = min(MOST_FITTED, patients // _SHARE)
    return 0 if number < 2 or patients - number < Control(level).useful else number


def ways_to_calibrate(patients: int, level: float) -> str:
    """What lets so many patients calibrate, if too few would be left for a promise.

    Example:
        >>> print(ways_to_calibrate(20, 0.1))  # doctest: +NORMALIZE_WHITESPACE
        Three ways to calibrate: --level 0.15, 27 labeled patients, or a calibrator of other patients
        (--calibrator).
    """
    levels = (step / STEPS for step in range(1, STEPS) if step / STEPS > level)
    looser = next((f"--level {step:g}" for step in levels if _fitting(patients, step)), "")
    number = next(number for number in count(patients) if _fitting(number, level))
    ways = [looser] * bool(looser) + [f"{number} labeled patients"]
    how_many = ("Two", "Three")[len(ways) - 1]
    return (
        f"{how_many} ways to calibrate: {', '.join(ways)}, or a calibrator of other patients "
        "(--calibrator)."
    )


def too_few(patients: int) -> str:
    """Why nothing is promised to so few patients, and how many are needed for what.

    Example:
        >>> print(too_few(5))  # doctest: +NORMALIZE_WHITESPACE
        5 patients: nothing is promised; 9 are needed for 4 of 5 patients, 19 for 9 of 10. --level asks
        for a promise all the same.
    """
    few, many = Control(0.2).useful, Control(0.1).useful
    return (
        f"{counted(patients, 'patient')}: nothing is promised; {few} are needed for 4 of 5 patients, "
        f"{many} for 9 of 10. --level asks for a promise all the same."
    )


@dataclass(frozen=True)
class _People:
    """Who fits a calibrator, and who tests the network and makes the promise.

    Attributes:
        fitting: Nobody, where a calibrator is given or too few would be left.
        promising: All others.
        promise: Whether they are enough for one.
    """

    fitting: Sequence[str]
    promising: Sequence[str]
    promise: bool = True

    @property
    def sentences(self) -> Iterator[str]:
        """Who took part in what."""
        did = "tested the network" + " and made the promise" * self.promise
        yield f"{counted(len(self.promising), 'labeled patient')} {did}: {', '.join(self.promising)}."
        if self.fitting:
            who = f"{counted(len(self.fitting), 'other')} made the calibrator, and nothing else"
            yield f"{who}: {', '.join(self.fitting)}."


@dataclass(frozen=True)
class _Audits:
    """The audits without and with a calibrator, of patients who did not fit it.

    Attributes:
        curves: What the promise is made from.
        study: What it is made of.
        behind: The calibrator and its checksum, if it was fitted.
        sides: What it leaves on each side of the border.
    """

    before: Run
    after: Run
    curves: Curves
    study: Study
    faults: list[InputError]
    behind: tuple[Any, ...]
    sides: Sides | None


def report_folders(folders: Sequence[Path], output: Path, options: Options) -> list[InputError]:
    """Audits, calibrates, promises and triages, and writes one page of it.

    Args:
        folders: The folder of predictions, and that of label maps.
        output: For ``page.html``, and a folder for each step as its own command writes it.
        options: As for an audit, with ``level``, ``new``, ``budget`` and ``images``; behind a
            ``calibrator`` that other patients fit, all patients promise.

    Returns:
        The faults of single cases.

    Raises:
        InputError: If it takes more patients, or the input cannot be used.
    """
    if options.new_images and not options.new:
        raise SettingError("--new-images: are of the cases of --new; give that, too")
    if options.new and options.members:
        raise SettingError(
            "--new: is one folder, not an ensemble's; make the report without it, and give triage the "
            "folders of all members"
        )
    read = [*folders, *options.files]
    with written_folder(output, "report", read=read) as aside:
        study = find(folders[0], folders[1], options)
        show(study)
        study.check_not_behind()
        check_images(study)
        if study.known_by == BY_CASE:
            check_cases(list(study.patients), folders[0])
        arguments = ["report", folders[0], *options.members, folders[1]]
        arguments += options.words(Use.REPORT, travels=False)
        with (aside / _LOG).open("w", encoding="utf-8") as log, redirect_stdout(log):
            sections, faults, following = _write(study, aside, output, arguments, options)
    print_faults(faults)
    for section in sections:
        print("", bold(section.title), *section.sentences, sep="\n")
    print_written([output / PAGE])
    if following:
        print_next(*following)
    return faults


def _write(
    study: Study, aside: Path, output: Path, arguments: Sequence[object], options: Options
) -> tuple[list[Section], list[InputError], Sequence[object]]:
    """Writes the files of all steps, and the page; returns what it says, faults, and what is next."""
    everyone, asked = sorted({*study.patients.values()}), [*options.level, _LEVEL][0]
    fitting = [] if options.calibrator else patients_to_fit(everyone, asked)
    promising = [patient for patient in everyone if patient not in fitting]
    asks = _asked(options, len(promising))
    people = _People(fitting, promising, asks is not None)
    at_new = replace(options, images=options.new_images, pairs=None, level=(), miss=(), output=None)
    new = _found_new(study, at_new)
    audits = _audits(study, people, aside, output, options)
    summary, decisions, cases = _decided(asks, audits, new, aside, output)
    way = ways_to_calibrate(len(everyone), asked)
    steps = [_trust(audits.before, audits.after), _calibrated(audits, people, way), *decisions]
    sections = [replace(step, title=f"{k}. {step.title}") for k, step in enumerate(steps, 1)]
    _log(sections)
    at_new = replace(at_new, calibrator=audits.study.options.calibrator)
    commands = _following(output, at_new, cases, arguments) if asks else {}
    commands["Made by"] = [*arguments]
    notes = [*people.sentences, "Numbers in brackets are 95% intervals over patients."]
    unread = [f"Could not be read: {options.named(fault)}" for fault in audits.faults]
    following = Section("What comes next", "Click on a command to select it.", files=[REPORT])
    write_sections(
        aside / PAGE,
        Section(f"Report on {study.name}", sentences=summary, notes=notes),
        [*sections, Section(notes=unread, viewer=True), following],
        {what: options.command(*command) for what, command in commands.items()},
        layers=cases,
        beside=REPORT,
        promising=people.promising,
        fitting=people.fitting,
        new=[*({} if new is None else new.patients)],
    )
    return sections, audits.faults, commands.get("Next", ())


def _log(sections: Iterable[Section]) -> None:
    """Prints what each step found, with its whole table."""
    for section in sections:
        table = pd.DataFrame([*section.rows], columns=[*section.headings] or None)
        shown = [table.to_string(index=False)] if section.rows else []
        print(section.title, *section.sentences, *shown, sep="\n", end="\n\n")


def _audits(study: Study, people: _People, aside: Path, output: Path, options: Options) -> _Audits:
    """Audits those who promise, as predicted and behind a calibrator, which the others fit."""
    bare = replace(options, calibrator=None)  # which no advice on these predictions names
    plain = replace(_of(study, people.promising), modules={}, calibrated={}, name="as predicted")
    plain = replace(plain, options=bare)
    before, curves, faults = audit_study(plain, aside / "audit", output / "audit")
    after, promised, file = before, plain, options.calibrator
    behind: tuple[Any, ...] = ()
    sides = None
    if people.fitting:
        file, written = (place / "calibrator" / CALIBRATOR for place in (output, aside))
        fitted_by = replace(_of(study, people.fitting), faults=())
        calibrator, sides = fit_usual_calibrator(fitted_by, written)
        behind = calibrator, checksum(written)
    if file is not None:
        at_file = replace(plain, options=replace(options, calibrator=file), name="calibrated")
        promised = replace(at_file, faults=()).behind_calibrator(*behind)
        after, curves, _ = audit_study(promised, aside / "calibrated", output / "calibrated")
    assert curves is not None  # noqa: S101 - there is one rater
    return _Audits(before, after, curves, promised, faults, behind, sides)


def _decided(
    asks: Options | None, audits: _Audits, new: Study | None, aside: Path, output: Path
) -> tuple[list[str], list[Section], list[dict[str, Any]]]:
    """A summary, what is promised, what of new cases, and cases; or why nothing is promised."""
    if asks is None:
        few = too_few(len({case.patient for case in audits.study.cases}))
        nothing = "Nothing is promised, so that new cases cannot be judged."
        sections = [Section(_PROMISED, _ABOUT, [few]), Section(_NEW, _OF_NEW, [nothing])]
        return [few], sections, []
    file, read = audits.study.options.calibrator, partial(read_again, audits.study)
    shown = output / ("audit" if file is None else "calibrated")
    asks = replace(asks, output=output / "promise")
    fitted = make_promise(audits.curves, aside / "promise", [shown], asks, {}, read)
    about_new: list[Section] = [*_NOTHING_NEW]
    cases: list[dict[str, Any]] = []
    if new is not None:
        new = replace(new, options=replace(new.options, calibrator=file))
        new = new.behind_calibrator(*audits.behind)
        about_new, cases = _new(fitted.promise, new, aside, output, audits.faults)
    labeled = ({**layers, "reason": f"labeled, {layers['reason']}"} for layers in fitted.layers)
    more = (replace(part, files=[_PROMISE_PAGE]) for part in more_patients(fitted.promise))
    sections = [_kept(fitted), *about_new, *more]
    return [*_summary(fitted.promise, about_new)], sections, [*cases, *labeled][:MOST_SEEN]


_NOTHING_NEW = (
    Section(_NEW, _OF_NEW, ["Give their predictions with --new."]),
    Section(
        "Which new cases must be looked at?",
        "The case that may be worst is first. Dice says how well prediction and truth overlap, from 0 "
        "to 1; as often as promised it is as high or higher.",
        ["Give their predictions with --new."],
    ),
)


def _following(
    output: Path, options: Options, cases: Sequence[object], arguments: Sequence[object]
) -> dict[str, list[object]]:
    """What may be done next → its command: first of all count verdicts, or triage or report others."""
    file, taken = output / "promise" / PROMISE_FILE, options.words
    following: list[object] = [*arguments, "--new", "NEW"]
    if options.new and cases:
        following = ["triage", output / "triage", "--verdicts", "verdicts.csv"]
    elif options.new or options.members:
        following = ["triage", file, "NEW", *taken(Use.TRIAGE_NEW)]
    apply = ["promise", "--apply", file, "NEW", *taken(Use.PROMISE_APPLY), "--output", "contours"]
    maps: list[object] = ["maps", "NEW", *taken(Use.MAPS), "--output", "maps"]
    several = {"Calibrated maps of new patients": maps} if options.calibrator else {}
    return {"Next": following, **several, "Contours of new patients": apply}


def _summary(promise: Promise, new: Sequence[Section]) -> Iterator[str]:
    """The cases to open and the promise of the outer contours, in a sentence each."""
    unlike = [line for line in new[-1].sentences if ALARMED in line]
    yield from (f"{_UNLIKE} {line}" for line in unlike)
    if new[-1].headings:
        yield new[-1].sentences[0]
    for kept in promise.outer[:1]:
        having = " (if they have it)" * any(contour.lacking for contour in promise.outer)
        yield (
            f"In {kept.often} like these at most {kept.miss:.0%} of a structure{having} is outside its "
            "outer contour, which is larger than the structure on purpose."
        )


def _asked(options: Options, patients: int) -> Options | None:
    """The options for so many patients, None where nothing is promised to so few.

    Raises:
        InputError: If they are too few for a level that is asked for; before a volume is read.
    """
    if not options.level and patients < _FEWEST:
        return None
    asks = Options(
        level=options.level or (level_of(patients),),
        miss=options.miss,
        margin=options.margin,
        viewer=options.viewer,
        measure=options.measure,
        phases=options.phases,
        asymmetric=options.asymmetric,
    )
    for control in asked_controls(asks):
        control.check_patients(patients, "--level")
    return asks


def _found_new(study: Study, options: Options) -> Study | None:
    """The new patients; refuses those who are labeled or have no image, before a volume is read."""
    if options.new is None:
        return None
    new = find(options.new, None, options, promised=study.channels)
    labeled, found = ({*part.patients, *part.patients.values()} for part in (study, new))
    if seen := sorted(labeled & found):
        raise InputError(
            f"{options.new}: has {seen[0]}, who is among the labeled patients, and to whom a promise "
            "by them does not apply; give predictions of others"
        )
    if options.images:
        images_of_cases(options.images, [*new.patients], "--new-images")
    return new


def _of(study: Study, patients: Collection[str]) -> Study:
    """The cases of some patients."""
    return replace(study, cases=[case for case in study.cases if case.patient in patients])


def _kept(fitted: FittedPromise) -> Section:
    """The promises, and how sure they are."""
    return replace(
        all_promises(fitted.promise),
        title=_PROMISED,
        about=_ABOUT,
        sentences=fitted.promise.sentences,
        pictures={caption: source for caption, source, _ in fitted.cases[:1]},
        files=[_PROMISE_PAGE, f"promise/{PROMISE_FILE}", "promise/groups.csv"],
        numbers=fitted.promise.numbers,
    )


def _diagram(runs: Sequence[Run]) -> str:
    region = reports.drawn_regions(runs[0])[0]
    return reports.png_source(reports.draw_reliability(runs, region=region, errors=False))


def _trust(run: Run, calibrated: Run) -> Section:
    """The verdict on the probabilities as they were predicted, and which labels contradict the best."""
    texts = [leading_verdict(run), *decision_verdicts(run), run.caution]
    doubtful = doubtful_text(doubtful_labels(calibrated.metrics, SUSPECTS))
    found = {name: number for name in _AUDITED if (number := run.number(name)) is not None}
    return Section(
        "Can you trust the probabilities?",
        "A network gives each voxel a probability. It can be trusted if it is right as often as it "
        "says. The 5% contour is the one that would then leave out 5% of the structure.",
        [
            text.partition(" Calibrate it:")[0].partition(" Make one")[0]
            for text in filter(None, (*texts, doubtful))
        ],
        {"How often it is right, by what it says, near the prediction": _diagram([run])},
        ("", counted(len(run.cases), "case")),
        [(METRICS[k].label, number.text(METRICS[k].decimals)) for k, number in found.items()],
        files=["audit/page.html", "audit/cases.csv"],
        numbers=[row for row in numbers_of(run) if row["name"] in _AUDITED],
    )


def _calibrated(audits: _Audits, people: _People, way: str) -> Section:
    """The changes by a calibrator, for patients who did not fit it."""
    title = "Does calibration help?"
    about = (
        "A calibrator corrects the probabilities by what was right and wrong in labeled patients. It "
        "is tried on other patients, before and after. Lower is better; the 5% contour should miss 5%."
    )
    before, after = audits.before, audits.after
    if after is before:
        few = "Nothing is calibrated: too few patients would be left for a promise, since whoever fits a"
        return Section(title, about, [f"{few} calibrator cannot promise behind it. {way}"])
    found = reports.answers(before, after)
    left = [audits.sides.sentence(audits.behind[0].fit)] if audits.sides else []
    return Section(
        title,
        about,
        [*(answer.text for answer in found), *left],
        {"Before and after, of patients who did not fit the calibrator": _diagram([before, after])},
        ("", "Before", "After", ""),
        [
            (shown.label, shown.text(answer.before), shown.text(answer.after), answer.word)
            for answer in found
            for shown in [METRICS[answer.metric]]
        ],
        files=["calibrated/page.html", *["calibrator/calibrator.json"] * bool(people.fitting)],
        numbers=[row for row in numbers_of(after) if row["name"] in _AUDITED],
    )


def _new(
    promise: Promise, study: Study, aside: Path, output: Path, faults: list[InputError]
) -> tuple[list[Section], list[dict[str, Any]]]:
    """Volumes and contours of new cases, and which of them somebody must look at, with their layers."""
    file, options = output / "promise" / PROMISE_FILE, study.options
    channels = Channels.counted(promise.definition, str(file))
    study = replace(study, channels=replace(channels, painted=study.channels.painted))
    check_new(file, promise, study)
    contours, triage = Contours(study, aside / "new"), Triage(study, promise)
    add_cases(study, promise, faults, [contours, triage])
    contours.write()
    measures = triage.measuring.write(aside / "new")
    place = file, study.folder, output / "triage", options
    triage.write(aside / "triage", triage_command(*place), faults)
    listed = triage.table.to_dict("records")
    measured = triage.measured.values()
    looked = [row for row in listed if row["look"] == "yes"]
    usual = listed[min(len(listed) // 2, len(triage.cases) - 1)]
    volumes = [text for kept, text in promise.verdicts() if kept.kind == VOLUME]
    volume, look = _NOTHING_NEW
    sentences = [*volumes, *triage.measuring.sentences, *empty_text(pd.DataFrame(contours.rows))]
    caption = f"{usual['case']}, the contours of {usual['structure']}"
    return [
        replace(
            volume,
            sentences=sentences,
            pictures={caption: triage.picture(usual)},
            headings=("Case", "Structure", *_VOLUME, "Dice at least", "Outer in ml", "Inner in ml"),
            rows=[[*row_texts(row).values()] for row in contours.rows],
            files=[*(f"new/{name}" for name in (APPLIED, *measures)), "new"],
            notes=[f"{_INTERVAL} Outer and inner are the volumes of the contours."],
            whole=f"new/{APPLIED}",
            shown=_ROWS,
            numbers=[*contours.rows, *triage.measuring.rows],
        ),
        replace(
            look,
            sentences=[look_text(triage.table, options), *triage.cohort],
            pictures={f"{listed[0]['case']}: {listed[0]['reason']}": triage.picture(listed[0])},
            headings=("Case", "Structure", "Dice at least", *_VOLUME, *measured, "Reason"),
            rows=[[*row_texts(row).values()][1:] for row in looked],
            files=["triage/page.html", "triage/triage.csv"],
            notes=[f"{_INTERVAL} Each row is of the worst structure of a case."],
            whole="triage/triage.csv",
            shown=_ROWS,
            numbers=listed,
        ),
    ], [{**layers, "reason": f"new, {reason}"} for _, reason, _, layers in triage.drawn if layers]
