r"""Does a promise still hold? New patients one by one, with an alarm that is seldom false, ever.

**A stream** is one number of each patient: a statistic that needs no label
(`nacl_monai.promises.cohort`), or, where a label is there, what the patient would have needed
(`needed`). If new patients are like the n who calibrated, the smoothed rank of the t-th among all
before,

.. math:: p_t = \frac{\#\{i : x_i > x_t\} + u_t\,(1 + \#\{i : x_i = x_t\})}{n + t},

is uniform and independent of the ranks before. The random :math:`u_t` comes from the promise's checksum
and the patient's name, so that a second run draws the same curve.

**A bet.** Wealth of 1 is divided among the bets :data:`BETS`; a patient multiplies that on b by
:math:`1 + b\,(p_t - 1/2)`, and then a share :data:`JUMP` of all is divided anew. This *simple jumper*
is a martingale: by Ville's inequality the wealth reaches :math:`1/\delta`, ever, with a probability of
at most δ.

**One alarm.** Ranks of several streams are not independent, so that a mean of their martingales is
none. Each of S streams rings at :math:`S / \delta`; by the union bound the alarm is false with a
probability of at most δ = :data:`FALSE`, however often somebody looks.

References:
    Retrain or Not Retrain: Conformal Test Martingales for Change-Point Detection (Vovk et al., 2021),
    arXiv 2102.10439, algorithm 1.
    Algorithmic Learning in a Random World (Vovk et al., 2022), chapter 8.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nacl_monai import reports
from nacl_monai.audits.command import print_faults, show
from nacl_monai.audits.measuring import curve_of, curves_of
from nacl_monai.cli import print_written
from nacl_monai.errors import InputError
from nacl_monai.files import checksum, read_checked, write_text
from nacl_monai.inference import records
from nacl_monai.inference.records import CONTOURS
from nacl_monai.metrics.curves import Curves
from nacl_monai.output import visible_files, written_folder
from nacl_monai.predictions.identity import Salt, salt_of
from nacl_monai.predictions.options import Options, Use
from nacl_monai.predictions.study import Study
from nacl_monai.promises.cases import find_new
from nacl_monai.promises.check import curves_beside
from nacl_monai.promises.cohort import LABELED, Known, check_strangers, known_of
from nacl_monai.promises.control import Control, grown, worst_by_patient
from nacl_monai.promises.record import PROMISE_FILE, Promise, read_promise
from nacl_monai.promises.rules import Rules, counting, errors_of
from nacl_monai.reports.viewer import PAGE, Section, write_sections
from nacl_monai.tensors import Floats
from nacl_monai.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOG = "log.json"
_HEADINGS = ("Stream", "Calibrated", "New patients", "Wealth now", "Largest")
_NO = ("–", "–")  # wealth, now and at most
_UNLIKE = (
    "These patients are not like those who calibrated the promise, and it may not hold for them. Look "
    "at what has changed, and promise anew with labeled patients of now."
)
_STREAMS = (
    "Each stream is one number of each new patient. It bets that the number is like those of the "
    "patients who calibrated and came before. As long as that is so, its wealth stays small: the "
    "probability that any of them ever reaches {}, however often one looks, is at most {}."
)
_COLORS = (
    "The wealth of each stream by new patients, and the alarm. Dates are in UTC. The three streams "
    "that grew most have a color."
)
_SIMULATED = (
    "Simulated, of one stream that changes before the first new patient. A slow change is found, too, "
    "and later; one that leaves all of these numbers as they are never is."
)
_NEEDED = (
    "What is needed is how many steps of a contour, or how wide an interval, a labeled patient takes: "
    "the more, the worse."
)
_NO_COHORT = "is of an earlier version, which has no statistics of who calibrated; make it again"
_WAIT = 600  # seconds for another call that writes the log
_SHIFTS = (1, 2)  # standard deviations
_CHANGED, _SHOWN = 500, 3  # new patients of a lifetime; streams with a color
#: The probability that an alarm is ever false.
FALSE = 0.01
#: The end of the name of a stream that takes labels.
NEEDED = " needed"
BETS = (-2.0, -1.0, 0.0, 1.0, 2.0)
JUMP = 0.01


_EVENT: dict[str, records.Condition] = {
    "patient": records.maybe(records.text),
    "date": records.text,
    "random": records.number(0, 1),
    "values": records.mapped(records.number()),
}
#: What ``log.json`` holds.
LOGGED: dict[str, records.Condition] = {
    "promise": records.text,
    "streams": records.each(records.text, 1),
    "events": records.each(records.keyed(_EVENT, ["patient"])),
    records.CHECKSUM: records.text,
}


class WatchError(InputError):
    """The alarm that patients are not like those who calibrated any more; all files are written."""

    exit_code = 3


def ranks(before: Sequence[float], new: Sequence[float], drawn: Sequence[float]) -> Floats:
    """The smoothed rank of each new number among all before it, from the top; uniform without a change.

    Args:
        before: Of those who calibrated.
        new: Of the new patients, in their order.
        drawn: A random number of each.

    Example:
        >>> ranks([1.0, 2.0], [3.0, 0.0, 3.0], [0.5, 0.5, 0.5]).tolist()
        [0.16666666666666666, 0.875, 0.2]
    """
    known, found = sorted(before), []
    for number, random in zip(new, drawn, strict=True):
        low, high = bisect_left(known, number), bisect_right(known, number)
        found.append((len(known) - high + random * (high - low + 1)) / (len(known) + 1))
        insort(known, number)
    return np.array(found)


def wealth(p_values: Floats, bets: Sequence[float] = BETS, jump: float = JUMP) -> Floats:
    """The logarithm of the wealth after each p-value, along the last axis.

    Args:
        p_values: From `ranks`.
        bets: On p-values above one half, from -2 to 2.
        jump: The share that is divided anew among the bets before each.
    """
    p_values = np.asarray(p_values, np.float64)
    shares = np.full((len(bets), *p_values.shape[:-1]), 1 / len(bets))
    slopes = np.reshape(bets, (-1, *[1] * (p_values.ndim - 1)))
    total, found = np.zeros(p_values.shape[:-1]), np.zeros(p_values.shape)
    for step in range(p_values.shape[-1]):
        shares = (1 - jump) * shares + jump / len(bets)
        shares = shares * (1 + slopes * (p_values[..., step] - 0.5))
        sums = shares.sum(0)
        total, shares = total + np.log(sums), shares / sums
        found[..., step] = total
    return found


def random_number(checksum: str, patient: str) -> float:
    """The random number of a patient, from 0 to 1."""
    digest = hashlib.sha256(f"{checksum} {patient}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


@dataclass(frozen=True)
class Event:
    """What became known of a patient at a time: statistics, or by a label what was needed.

    Attributes:
        patient: None after `--forget`.
        date: In UTC.
        random: From `random_number`.
        values: Stream → number.
    """

    patient: str | None
    date: str
    random: float
    values: Mapping[str, float]

    @property
    def name(self) -> str:
        """The patient."""
        return self.patient or "a patient whose name was removed"


@dataclass(frozen=True)
class Alarm:
    """The first time that a stream rang.

    Attributes:
        stream: Which one.
        since: When its wealth began to grow.
        at: When it rang.
        before: The mean of those who calibrated.
        now: The mean of the patients from then to the alarm.
    """

    stream: str
    since: Event
    at: Event
    before: float
    now: float

    def __str__(self) -> str:
        way = "up" if self.now > self.before else "down"
        return (
            f"ALARM on {self.at.date[:10]}, at {self.at.name}: {self.stream} went {way}, from "
            f"{self.before:.3g} to {self.now:.3g}, since {self.since.name} of {self.since.date[:10]}"
        )


@dataclass(frozen=True)
class Watch:
    """All that is known of new patients, in the order in which it became known.

    Attributes:
        promise: The checksum of ``promise.json``.
        known: Stream → its numbers of those who calibrated.
        events: Of new patients.
    """

    promise: str
    known: dict[str, Sequence[float]]
    events: Sequence[Event] = ()

    @property
    def limit(self) -> float:
        """The wealth at which a stream rings."""
        return len(self.known) / FALSE

    def curve(self, stream: str) -> dict[int, float]:
        """The position of each event of a stream → the logarithm of the wealth after it."""
        events = {k: event for k, event in enumerate(self.events) if stream in event.values}
        new = [event.values[stream] for event in events.values()]
        p_values = ranks(self.known[stream], new, [event.random for event in events.values()])
        return dict(zip(events, wealth(p_values).tolist(), strict=True))

    @property
    def alarm(self) -> Alarm | None:
        """The first alarm, if there was one."""
        rung = {
            place: stream
            for stream in reversed(self.known)  # of several at once the first
            for place, height in self.curve(stream).items()
            if height >= np.log(self.limit)
        }
        return self._alarm(rung[min(rung)], min(rung)) if rung else None

    def _alarm(self, stream: str, at: int) -> Alarm:
        """The alarm of a stream at a position; it began where the wealth was lowest."""
        curve = {-1: 0.0} | {k: height for k, height in self.curve(stream).items() if k <= at}
        lowest = min(reversed(curve), key=lambda k: curve[k])
        moved = [self.events[k] for k in curve if k > lowest]
        now = np.mean([event.values[stream] for event in moved])
        return Alarm(stream, moved[0], moved[-1], float(np.mean(self.known[stream])), float(now))

    @property
    def lines(self) -> list[str]:
        """The answer in words."""
        patients = counted(len({event.random for event in self.events}), "patient")
        labeled = sum(name.endswith(NEEDED) for name in self.known)
        text = f"Watched {patients} by {counted(len(self.known), 'stream')}"
        text += f", {labeled} of which take labels" * bool(labeled)
        if alarm := self.alarm:
            return [f"{text}.", f"{alarm}."]
        heights = {name: max([0.0, *self.curve(name).values()]) for name in self.known}
        most = max(heights, key=lambda name: heights[name])
        return [
            f"{text}: no alarm, which would come at a wealth of {self.limit:,.0f}; the most was "
            f"{np.exp(heights[most]):.3g} ({most})."
        ]

    def added(self, rows: Mapping[str, Mapping[str, float]], date: str) -> Watch:
        """With the numbers of more patients, by name; those that are known already stay."""
        known = {(event.patient, stream) for event in self.events for stream in event.values}
        events = [*self.events]
        for patient, values in sorted(rows.items()):
            if new := {name: values[name] for name in values if (patient, name) not in known}:
                events.append(Event(patient, date, random_number(self.promise, patient), new))
        return replace(self, events=events)

    def without_name(self, patient: str) -> Watch:
        """With the numbers of a patient, and without their name.

        Raises:
            InputError: If there is no such patient.
        """
        if patient not in {event.patient for event in self.events}:
            where = f"--forget: {patient!r}"
            raise InputError(f"{where} is not in the log; give the name of a patient who is")
        events = [replace(e, patient=None) if e.patient == patient else e for e in self.events]
        return replace(self, events=events)

    def write(self, file: Path) -> Path:
        """Writes the log."""
        events = [asdict(event) for event in self.events]
        record = {"promise": self.promise, "streams": list(self.known), "events": events}
        return write_text(file, records.sealed_text(record, indent=1))

    def read(self, file: Path) -> Watch:
        """With the events of an earlier log, if there is one.

        Raises:
            InputError: If it is damaged, of another promise, or of other streams.
        """
        if not file.exists():
            return self
        remedy = "choose another --output, which begins a new log"
        record = read_checked(file, partial(records.fault_in, table=LOGGED), remedy)
        if record["promise"] != self.promise:
            raise InputError(f"{file}: watches another promise; {remedy}")
        if record["streams"] != list(self.known):
            begun = "with" if len(record["streams"]) > len(self.known) else "without"
            what = f"was begun {begun} promise.npz beside promise.json"
            raise InputError(f"{file}: {what}; put it there as it was, or {remedy}")
        return replace(self, events=[Event(**event) for event in record["events"]])


def statistics_of(curves: Curves) -> dict[str, dict[str, float]]:
    """Stream → patient → number, of the statistics that need no label."""
    names, found = sorted({*curves.patients}), _streams(known_of(curves, labeled=False))
    return {stream: dict(zip(names, found[stream], strict=True)) for stream in found}


def _streams(known: Known) -> dict[str, Sequence[float]]:
    """The numbers that need no label, by the names of their streams."""
    return {
        f"{structure}: {name}": list(numbers)
        for structure, of_structure in known.items()
        for name, numbers in of_structure.items()
        if name != LABELED
    }


def needed(promise: Promise, curves: Curves) -> dict[str, dict[str, float]]:
    """Stream → patient → what a labeled patient needs: how many steps of a contour, or how wide a range.

    A step is a set of the family's path. They are counted until the patient's worst case loses no more
    than was promised of a patient; by "mean" and "most" of an average one.
    """
    found = {}
    for kept in promise.of_level():
        part = counting(curves, kept.structure, kept.kind)
        structure = curves.structures.index(kept.structure)
        how = part, structure, kept.kind, kept.family, kept.margin
        if kept.kind in CONTOURS:
            risks = Rules(*how).risks(Control(kept.level, miss=kept.miss or kept.level))
            numbers = (grown(risks) > 0).sum(1).astype(float)
        else:
            numbers = worst_by_patient(errors_of(*how), part.patients, -np.inf)
        needs = zip(sorted({*part.patients}), numbers.tolist(), strict=True)
        found[f"{kept.structure}: {kept.kind}{NEEDED}"] = dict(needs)
    return found


def found_within(
    patients: int, streams: int, shift: float, new: int = 500, lifetimes: int = 200
) -> Floats:
    """After how many new patients a sudden change rings, infinite where it never does, (lifetimes,).

    Args:
        patients: Who calibrated.
        streams: How many are watched; one of them changes.
        shift: Of normal numbers, in standard deviations, from the first new patient on.
        new: For how many patients each lifetime lasts.
        lifetimes: How many are drawn.
    """
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(lifetimes, patients + new))
    numbers[:, patients:] += shift
    above = [(numbers[:, :k] > numbers[:, k, None]).sum(1) for k in range(patients, patients + new)]
    places = np.arange(patients, patients + new) + 1
    p_values = (np.stack(above, 1) + rng.uniform(size=(lifetimes, new))) / places
    over = wealth(p_values) >= np.log(streams / FALSE)
    return np.where(over.any(1), over.argmax(1) + 1.0, np.inf)


def watch_folder(file: Path, new: Path | None, output: Path, options: Options) -> list[InputError]:
    """Adds new patients to the log of a promise, and writes its page.

    Args:
        file: ``promise.json``, or the folder that it is in.
        new: The folder of the new predictions; None to remove a name alone.
        output: The folder of ``log.json`` and ``page.html``.
        options: As for an audit, with ``labels``, ``forget`` and ``alarm``.

    Returns:
        The faults of single cases, whose patients are left out until they can be read.

    Raises:
        InputError: If the promise does not hold for these predictions, or the log is damaged.
        WatchError: At the end, by ``alarm``, if it rang, now or earlier.
    """
    faults: list[InputError] = []
    places = [file, *filter(None, [new])]
    with written_folder(output, "watch", wait=_WAIT, read=[*places, *options.files]) as folder:
        promise = read_promise(file)
        watch = begun(file, promise).read(output / LOG)
        if options.forget is not None:
            salt = None if options.salt is None else Salt.read(options.salt)
            watch = watch.without_name(salt.hide(options.forget) if salt else options.forget)
        if new is not None:
            watch = _with_new(watch, file, promise, new, options, faults)
        watch.write(folder / LOG)
        again = replace(options, output=output, forget=None)  # a name that is forgotten is nowhere
        arguments = [*options.members, *again.words(Use.WATCH, travels=False)]
        _write_page(watch, folder / PAGE, options.command("watch", *places, *arguments))
    print_faults(faults)
    print(*watch.lines, sep="\n")
    print_written(visible_files(output))
    if options.alarm and watch.alarm:
        raise WatchError(f"{output / LOG}: {watch.alarm}. Look at why, and promise anew")
    return faults


def begun(file: Path, promise: Promise) -> Watch:
    """The watch of a promise before the first new patient.

    Raises:
        InputError: If the promise has no statistics of who calibrated it.
    """
    if not promise.cohort:
        raise InputError(f"{file}: {_NO_COHORT}")
    known = _streams(promise.cohort)
    if (curves := curves_beside(file, promise)) is not None:
        known |= {name: list(numbers.values()) for name, numbers in needed(promise, curves).items()}
    return Watch(checksum(file / PROMISE_FILE if file.is_dir() else file), known)


def _with_new(
    watch: Watch,
    file: Path,
    promise: Promise,
    new: Path,
    options: Options,
    faults: list[InputError],
) -> Watch:
    """With the patients of a folder whom the log does not have, and what labels say."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    study = find_new(file, promise, new, options)
    show(study)
    labeled = {name for name in watch.known if name.endswith(NEEDED)}

    def unlabeled(curves: Curves) -> dict[str, dict[str, float]]:
        check_strangers(curves, promise.images or promise.cohort)
        return statistics_of(curves)

    rows = _numbers(watch, study, {*watch.known} - labeled, unlabeled, faults)
    if options.labels and labeled:
        study = _labeled(find_new(file, promise, new, options, options.labels), study)
        later = _numbers(watch, study, labeled, partial(needed, promise), faults)
        for patient, numbers in later.items():
            rows.setdefault(patient, {}).update(numbers)
    return watch.added(rows, date)


