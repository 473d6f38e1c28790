"""``nacl-monai promise``: makes promises by calibration patients, and writes their numbers and page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from nacl_monai import reports
from nacl_monai.audits.command import print_faults, show
from nacl_monai.cli import print_next, print_written
from nacl_monai.errors import InputError, SettingError, print_line
from nacl_monai.evaluations.evaluated import few_text
from nacl_monai.evaluations.tables import Groups, csv_text, read_groups
from nacl_monai.files import checksum, write_text
from nacl_monai.inference.records import BY_CASE, EACH, MARGIN_ONLY, OUTER, fault_of_name
from nacl_monai.metrics.curves import CURVES_FILE, Curves, read_curves
from nacl_monai.metrics.sums_file import read_arrays
from nacl_monai.output import visible_files, written_folder
from nacl_monai.predictions.finding import find
from nacl_monai.predictions.identity import hidden
from nacl_monai.predictions.names import images_of_cases
from nacl_monai.predictions.options import Options, Use
from nacl_monai.promises.cases import labeled_case, meaning, read_study, seen_case
from nacl_monai.promises.control import Control, controls_of
from nacl_monai.promises.record import PROMISE_FILE, USELESS, Promise, one_in, size_text
from nacl_monai.promises.rules import (
    Rules,
    by_group,
    by_number,
    check_cases,
    fit,
    group_text,
    lines,
    number_headings,
    number_note,
)
from nacl_monai.reports.style import data_source
from nacl_monai.reports.viewer import (
    PAGE,
    PAGE_RECORD,
    Read,
    Section,
    is_seen,
    read_again,
    write_sections,
)
from nacl_monai.runs import EvaluationFolder, curves_file
from nacl_monai.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def promise_folders(folders: Sequence[Path], output: Path, options: Options) -> list[InputError]:
    """Makes promises by calibration patients, prints and writes them.

    Args:
        folders: A folder of predictions and one of label maps.
        output: The folder for ``promise.json``, ``promise.npz``, ``groups.csv``, figures and their
            page.
        options: As for an audit, with levels, control, family and margin.

    Returns:
        The faults of single cases; the others calibrate.

    Raises:
        InputError: If it takes more patients, or the input cannot be used; nothing is written then.
    """
    predictions, labels = folders
    with written_folder(output, "promise", read=[*folders, *options.files]) as folder:
        study = find(predictions, labels, options)
        show(study)
        if study.known_by == BY_CASE:
            check_cases(list(study.patients), predictions)
        for control in asked_controls(options):  # as are these
            control.check_patients(len(set(study.patients.values())), "--level")
        groups = _groups(options, study.patients)
        if options.images:  # before the first volume is read
            images_of_cases(options.images, [*study.patients])
        curves, faults = read_study(study)
        again = partial(read_again, study) if options.shows_patients else None
        fitted = make_promise(curves, folder, folders, options, groups, again)
    print_faults(faults)
    _print_made(fitted, output, options)
    return faults


def promise_sums(paths: Sequence[Path], output: Path, options: Options) -> list[InputError]:
    """The same from sums: ``promise.npz`` of several sites, or evaluated runs.

    Args:
        paths: These files, or the folders that they are in.
        output: As for `promise_folders`.
        options: Levels, control, family and margin.

    Returns:
        No fault.

    Raises:
        InputError: As there.
    """
    with written_folder(output, "promise", read=[*paths, *options.files]) as folder:
        files = [file for path in paths if (file := curves_file(path))]
        if len(files) != len(paths):
            raise SettingError(
                "promise: takes a folder of predictions and one of labels, an evaluated run, or "
                "promise.npz of sites"
            )
        parts = [_of_its_folder(read_curves(file)) for file in files]
        first, *more = hidden(parts, options.anonymous) if options.anonymous else parts
        curves = first.joined(more)
        groups = _groups(options, dict(zip(curves.cases, curves.patients, strict=True)))
        fitted = make_promise(curves, folder, paths, options, groups)
    _print_made(fitted, output, options)
    return []


def _of_its_folder(curves: Curves) -> Curves:
    """Refuses curves of other cases than the bins beside them."""
    bins = EvaluationFolder(curves.path.parent).bins
    remedy = "audit again, or move one of them away"
    named = read_arrays(bins, ["cases"], remedy)["cases"].tolist() if bins.is_file() else None
    if named is not None and (unlike := {*named} ^ {*curves.cases}):
        raise InputError(
            f"{curves.path}: {min(unlike)!r} is in it or in the {bins.name} beside it, but not in both; "
            f"{remedy}"
        )
    return curves


def _groups(options: Options, patients: Mapping[str, str]) -> Groups:
    """The groups of the patients; refuses a column of which no promise can be written."""
    groups, column = read_groups(options.groups, patients), options.by_group
    if column is None:
        return groups
    if column not in groups:
        known = f"choose from {', '.join(groups)}" if groups else "give its table with --groups"
        raise SettingError(f"--by-group: {column!r} is no column; {known}")
    for value in groups[column].values():
        if fault := fault_of_name(f"{column}_{value}"):
            where = f"{options.groups}: {value!r}"
            raise InputError(f"{where} {fault}, and would name a folder; rename it")
    return groups


def _print_made(fitted: FittedPromise, output: Path, options: Options) -> None:
    promise = fitted.promise
    print(promise.text(), *map("- {}".format, lines(fitted.by_group)), sep="\n")
    for name, own in fitted.promises.items():
        print(f"{name}, {counted(len(own.patients), 'patient')}:")
        texts = [text for kept, text in own.verdicts() if kept.kind == OUTER]
        print(*(f"- {text}" for text in (*texts, *own.unpromised)), sep="\n")
    if promise.known_by == BY_CASE:
        print_line("note", UNKNOWN, answer=True)
    print_written(visible_files(output))
    file = output / PROMISE_FILE
    arguments = [*options.words(Use.PROMISE_APPLY), "--output", "contours"]
    print_next("promise", "--apply", file, "NEW", *arguments)
    print_next("triage", file, "NEW", *options.words(Use.TRIAGE_NEW))


def count_shard(folders: Sequence[Path], output: Path, options: Options) -> list[InputError]:
    """Writes ``promise.npz`` of a part of the patients, who alone need not be enough for a promise.

    Args:
        folders: The folder of predictions, and that of label maps.
        output: The folder for the file.
        options: As for an audit, with ``shard``.

    Returns:
        The faults of single cases.

    Raises:
        InputError: If the input cannot be used; nothing is written then.
    """
    predictions, labels = folders
    with written_folder(output, "promise", read=[*folders, *options.files]) as folder:
        study = find(predictions, labels, options)
        show(study)
        curves, faults = read_study(study)
        curves.write(folder / CURVES_FILE)
    print_faults(faults)
    print_written(visible_files(output))
    print_next("promise", output / CURVES_FILE, "THOSE_OF_THE_OTHER_SHARDS")
    return faults


UNKNOWN = "each case counts as a patient; say whose it is with --patient-pattern or --patients"
# The columns of `nacl_monai.promises.Promise.table`.
_COLUMNS = (
    "Size is how many times as large as the structure a contour is; for a volume, the factor up and "
    "down; for Dice, how far its bound is below it on average. Without probabilities, contours are "
    "margins around the prediction. What is not controlled is the contour that by its probabilities "
    "misses as much as was promised."
)
_TESTED = (
    "Whether they are kept takes labels of patients who did not calibrate: of those who did, as many "
    "fail as the rule says, whatever the network."
)
_INTERVALS = (
    "Numbers in brackets are 95% intervals over patients. A contour that is more than "
    f"{USELESS:g} times as large as the structure is called of no use."
)
_OF_GROUPS = (
    "How many fail in all is fixed; who fails is not. p is how often a group of so many has as many or "
    "more by chance; of many groups one has a small p. A group that a promise fails needs one of its "
    "own, by its own patients: --groups TABLE --by-group COLUMN."
)
# Figure → title and caption.
_FIGURES = {
    "misses": (
        "Why this contour?",
        "The lower the threshold, the larger the contour, and the less is outside. The chosen threshold "
        "is the highest that keeps the promise.",
    ),
    "sizes": (
        "How large is an outer contour?",
        "The less it may miss, the larger a contour is. The margin needs no probabilities, and is what "
        "they must beat.",
    ),
    "volumes": (
        "Are the volumes in their intervals?",
        "A line is the interval of a case, a dot its true volume. An axis ends at three times the "
        "largest, and how many lines go on above it is in the title.",
    ),
}
#: Caption, picture and layers of a case.
_Drawn: TypeAlias = "tuple[str, str, dict[str, Any] | None]"
_GROUPS = "groups.csv"
_SIDE_BY_SIDE = 3  # so many structures of a case


@dataclass(frozen=True)
class FittedPromise:
    """A promise, its numbers in groups, and the cases of its page."""

    promise: Promise
    by_group: pd.DataFrame
    promises: Mapping[str, Promise]
    cases: Sequence[_Drawn] = ()

    @property
    def layers(self) -> list[dict[str, Any]]:
        """Those of the cases that have some."""
        return [layers for *_, layers in self.cases if layers]


def asked_controls(options: Options) -> list[Control]:
    """The controls that a command asks for."""
    return controls_of(options.control, options.level, options.miss, options.confidence)


def make_promise(
    curves: Curves,
    folder: Path,
    paths: Sequence[Path],
    options: Options,
    groups: Groups,
    read: Read | None = None,
) -> FittedPromise:
    """Fits a promise, and writes its numbers, those of its groups, its figures and its page.

    Args:
        curves: Of all patients.
        folder: Where the files are written.
        paths: The arguments of the command, for the page.
        options: The command's.
        groups: From `nacl_monai.evaluations.tables.read_groups`.
        read: The function that reads cases again; without it the page has none.

    Raises:
        InputError: If there are too few patients.
    """
    fitted = _fitted(curves, folder, options, groups)
    figures: dict[str, str] = {}
    if options.pictures:
        for name, figure in draw_figures(fitted.promise):
            png, _ = reports.save_figure(figure, folder / name)
            figures[name] = data_source(png.read_bytes())
        seen = replace(fitted.promise, read=read)
        fitted = replace(fitted, cases=list(contours(seen, viewer=is_seen(options))))
    settings = options.words(Use.PROMISE_FOLDERS, travels=False)
    command = options.command("promise", *paths[:-1], *options.members, paths[-1], *settings)
    _write_page(fitted, folder / PAGE, command, figures, PAGE_RECORD)
    return fitted


def _fitted(curves: Curves, folder: Path, options: Options, groups: Groups) -> FittedPromise:
    """The promise, whose numbers are written, and those of groups by their own patients."""
    settings: dict[str, Any] = {"family": options.family, "margin": options.margin}
    how = {**settings, "measures": options.measure, "phases": options.phases}
    how["asymmetric"] = options.asymmetric
    controls = asked_controls(options)
    sums = checksum(curves.write(folder / CURVES_FILE))
    promise = fit(curves, controls, sums=sums, **how)
    promise.write(folder / PROMISE_FILE)
    found = by_group(curves, controls, groups, **settings)
    write_text(folder / _GROUPS, csv_text(found))
    of_groups, of_patient = {}, groups[options.by_group] if options.by_group else {}
    most = max(controls, key=lambda control: control.needed)
    for value in sorted({*of_patient.values()}):
        name, place = f"{options.by_group} {value}", folder / f"{options.by_group}_{value}"
        members = {patient for patient in of_patient if of_patient[patient] == value}
        part = curves.chosen(members)
        if len(members) < most.needed:
            print_line("note", f"{name}: {most.few(len(members))}", answer=True)
            continue
        sums = checksum(part.write(place / CURVES_FILE))
        of_groups[name] = fit(part, controls, sums=sums, group=name, **how)
        of_groups[name].write(place / PROMISE_FILE)
    return FittedPromise(promise, found, of_groups)


def draw_figures(promise: Promise) -> Iterator[tuple[str, Figure]]:
    """What each patient needs, sizes by level, and volumes in their intervals."""
    from nacl_monai.promises import pictures  # noqa: PLC0415 - drawn last, and slow to load

    if promise.curves is None:
        return
    settings = promise.settings
    if promise.outer:
        control = promise.control_of(promise.outer[0])
        if promise.control == EACH and settings["family"] != MARGIN_ONLY:
            yield "misses", pictures.draw_misses(promise.curves, control, **settings)
        yield "sizes", pictures.draw_sizes(promise.curves, control, settings["margin"])
    yield "volumes", pictures.draw_volumes(promise.curves, promise.controls[0], **settings)


def contours(promise: Promise, *, viewer: bool = True) -> Iterator[_Drawn]:
    """The contours of calibration patients with the usual miss and with the largest.

    Args:
        promise: With its curves and the function that reads cases; nothing is drawn without them.
        viewer: Whether cases have layers.
    """
    from nacl_monai.promises.pictures import draw_case  # noqa: PLC0415 - as above

    if promise.read is None or promise.curves is None or not promise.outer:
        return
    first = promise.outer[0]
    kept = promise.of_level(first.level, first.miss)
    names = [contour.structure for contour in kept if contour.kind == OUTER]
    chosen = list(_chosen(promise.curves, promise.control_of(first), names, promise))
    readings = promise.read([name for name, *_ in chosen])
    for (_, reason, worst), (reading, image) in zip(chosen, readings, strict=True):
        case = labeled_case(reading, promise, kept)
        layers = seen_case(case, kept, image, reason, worst[0]) if viewer else None
        source = reports.png_source(draw_case(case, worst, image))
        yield f"{case.name}, {reason} ({meaning(first)})", source, layers


def _chosen(
    curves: Curves, control: Control, names: Sequence[str], promise: Promise
) -> Iterator[tuple[str, str, list[str]]]:
    """The names of cases, the reason to show them, and the structures with the largest miss."""
    shown = [curves.structures.index(name) for name in names]
    found = [Rules(curves, k, OUTER, **promise.settings).misses(control) for k in shown]
    missed = np.array([[of_case.get(case, 0.0) for case in curves.cases] for of_case in found])
    order = missed.max(0, initial=0).argsort(kind="stable")
    places = {"most of all": -1, "second most": -2, "as usual": len(order) // 2}
    for what, place in places.items():
        of_case = missed[:, order[place]]
        worst = of_case.argsort(kind="stable")[::-1][:_SIDE_BY_SIDE]
        shares = ", ".join(f"{of_case[k]:.1%} of {names[k]}" for k in worst)
        fails = control.kind == EACH and bool(of_case.max() > control.miss)
        which = f", one of the {one_in(control.level)} with more" * fails
        reason = f"missed {what}: {shares}{which}"
        yield curves.cases[order[place]], reason, [names[k] for k in worst]


def promise_page(promise: Promise, file: Path, *, viewer: bool = True) -> Path:
    """Writes `nacl_monai.promises.Promise.page`, with what was fitted and cases that can be read."""
    figures = {name: reports.png_source(figure) for name, figure in draw_figures(promise)}
    cases = [*contours(promise)] if viewer else []
    fitted = FittedPromise(promise, pd.DataFrame(), {}, cases)
    return _write_page(fitted, file, "nacl_monai.promises.Promise.page", figures)


def _write_page(
    fitted: FittedPromise,
    file: Path,
    command: str,
    figures: Mapping[str, str],
    beside: str | None = None,
) -> Path:
    """Writes the page and, under a name beside it, what it says; returns its path.

    Args:
        fitted: The promise.
        file: The file.
        command: The command that makes the page again.
        figures: Name → the source of a picture, from `draw_figures`.
        beside: As `nacl_monai.reports.viewer.write_sections` takes it.

    Raises:
        InputError: If it cannot be written.
    """
    promise, groups = fitted.promise, fitted.by_group.to_dict("records")
    head = Section(
        "What is promised",
        _about(promise),
        promise.sentences,
        notes=[_INTERVALS + f" Mind that {UNKNOWN}." * (promise.known_by == BY_CASE)],
        numbers=promise.numbers,
    )
    drawn = {caption: source for caption, source, _ in fitted.cases}
    sections = [
        Section("What contours look like", pictures=drawn, viewer=True),
        *(
            Section(title, pictures={caption: figures[name]})
            for name, (title, caption) in _FIGURES.items()
            if name in figures
        ),
        _by_group(promise, groups),
        *more_patients(promise),
        all_promises(promise),
    ]
    return write_sections(
        file,
        head,
        [section for section in sections if section.pictures or section.rows],
        {"Made by": command},
        layers=fitted.layers,
        beside=beside,
        measures=[{**asdict(measure), "text": measure.text} for measure in promise.measures],
        groups=groups,
        patients=promise.patients,
    )


def _about(promise: Promise) -> str:
    """For whom it is."""
    each = "in as many of them as each says" if promise.control == EACH else "not for each of them"
    return (
        f"{len(promise.patients)} patients calibrated these promises. They hold {promise.unit}, {each}, "
        f"and not for patients of another kind. {_TESTED} {promise.few}"
    ).rstrip()


def _by_group(promise: Promise, groups: Sequence[Mapping[Any, Any]]) -> Section:
    """Who fails, in groups of the patients."""
    missed = "With more outside" if promise.control == EACH else "Missed"
    return Section(
        "Does it hold for mine?",
        headings=["Outer contour", "Group", missed, "Size"],
        rows=[_group_row(row) for row in groups if row["kind"] == OUTER],
        notes=[_OF_GROUPS],
    )


def more_patients(promise: Promise) -> Iterator[Section]:
    """What more patients give."""
    if promise.curves is None or not promise.outer:
        return
    control = promise.control_of(promise.outer[0])
    yield Section(
        "What do more patients give?",
        "The more patients calibrate, the less such calibrations differ, and on the whole the smaller "
        "contours are.",
        [number_note(control)],
        headings=number_headings(control, promise.definition["structures"]),
        rows=by_number(promise.curves, control, **promise.settings),
    )


def all_promises(promise: Promise) -> Section:
    """The table of all promises."""
    table = promise.table
    headings, rows = ["Promise", *table], [*map(list, table.itertuples())]
    return Section("All promises", headings=headings, rows=rows, notes=[_COLUMNS])


def _group_row(row: Mapping[Any, Any]) -> list[str]:
    """A group in the table of the page: its patients, what was missed, and the size."""
    share = f"{row['level']:.0%}"
    if not pd.isna(row["miss"]):
        share = f"{row['miss']:.0%} but in {one_in(row['level'])} patients"
    head = [f"{row['structure']}, {share}", f"{row['group']}: {row['value']}"]
    few = few_text(row["patients"], "patient")
    return [*head, group_text(row), size_text({**row, "size_low": None}) if few else size_text(row)]
