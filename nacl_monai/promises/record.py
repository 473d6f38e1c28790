"""A promise as data: what is guaranteed of whom, ``promise.json``, and its sentences."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nacl_monai import promises
from nacl_monai.errors import SettingError
from nacl_monai.evaluations.evaluated import few_text
from nacl_monai.files import checksum, read_checked, write_text
from nacl_monai.inference import records
from nacl_monai.inference.records import (
    DICE,
    EACH,
    INNER,
    KINDS,
    MARGIN,
    MARGIN_ONLY,
    MEAN,
    OUTER,
    VOLUME,
    WITHIN,
)
from nacl_monai.metrics.curves import CURVES_FILE, Curves
from nacl_monai.output import written_folder
from nacl_monai.promises.cohort import Known
from nacl_monai.promises.control import MOST_MISSED, Control
from nacl_monai.promises.measure import Measure, measures_of
from nacl_monai.reports.viewer import Read
from nacl_monai.runs import PROMISE_REMEDY
from nacl_monai.words import counted, interval_text

#: The name of the file in a folder.
PROMISE_FILE = "promise.json"
#: The promises about every structure.
#: The failure of each.
RISKS = dict(zip(KINDS, ("missed", "wrong", "outside", "below"), strict=True))
UNCONTROLLED = "no control"
#: The columns that identify a promise, and what is shown beside it.
HEAD = ["structure", "kind", "level", "miss", "family"]
#: What two shares may differ by.
ROUNDING = 1e-9
#: An outer contour this many times as large as the structure is of no use, nor an inner one this many
#: times smaller.
USELESS = 4.0
#: The columns of a table of promises.
_SIZES = ["Size", "Size without probabilities", "Not controlled, size"]
_COLUMNS = ["Of 100 calibrations, 95 fail in", *_SIZES]
#: The meaning of an empty label for the kinds of which each patient counts.
_LACKING = {
    INNER: "all of a contour is wrong",
    VOLUME: "its volume is 0",
    DICE: "Dice is 0, or 1 if nothing is predicted",
}


@dataclass(frozen=True)
class Guarantee:
    r"""One promise about one structure.

    Attributes:
        structure: Its name.
        kind: "outer" or "inner" contour, "volume" or "dice".
        level: The risk α.
        family: One of `nacl_monai.inference.records.FAMILIES`; "margin" needs no probabilities.
        margin: Of the family, in mm; infinite for all voxels.
        values: What a voxel of a contour reaches within each of `MARGINS`, 0 for all and 2 for none; an
            inner one has at least a quarter of the predicted structure, or nothing. Or q of the interval
            :math:`(\hat V + v) e^{\pm q} - v` of a volume, with the volume v of a voxel; or q of the
            lower bound :math:`\hat D - q` of Dice.
        patients: How many calibrated it; of an outer contour those who have the structure.
        size: The volume of a contour ÷ that of the structure, :math:`e^q`, or how far below Dice the
            bound is: with these values, the mean over the patients who calibrated it and have the
            structure.
        miss: Of contours by "each", the share β that is at most missed, or wrong, in a patient; else
            None.
        lacking: How many of the calibration patients do not have the structure.
        size_low: Where the 95 % interval over patients of the size begins; None without one.
        size_high: Where it ends.
    """

    structure: str
    kind: str
    level: float
    family: str
    margin: float
    values: Sequence[float]
    patients: int
    size: float
    miss: float | None = None
    lacking: int = 0
    size_low: float | None = None
    size_high: float | None = None

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Guarantee:
        """A promise from ``promise.json``, which has neither infinity nor NaN."""
        margin = np.inf if record["margin"] == "all" else float(record["margin"])
        size = np.nan if record["size"] is None else float(record["size"])
        known: dict[str, Any] = {entry.name: record.get(entry.name) for entry in fields(cls)}
        return cls(**known | {"margin": margin, "size": size})

    @property
    def useless(self) -> bool:
        """Whether it is kept but useless, by its size."""
        if self.kind == INNER:
            return self.size < 1 / USELESS
        return self.kind != DICE and self.size > USELESS

    @property
    def who(self) -> str:
        """Those who count where not all do: " with tumor (23 of 40 have it)"."""
        if self.kind != OUTER or not self.lacking:
            return ""
        return f" with {self.structure} ({self.patients} of {self.patients + self.lacking} have it)"

    @property
    def label(self) -> str:
        """Its label in a table."""
        share = f"{self.level:.0%}" if self.miss is None else f"{self.miss:.0%} in {self.often}"
        return f"{self.structure}, {self.kind} {share}"

    @property
    def often(self) -> str:
        """The share of patients in whom it is kept, such as "9 of 10 patients"."""
        patients = round(1 / self.level)
        if _is_share(self.level):
            return f"{1 - self.level:.0%} of patients"
        return f"{patients - 1} of {patients} patients"

    def text(self) -> str:
        """The promise as a sentence for clinicians."""
        share, name, size = f"{self.level:.0%}", self.structure, size_text(asdict(self))
        most = f"In an average patient{self.who} at most {share} of"
        if self.miss is not None:
            most = f"In {self.often}{self.who} at most {self.miss:.0%} of"
        text = {
            OUTER: f"{most} {name} is outside the outer contour, which encloses {size} times the "
            "structure.",
            INNER: f"{most} the inner contour is not {name}"
            f"{'' if np.isnan(self.size) else f'; it is {size} times as large as the structure'}.",
            VOLUME: f"The volume of {name} is within a factor of {size} of the expected one, but for "
            f"{share} of patients.",
            DICE: f"Dice of {name} is above its bound, which is {size} below it on average, but for "
            f"{share} of patients.",
        }[self.kind]
        if self.kind == INNER and min(self.values) > 1:
            text = f"The inner contour of {name} is empty: nothing can be promised to be {name}."
        text += " That is of no use: it takes more patients or a larger level." * self.useless
        if self.lacking and self.kind != OUTER:
            text += f" Where there is no {name}, {_LACKING[self.kind]}."
        return text if self.size_low is None else text + few_text(self.patients, "patient")


def _is_share(level: float) -> bool:
    """Whether a level is not one in a whole number of patients."""
    return abs(round(1 / level) * level - 1) > ROUNDING


def one_in(level: float) -> str:
    """The share of patients in whom a promise is not kept: "1 in 10", "30%"."""
    return f"{level:.0%}" if _is_share(level) else f"1 in {round(1 / level)}"


def size_text(row: Mapping[str, Any]) -> str:
    """A size with its interval, if it has one: "1.68 [1.64, 1.72]"."""
    low, high = (np.nan if pd.isna(row[end]) else row[end] for end in ("size_low", "size_high"))
    return interval_text(row["size"], low, high, 2, "nan")


def risk_text(kept: Guarantee, row: Mapping[str, Any]) -> str:
    """What a contour missed that is not controlled: "missed 4.0% [3.4, 4.6]"."""
    what = RISKS[kept.kind] if kept.miss is None else f"more {RISKS[kept.kind]} in"
    return f"{what} {interval_text(row['risk'], row['low'], row['high'], 1, percent=True)}"


@dataclass(frozen=True)
class Promise:
    """The promises, their calibration patients, and the predictions that they are for.

    Attributes:
        kept: Every promise.
        control: "each", in single patients; "mean", over patients; or "most", with `confidence` over the
            calibration patients.
        confidence: 1 − δ of "most".
        definition: Channels, structures, calibrator and tool of the predictions, as
            `nacl_monai.metrics.curves.curves_definition` has them.
        patients: The calibration patients.
        cases: Their cases.
        spacing: The least and the largest size of a voxel along its smallest axis, the next, ….
        sums: The checksum of ``promise.npz``.
        known_by: How patients were known, as in ``calibrator.json``.
        patient_pattern: The regular expression that told them, if one did.
        beside: The rows of `nacl_monai.promises.rules.compared`.
        absent: Structure → of how many calibration patients it was not predicted, and for how many
            of these rightly.
        group: The group of the patients, "site A"; empty for all.
        cohort: The statistics with which new patients are compared, from
            `nacl_monai.promises.cohort.known_of`; empty in files of earlier versions.
        images: By which each case is recognized, from `nacl_monai.promises.cohort.known_images`; empty
            where each patient has one.
        measures: The promises about measurements.
        curves: The curves that it was fitted to; None after reading.
        read: The function that reads cases again, for the page; None without them.
    """

    kept: Sequence[Guarantee]
    control: str
    confidence: float
    definition: Mapping[str, Any]
    patients: Sequence[str]
    cases: Sequence[str]
    spacing: Sequence[Sequence[float]]
    sums: str = ""
    known_by: str = records.BY_CASE
    patient_pattern: str | None = None
    beside: Sequence[Mapping[str, Any]] = field(default=())
    absent: Mapping[str, Sequence[float]] = field(default_factory=dict)
    group: str = ""
    cohort: Known = field(default_factory=dict)
    images: Known = field(default_factory=dict)
    measures: Sequence[Measure] = field(default=())
    curves: Curves | None = field(default=None, compare=False)
    read: Read | None = field(default=None, compare=False)

    def of_level(self, level: float | None = None, miss: float | None = None) -> list[Guarantee]:
        """The promises of a level, of contours with a miss; by default of the smallest.

        Raises:
            SettingError: If nothing was promised of it.
        """
        level = _chosen("--level", level, {kept.level for kept in self.kept})
        misses = {kept.miss for kept in self.kept if kept.miss is not None}
        least = _chosen("--miss", miss, misses) if misses or miss is not None else None
        return [kept for kept in self.kept if kept.level == level and kept.miss in (None, least)]

    @property
    def controls(self) -> list[Control]:
        """The controls, one for each level, and by "each" for each miss."""
        first = self.kept[0].structure, INNER
        return [self.control_of(kept) for kept in self.kept if (kept.structure, kept.kind) == first]

    @property
    def outer(self) -> list[Guarantee]:
        """The promises of outer contours."""
        return [kept for kept in self.kept if kept.kind == OUTER]

    def control_of(self, kept: Guarantee) -> Control:
        """The control of one promise."""
        return Control(kept.level, self.control, self.confidence, kept.miss or MOST_MISSED)

    @property
    def settings(self) -> dict[str, Any]:
        """The family, and the margin of "within"."""
        family, margin = self.kept[0].family, self.kept[0].margin
        return {"family": family, "margin": margin if family == WITHIN else MARGIN}

    @property
    def unit(self) -> str:
        """The unit over which a promise is kept, in words."""
        if self.control == EACH:
            return f"for patients like these{f' of {self.group}' if self.group else ''}"
        if self.control == MEAN:
            return "on average over patients like these"
        return f"on average over patients, for {self.confidence:.0%} of calibrations like this one"

    def compared(self, kept: Guarantee, family: str) -> Mapping[str, Any] | None:
        """The row of `beside` of another family in the place of a promise's."""
        key = kept.structure, kept.kind, kept.level, kept.miss, family
        return next((r for r in self.beside if tuple(map(r.get, HEAD)) == key), None)

    def law(self, kept: Guarantee) -> str:
        """Between which shares of new patients 95 of 100 such calibrations fail: "1 to 26%"."""
        ends = self.control_of(kept).law(kept.patients)
        return law_text(ends) if ends else ""

    def verdicts(self) -> Iterator[tuple[Guarantee, str]]:
        """Each promise, with its sentence for clinicians and the law of such calibrations."""
        for kept in self.kept:
            text = kept.text()
            if law := self.law(kept):
                by = counted(kept.patients, "patient")
                text += f" Of 100 such calibrations by {by}, 95 fail in {law} of new patients."
            yield kept, text

    @property
    def sentences(self) -> list[str]:
        """What is promised of contours and measurements, and what is not."""
        outer = [text for kept, text in self.verdicts() if kept.kind == OUTER]
        return [*outer, *self.unpromised, *(measure.text for measure in self.measures)]

    @property
    def numbers(self) -> list[dict[str, Any]]:
        """Each promise with its sentence, for programs."""
        return [{**asdict(kept), "text": text} for kept, text in self.verdicts()]

    @property
    def unpromised(self) -> list[str]:
        """A sentence for each outer contour that too few patients with the structure can promise."""
        outer = {(kept.structure, kept.level) for kept in self.kept if kept.kind == OUTER}
        inner = {(kept.structure, kept.level): kept for kept in self.kept if kept.kind == INNER}
        return [
            f"No outer contour of {structure} is promised: "
            f"{self.control_of(kept).few(kept.patients - kept.lacking, f' with {structure}')}."
            for (structure, level), kept in inner.items()
            if (structure, level) not in outer
        ]

    @property
    def few(self) -> str:
        """The benefit of more patients, if they are few; else empty."""
        useful = max(self.control_of(kept).useful for kept in self.kept)
        patients = min(kept.patients for kept in self.kept)
        few = f"{patients} patients are few" if patients < useful else ""
        return few and f"{few}: from {useful} on, contours are usually smaller, and as safe."

    def text(self) -> str:
        """All that is promised, a line each."""
        lines = [f"- {text}" for text in (*(text for _, text in self.verdicts()), *self.unpromised)]
        lines += [f"- {measure.text}" for measure in self.measures]
        return "\n".join([f"Promised {self.unit}:", *lines, *filter(None, [self.few])])

    def write(self, file: str | Path) -> Path:
        """Writes ``promise.json``; returns its path."""
        record = {"apply": "nacl-monai promise --apply promise.json NEW"}
        record |= asdict(replace(self, curves=None, read=None))
        for key in ("curves", "read", *["images"] * (not self.images)):
            del record[key]
        for row in (*record["kept"], *record["beside"]):
            if row.get("margin") == np.inf:
                row["margin"] = "all"
            for key, value in row.items():
                if isinstance(value, float) and not np.isfinite(value):
                    row[key] = None
        return write_text(file, records.sealed_text(record, indent=1, allow_nan=False))

    @property
    def table(self) -> pd.DataFrame:
        """A row for each promise: the law of such calibrations, and sizes."""
        rows = {kept.label: self._row(kept) for kept in self.kept}
        return pd.DataFrame.from_dict(rows, orient="index", columns=_COLUMNS)

    def _row(self, kept: Guarantee) -> list[str]:
        plain, free = (self.compared(kept, family) for family in (MARGIN_ONLY, UNCONTROLLED))
        return [
            self.law(kept) or "–",
            f"{kept.size:.2f}{', of no use' * kept.useless}",
            f"{plain['size']:.2f}" if plain else "–",
            f"{risk_text(kept, free)}, {free['size']:.2f}" if free else "–",
        ]

    @property
    def _heading(self) -> str:
        return f"Promised {self.unit}, by {counted(len(self.patients), 'patient')}:"

    def __repr__(self) -> str:
        return f"{self._heading}\n{self.table.to_string()}"

    def _repr_html_(self) -> str:
        return f"<p>{self._heading}</p>{self.table.to_html()}"

    def check(self, probs: Any, labels: Any, *, chosen: str, **options: Any) -> promises.Check:
        """Judges it by new labeled patients.

        Args:
            probs: As for `nacl_monai.promise`, of patients who did not calibrate it.
            labels: Theirs.
            chosen: "all", every new patient of a time, or "random", drawn by chance.
            **options: As for `nacl_monai.promise`; of folders ``groups``, too.

        Raises:
            InputError: If the input cannot be used, or one of them calibrated.
            SettingError: If they were chosen otherwise: of those whom `triage` picks more fail.
        """
        return promises.check_promise(self, probs, labels, chosen, **options)

    def page(self, file: str | Path, *, viewer: bool = True) -> Path:
        """Writes the page of the promise, which needs no network; returns its path.

        Args:
            file: The file.
            viewer: Whether one can scroll through cases, which are images of patients.

        Raises:
            InputError: If it cannot be written.
        """
        return promises.promise_page(self, Path(file), viewer=viewer)

    def save(self, folder: str | Path) -> Path:
        """Writes the files that `read_promise` reads, with the page; returns the folder.

        Beside ``promise.json`` and ``page.html`` it has ``promise.npz``, unless the promise was read.

        Raises:
            InputError: If it cannot be written, or if the folder holds anything else.
        """
        with written_folder(folder, "promise") as aside:
            sums = checksum(self.curves.write(aside / CURVES_FILE)) if self.curves else self.sums
            replace(self, sums=sums).write(aside / PROMISE_FILE)
            self.page(aside / "page.html", viewer=False)
        return Path(folder)