def _labeled(labeled: Study, study: Study) -> Study:
    """The cases of the patients all of whose cases have a label by now."""
    names = {case.name for case in labeled.cases}
    waiting = {case.patient for case in study.cases if case.name not in names}
    cases = [case for case in labeled.cases if case.patient not in waiting]
    return replace(labeled, cases=cases, faults=())


def _numbers(
    watch: Watch,
    study: Study,
    streams: Collection[str],
    numbers_of: Callable[[Curves], dict[str, dict[str, float]]],
    faults: list[InputError],
) -> dict[str, dict[str, float]]:
    """Patient → stream → number, of the patients who have none of these streams in the log."""
    salt = salt_of(study.options)
    there = {event.patient for event in watch.events if event.values.keys() & {*streams}}
    names = {name: salt.hide(name) if salt else name for name in study.patients.values()}
    cases = [case for case in study.cases if names[case.patient] not in there]
    rows: dict[str, dict[str, float]] = {}
    curves = _whole_patients(replace(study, cases=cases), faults)
    for stream, numbers in numbers_of(curves).items() if curves is not None else ():
        for patient, number in numbers.items():
            rows.setdefault(names[patient], {})[stream] = number
    return rows


def _whole_patients(study: Study, faults: list[InputError]) -> Curves | None:
    """The curves of the patients all of whose cases could be read; None if there are none."""
    if not study.cases:
        return None
    found = {case.name: (case, curve) for case, curve in study.each(curve_of, faults)}
    lost = {case.patient for case in study.cases if case.name not in found}
    whole = [pair for pair in found.values() if pair[0].patient not in lost]
    return curves_of(study, *zip(*whole, strict=True)) if whole else None


