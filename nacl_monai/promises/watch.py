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
import json
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nacl_monai.errors import InputError
from nacl_monai.files import read_object, write_text
from nacl_monai.inference import records
from nacl_monai.metrics.curves import Curves
from nacl_monai.promises.check import counting
from nacl_monai.promises.cohort import known_of
from nacl_monai.promises.control import CONTOURS, Control, grown
from nacl_monai.promises.record import Promise
from nacl_monai.promises.rules import Rules, errors_of

Array = npt.NDArray[np.float64]
LOG = "log.json"
#: The probability that an alarm is ever false.
FALSE = 0.01
BETS = (-2.0, -1.0, 0.0, 1.0, 2.0)
JUMP = 0.01


_EVENT: dict[str, records.Check] = {
    "patient": records.maybe(records.text),
    "date": records.text,
    "random": records.number(0, 1),
    "values": records.mapped(records.number()),
}
_LOG: dict[str, records.Check] = {
    "promise": records.text,
    "streams": records.each(records.text, 1),
    "events": records.each(records.keyed(_EVENT)),
}


class WatchError(InputError):
    """The alarm that patients are not like those who calibrated any more; all files are written."""

    exit_code = 3


def ranks(before: Sequence[float], new: Sequence[float], drawn: Sequence[float]) -> Array:
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


def wealth(p_values: Array, bets: Sequence[float] = BETS, jump: float = JUMP) -> Array:
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


def drawn(checksum: str, patient: str) -> float:
    """The random number of a patient, from 0 to 1."""
    digest = hashlib.sha256(f"{checksum} {patient}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


@dataclass(frozen=True)
class Event:
    """What became known of a patient at a time: statistics, or by a label what was needed.

    Attributes:
        patient: None after `--forget`.
        date: In UTC.
        random: From `drawn`.
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

    def added(self, rows: Mapping[str, Mapping[str, float]], date: str) -> Watch:
        """With the numbers of more patients, by name; those that are known already stay."""
        known = {(event.patient, stream) for event in self.events for stream in event.values}
        events = []
        for patient, values in sorted(rows.items()):
            new = {
                stream: value for stream, value in values.items() if (patient, stream) not in known
            }
            if new:
                events.append(Event(patient, date, drawn(self.promise, patient), new))
        return replace(self, events=[*self.events, *events])

    def without_name(self, patient: str) -> Watch:
        """With the numbers of a patient, and without their name.

        Raises:
            InputError: If there is no such patient.
        """
        if patient not in {event.patient for event in self.events}:
            raise InputError(
                f"--forget: {patient!r} is not in the log; give the name of a patient who is"
            )
        return replace(
            self,
            events=[replace(e, patient=None) if e.patient == patient else e for e in self.events],
        )

    def write(self, file: Path) -> Path:
        """Writes the log."""
        events = [asdict(event) for event in self.events]
        record = {"promise": self.promise, "streams": list(self.known), "events": events}
        text = json.dumps({**record, records.CHECKSUM: records.own_checksum(record)}, indent=1)
        return write_text(file, text + "\n")

    def read(self, file: Path) -> Watch:
        """With the events of an earlier log, if there is one.

        Raises:
            InputError: If it is damaged, of another promise, or of other streams.
        """
        if not file.exists():
            return self
        remedy = "choose another --output, which begins a new log"
        record = read_object(file, remedy)
        lacks = "it has no checksum" * (records.CHECKSUM not in record)
        if fault := lacks or records.fault_in(record, _LOG):
            raise InputError(f"{file}: is not as it was written, {fault}; {remedy}")
        if record["promise"] != self.promise:
            raise InputError(f"{file}: watches another promise; {remedy}")
        if record["streams"] != list(self.known):
            begun = "with" if len(record["streams"]) > len(self.known) else "without"
            raise InputError(
                f"{file}: was begun {begun} promise.npz "
                f"beside promise.json; put it there as it was, or {remedy}"
            )
        return replace(self, events=[Event(**event) for event in record["events"]])


def statistics_of(curves: Curves) -> dict[str, dict[str, float]]:
    """Stream → patient → number, of the statistics that need no label."""
    names = sorted({*curves.patients})
    return {
        f"{structure}: {name}": dict(zip(names, numbers, strict=True))
        for structure, of_structure in known_of(curves, labeled=False).items()
        for name, numbers in of_structure.items()
    }


def needed(promise: Promise, curves: Curves) -> dict[str, dict[str, float]]:
    """Stream → patient → what a labeled patient needs: how many steps of a contour, or how wide a range.

    A step is a set of the family's path. They are counted until the patient's worst case loses no more
    than was promised of a patient; by "mean" and "most" of an average one.
    """
    found = {}
    for kept in promise.of_level():
        part, structure = counting(curves, kept), curves.structures.index(kept.structure)
        how = part, structure, kept.kind, kept.family, kept.margin
        if kept.kind in CONTOURS:
            rules = Rules(*how)
            lost = grown(rules.risks(Control(kept.level, miss=kept.miss or kept.level))) > 0
            numbers = dict(zip(rules.patients, lost.sum(1).astype(float).tolist(), strict=True))
        else:
            numbers = {}
            for patient, error in zip(part.patients, errors_of(*how).tolist(), strict=True):
                numbers[patient] = max(error, numbers.get(patient, -np.inf))
        found[f"{kept.structure}: {kept.kind} needed"] = dict(sorted(numbers.items()))
    return found


def found_within(
    patients: int, streams: int, shift: float, new: int = 500, lifetimes: int = 200
) -> Array:
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