def law_text(ends: Sequence[float]) -> str:
    """The shares between which so many calibrations fail: "1 to 26%"."""
    low, high = (round(100 * share) for share in ends)
    return f"{low} to {high}%"


def _chosen(option: str, number: float | None, promised: Collection[float]) -> float:
    """One of the numbers that were promised; by default the smallest."""
    if number is None:
        return min(promised)
    if number not in promised:
        known = ", ".join(f"{value:g}" for value in sorted(promised)) or "none"
        raise SettingError(f"{option}: is {number:g}, but promised are {known}; choose of these")
    return number


def read_promise(file: str | Path) -> Promise:
    """Reads a ``promise.json``.

    Raises:
        InputError: If it is missing or damaged, or of a version before 0.4.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from nacl_monai import promise
        >>> inside = np.random.default_rng(0).uniform(size=(19, 8, 8))
        >>> made = promise(np.stack([1 - inside, inside], 1), (inside > 0.4).astype(int))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     read_promise(made.write(f"{folder}/promise.json")).kept == made.kept
        True
    """
    path = Path(file)
    path = path / PROMISE_FILE if path.is_dir() else path
    record = read_checked(path, records.fault_in_promise, PROMISE_REMEDY)
    record["kept"] = list(map(Guarantee.of_record, record["kept"]))
    record["measures"] = measures_of(record)
    known = [entry.name for entry in fields(Promise) if entry.compare and entry.name in record]
    return Promise(**{name: record[name] for name in known})