def _write_page(watch: Watch, file: Path, command: str) -> Path:
    """Writes the page: the verdict, the curves, a row for each stream, and what so many can find."""
    rows = []
    for stream, known in watch.known.items():
        curve = [*watch.curve(stream).values()]
        heights = [f"{np.exp(height):.3g}" for height in (curve[-1], max(curve))] if curve else _NO
        rows.append([stream, str(len(known)), str(len(curve)), *heights])
    found = Section("What can be found with so many?", "", findable(watch), notes=[_SIMULATED])
    streams = Section("All streams", headings=_HEADINGS, rows=rows, notes=[_NEEDED])
    head = Section(
        "Does the promise still hold?",
        sentences=[*watch.lines, *[_UNLIKE] * bool(watch.alarm)],
        pictures={_COLORS: reports.png_source(draw_watch(watch))},
        notes=[_STREAMS.format(f"{watch.limit:,.0f}", f"{FALSE:.0%}")],
    )
    return write_sections(file, head, [found, streams], {"Made by": command}, beside=None)


def findable(watch: Watch) -> list[str]:
    """Which sudden change of one stream would be found with so many who calibrated, a line each."""
    patients = min(map(len, watch.known.values()))
    lines = []
    for shift in _SHIFTS:
        after = found_within(patients, len(watch.known), shift, _CHANGED)
        seen = np.isfinite(after).mean()
        when = f", half of them within {np.median(after[np.isfinite(after)]):.0f}" if seen else ""
        change = f"A change by {counted(shift, 'standard deviation')}"
        lines += [f"{change} rings in {seen:.0%} of lifetimes of {_CHANGED} patients{when}."]
    return lines


def draw_watch(watch: Watch) -> Figure:
    """The wealth of every stream by its patients; those that grew most have a color."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - slow to load

    from nacl_monai.reports.style import house_style, new_figure  # noqa: PLC0415 - as slow

    curves = {stream: [0.0, *watch.curve(stream).values()] for stream in watch.known}
    most = sorted(curves, key=lambda stream: -max(curves[stream]))[:_SHOWN]
    with house_style():
        figure = new_figure(height=3.2)
        ax = figure.subplots()
        for stream, curve in curves.items():
            if stream not in most:
                ax.plot(np.exp(curve), color="0.8", linewidth=0.8)
        for stream in most:
            ax.plot(np.exp(curves[stream]), label=stream)
        ax.axhline(watch.limit, color="black", linestyle="--", linewidth=1)
        right: Any = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points"}
        ax.annotate("alarm", (1, watch.limit), (-2, 2), **right, ha="right", va="bottom")
        ax.set(yscale="log", xlabel="New patients", ylabel="Wealth of the bets")
        ax.yaxis.set_major_formatter("{x:,.9g}")  # a style without formulas shows no powers
        ax.set_ylim(top=max(10 * watch.limit, ax.get_ylim()[1]))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside upper center", ncols=2)
    return figure
