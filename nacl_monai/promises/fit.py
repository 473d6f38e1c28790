"""Curves of calibration patients → promises, ``promise.json``, and their test on held-out patients."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy

from nacl_monai import promises
from nacl_monai.counting import counted
from nacl_monai.data.patients import pattern_of_several
from nacl_monai.errors import InputError, SettingError
from nacl_monai.evaluations.statistics import (
    bootstrap_means,
    bootstrap_ratios,
    percentile_interval,
)
from nacl_monai.evaluations.tables import csv_text
from nacl_monai.files import checksum, read_object, write_text
from nacl_monai.inference import records
from nacl_monai.inference.promised import MARGIN, MARGINS
from nacl_monai.metrics.curves import (
    CURVES_FILE,
    NO_MARGIN,
    NO_THRESHOLD,
    THRESHOLDS,
    Curves,
    check_current,
)
from nacl_monai.metrics.pooled import draws
from nacl_monai.output import written_folder
from nacl_monai.promises.cohort import Known, known_of
from nacl_monai.promises.control import (
    CONTOURS,
    EACH,
    INNER,
    MARGIN_ONLY,
    MEAN,
    MISS,
    OUTER,
    THRESHOLD,
    WITHIN,
    Control,
    by_patient,
    contours_along,
    margin_of,
    path_of,
    worst_by_patient,
)
from nacl_monai.reports.viewer import Read
from nacl_monai.runs import PROMISE_REMEDY

Array = npt.NDArray[Any]
#: The name of the file in a folder.
PROMISE_FILE = "promise.json"
VOLUME, DICE = records.NUMBERS
#: The promises about every structure.
KINDS = records.KINDS
#: The failure of each.
RISKS = dict(zip(KINDS, ("missed", "wrong", "outside", "below"), strict=True))
UNCONTROLLED = "no control"
#: The columns that identify the rows of held-out patients.
HEAD = ["structure", "kind", "level", "miss", "family"]
_ROUNDING = 1e-9
#: An outer contour this many times as large as the structure is of no use, nor an inner one this many
#: times smaller.
USELESS = 4.0
#: The columns of a table of promises.
COLUMNS = ["Held-out patients", "Size", "Size without probabilities", "Not controlled, size"]


@dataclass(frozen=True)
class Kept:
    r"""One promise about one structure.

    Attributes:
        structure: Its name.
        kind: "outer" or "inner" contour, "volume" or "dice".
        level: The risk α.
        family: One of `nacl_monai.promises.control.FAMILIES`; "margin" needs no probabilities.
        margin: Of the family, in mm; infinite for all voxels.
        values: What a voxel of a contour reaches within each of `MARGINS`, 0 for all and 2 for none; an
            inner one has at least a quarter of the predicted structure, or nothing. Or q of the interval
            :math:`(\hat V + v) e^{\pm q} - v` of a volume, with the volume v of a voxel; or q of the
            lower bound :math:`\hat D - q` of Dice.
        patients: How many calibrated it.
        size: The volume of a contour ÷ that of the structure, :math:`e^q`, or how far below Dice the
            bound is; mean over the patients who calibrated it.
        miss: Of contours by "each", the share β that is at most missed, or wrong, in a patient; else
            None.
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

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Kept:
        """A promise from ``promise.json``, which has neither infinity nor NaN."""
        margin = np.inf if record["margin"] == "all" else float(record["margin"])
        size = np.nan if record["size"] is None else float(record["size"])
        known: dict[str, Any] = {entry.name: record.get(entry.name) for entry in fields(cls)}
        return cls(**known | {"margin": margin, "size": size})

    def useless(self, row: Mapping[str, Any] | None = None) -> bool:
        """Whether it is kept but useless, by the size for held-out patients, if that is known."""
        size = self._sizes(row)[0]
        return size < 1 / USELESS if self.kind == INNER else self.kind != DICE and size > USELESS

    def _sizes(self, row: Mapping[str, Any] | None) -> list[float]:
        """The size for held-out patients with its interval, or else for the calibration patients."""
        sizes = [(row or {}).get(name) for name in ("size", "size_low", "size_high")]
        known = [size for size in sizes if size is not None and np.isfinite(size)]
        return known if len(known) == len(sizes) else [self.size]

    @property
    def label(self) -> str:
        """Its label in a table."""
        share = f"{self.level:.0%}" if self.miss is None else f"{self.miss:.0%} in {self.often}"
        return f"{self.structure}, {self.kind} {share}"

    @property
    def often(self) -> str:
        """The share of patients in whom it is kept, such as "9 of 10 patients"."""
        patients = round(1 / self.level)
        if abs(patients * self.level - 1) > _ROUNDING:
            return f"{1 - self.level:.0%} of patients"
        return f"{patients - 1} of {patients} patients"

    def text(self, row: Mapping[str, Any] | None = None) -> str:
        """The promise as a sentence for clinicians.

        Args:
            row: Of held-out patients, for their size; by default that of the calibration patients.
        """
        share, name = f"{self.level:.0%}", self.structure
        size, *ends = [f"{size:.2f}" for size in self._sizes(row)]
        size += f" [{', '.join(ends)}]" if ends else ""
        most = f"In an average patient at most {share} of"
        if self.miss is not None:
            most = f"In {self.often} at most {self.miss:.0%} of"
        text = {
            OUTER: f"{most} {name} is outside the outer contour, which encloses {size} times the "
            "structure.",
            INNER: f"{most} the inner contour is not {name}; it is {size} times as large as the "
            "structure.",
            VOLUME: f"The volume of {name} is within a factor of {size} of the expected one, but for "
            f"{share} of patients.",
            DICE: f"Dice of {name} is above its bound, which is {size} below it on average, but for "
            f"{share} of patients.",
        }[self.kind]
        useless = " That is of no use: it takes more patients or a larger level."
        return text + useless * self.useless(row)


def estimate(curves: Curves, structure: int, kind: str, family: str, margin: int) -> Array:
    """The volume in ml or Dice that a promise expects of each case, (N,).

    Args:
        curves: Of labeled cases, or of new ones.
        structure: Its position.
        kind: "volume" or "dice".
        family: Without probabilities, by "margin", it is the predicted volume, and Dice 1.
        margin: The position of the margin.
    """
    if family == MARGIN_ONLY:
        predicted: Array = curves.predicted_volumes[:, structure]
        return predicted if kind == VOLUME else np.ones(len(curves.cases))
    expected = curves.expected_volumes if kind == VOLUME else curves.expected_dice
    return np.asarray(expected[:, structure, margin])


class Rules:
    """All possible promises of one kind about one structure, with losses and sizes by patient.

    Args:
        curves: Of all patients.
        structure: Its position.
        kind: One of `KINDS`.
        family: The family.
        margin: Of the family "within", in mm.

    Attributes:
        patients: Their names, the first axis of all arrays.
        losses: (patients, rules), the most cautious rule first; the mean over the cases of each.
        worst: The same of the worst case of each.
        sizes: The same for the size of what a rule gives.
        values: Those of `Kept` by each rule, (rules, …).
        margin: The margin of the family, in mm.
        whole: The divisors of sizes, (patients,).
    """

    def __init__(
        self, curves: Curves, structure: int, kind: str, family: str, margin: float = MARGIN
    ) -> None:
        self.kind, self.family = kind, family
        self.structure = curves.structures[structure]
        self.patients = sorted(set(curves.patients))
        place = margin_of(family, margin)
        self.margin = MARGINS[place]
        if kind in CONTOURS:
            path = path_of(family, margin)
            losses, sizes = contours_along(curves, structure, kind, path)
            turn = slice(None, None, -1 if kind == OUTER else None)
            losses, sizes, self.values = losses[:, turn], sizes[:, turn], THRESHOLDS[path[turn]]
            whole = curves.volumes[:, structure]
        else:
            scores = self._scores(curves, structure, place)
            steps = np.unique(scores)[::-1]  # between two scores, nothing changes
            losses = (scores[:, None] > steps).astype(float)
            sizes = np.exp(steps) if kind == VOLUME else steps - scores[:, None]
            sizes, whole = sizes + np.zeros_like(losses), np.ones(len(scores))
            self.values = steps[:, None]
        self.losses, self.sizes, self.whole = (
            by_patient(array, curves.patients) for array in (losses, sizes, whole)
        )
        self.worst = worst_by_patient(losses, curves.patients)

    def _scores(self, curves: Curves, structure: int, margin: int) -> Array:
        """The error of what is expected of each case."""
        expected = estimate(curves, structure, self.kind, self.family, margin)
        if self.kind == DICE:
            return np.asarray(expected - curves.dice[:, structure])
        voxel, volumes = curves.voxel_ml[:, 0], curves.volumes[:, structure]
        return np.asarray(abs(np.log((volumes + voxel) / (expected + voxel))))

    def risks(self, control: Control) -> Array:
        """The loss of each patient by each rule, as a control counts it, (patients, rules)."""
        if control.kind != EACH:
            return self.losses
        return failed(self.worst, self.kind, control)

    def fitted(self, control: Control, rows: Array | slice = slice(None)) -> int:
        """The position of the rule fitted to the patients in some rows."""
        rule = control.boldest(self.risks(control)[rows])
        assert rule is not None  # noqa: S101 - the most cautious rule has no loss
        return rule

    def kept(self, control: Control) -> Kept:
        """The promise fitted to all patients."""
        rule = self.fitted(control)
        whole = self.whole.sum()
        size = float(self.sizes[:, rule].sum() / whole) if whole else np.nan
        head = (self.structure, self.kind, control.level, self.family, self.margin)
        missed = miss_of(self.kind, control)
        return Kept(*head, self.values[rule].tolist(), len(self.patients), size, missed)

    def held_out(self, control: Control) -> tuple[Array, Array]:
        """Loss and size of each patient by the promise fitted to all others, who must be enough."""
        patients, rules = np.arange(len(self.patients)), self.by_others(control, self.patients)
        return self.risks(control)[patients, rules], self.sizes[patients, rules]

    def by_others(self, control: Control, patients: Sequence[str]) -> list[int]:
        """The rule fitted to all others, who must be enough, for each of some patients."""
        rows = np.arange(len(self.patients))
        rules = {
            name: self.fitted(control, np.delete(rows, row))
            for row, name in enumerate(self.patients)
        }
        return [rules[name] for name in patients]


def miss_of(kind: str, control: Control) -> float | None:
    """The share that a contour by "each" may miss; None for other promises."""
    return control.miss if control.kind == EACH and kind in CONTOURS else None


def asked(kind: str, controls: Sequence[Control]) -> list[Control]:
    """The controls that differ for a kind: of a number by "each", one for each level."""
    return list({(control.level, miss_of(kind, control)): control for control in controls}.values())


def failed(losses: Array, kind: str, control: Control) -> Array:
    """1 if a patient loses more than "each" allows, or anything in case of a number; else 0."""
    most = miss_of(kind, control) or 0
    return np.asarray(losses > most + _ROUNDING, float)


def held_out_volumes(
    curves: Curves, structure: int, control: Control, family: str, margin: float = MARGIN
) -> Array:
    """The interval of the volume of each case in ml by the promise of all other patients, (N, 2)."""
    rules = Rules(curves, structure, VOLUME, family, margin)
    expected = estimate(curves, structure, VOLUME, family, margin_of(family, margin))
    q, voxel = rules.values[rules.by_others(control, curves.patients), 0], curves.voxel_ml[:, 0]
    ends: Array = (expected + voxel) * np.exp([-q, q]) - voxel
    return ends.clip(0).T


def held_out_misses(
    curves: Curves, structure: int, control: Control, family: str, margin: float = MARGIN
) -> Array:
    """The share of each case outside the outer contour by the promise of all other patients, (N,)."""
    rules = Rules(curves, structure, OUTER, family, margin).by_others(control, curves.patients)
    losses = contours_along(curves, structure, OUTER, path_of(family, margin))[0][:, ::-1]
    misses: Array = losses[np.arange(len(losses)), rules]
    return misses


def uncontrolled(curves: Curves, structure: int, control: Control) -> tuple[Array, Array]:
    """Loss and volume by patient of the contour that the probabilities alone say misses a share.

    It is the smallest set above a threshold within `MARGIN` of whose probability, within the margin, at
    most this share is outside.
    """
    margin = MARGINS.index(MARGIN)
    sums, counts, hits = (
        array[:, structure, :, margin].astype(float)
        for array in (curves.sums, curves.counts, curves.hits)
    )
    share = miss_of(OUTER, control) or control.level
    inside = sums >= (1 - share) * sums[:, :1]
    rule = inside.sum(1) - 1
    cases = np.arange(len(rule))
    labeled = curves.hits[:, structure, NO_THRESHOLD, NO_MARGIN]
    found = np.divide(hits[cases, rule], labeled, out=np.ones(len(rule)), where=labeled > 0)
    sizes = counts[cases, rule] * curves.voxel_ml[:, 0]
    risks = by_patient(1 - found, curves.patients)
    if control.kind == EACH:
        risks = failed(worst_by_patient(1 - found, curves.patients), OUTER, control)
    return risks, by_patient(sizes, curves.patients)


def check_held_out(
    curves: Curves, controls: Sequence[Control], margin: float = MARGIN
) -> pd.DataFrame:
    """A test of promises on held-out patients: each by the promise of all others.

    Args:
        curves: Of all patients.
        controls: One for each level.
        margin: Of the family "within", in mm.

    Returns:
        A row for each structure, kind, level, miss and family, and for outer contours without control;
        ``risk`` is the share that was missed, wrong, or outside of an interval, by "each" the share of
        patients for whom that is too much, with the 95 % interval ``low`` to ``high`` over patients;
        ``size`` is as in `Kept`, with its own. A level for which one patient less is too few has no row.
    """
    # Name, kind, level, miss and family; loss and size by patient; whole.
    rows: list[tuple[Any, ...]] = []
    for structure, name in enumerate(curves.structures):
        for kind, family in product(KINDS, (WITHIN, THRESHOLD, MARGIN_ONLY)):
            rules = Rules(curves, structure, kind, family, margin)
            rows += [
                (*head_of(name, kind, control), family, *rules.held_out(control), rules.whole)
                for control in asked(kind, controls)
                if control.needed < len(rules.patients)
            ]
        whole = by_patient(curves.volumes[:, structure], curves.patients)
        for control in controls:
            risks = uncontrolled(curves, structure, control)
            rows.append((*head_of(name, OUTER, control), UNCONTROLLED, *risks, whole))
    table = pd.DataFrame([row[:5] for row in rows], columns=HEAD, dtype=object)
    table["level"] = table["level"].astype(float)
    return table.join(over_patients(*(np.stack([row[k] for row in rows], 1) for k in (5, 6, 7))))


def head_of(structure: str, kind: str, control: Control) -> tuple[Any, ...]:
    """The columns that identify a promise, without its family."""
    return structure, kind, control.level, miss_of(kind, control)


def over_patients(loss: Array, size: Array, whole: Array) -> pd.DataFrame:
    """The means of losses, and of sizes by the wholes, each (patients, rows), with their intervals."""
    table = pd.DataFrame()
    weights = draws(len(loss), 2000)
    table["risk"] = loss.mean(0)
    ends = percentile_interval(bootstrap_means(loss, weights))
    yes_or_no = np.isin(loss, (0, 1)).all(0)  # whose interval resampling cannot give
    ends[:, yes_or_no] = _wilson(loss[:, yes_or_no])
    table["low"], table["high"] = ends
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an absent structure has no size
        table["size"] = size.sum(0) / whole.sum(0)
        ends = percentile_interval(bootstrap_ratios(size, whole, weights))
    table["size_low"], table["size_high"] = ends
    return table


def _wilson(yes: Array) -> Array:
    """The 95 % intervals of the shares of ones in columns, (2, columns)."""
    shares = (scipy.stats.binomtest(int(number), len(yes)) for number in yes.sum(0))
    return np.reshape([share.proportion_ci(method="wilson") for share in shares], (-1, 2)).T


def risk_text(kept: Kept, row: Mapping[str, Any]) -> str:
    """The result of a promise: "missed 4.0% [3.4, 4.6]", "more missed in 9.1% [4.2, 18.4]"."""
    what = RISKS[kept.kind] if kept.miss is None else f"more {RISKS[kept.kind]} in"
    return f"{what} {share_text(row)}"


def share_text(row: Mapping[Any, Any]) -> str:
    """A share of held-out patients, or of what they miss: "4.0% [3.4, 4.6]"."""
    return f"{row['risk']:.1%} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"


@dataclass(frozen=True)
class Promise:
    """The promises, their calibration patients, and the predictions that they are for.

    Attributes:
        kept: Every promise.
        control: "each", in single patients; "mean", over patients; or "most", with `confidence` over the
            calibration patients.
        confidence: 1 − δ of "most".
        definition: Channels, structures, calibrator and tool of the predictions, as
            `nacl_monai.metrics.curves.definition_of` has them.
        patients: The calibration patients.
        cases: Their cases.
        spacing: The least and the largest size of a voxel along its smallest axis, the next, ….
        sums: The checksum of ``promise.npz``.
        known_by: How patients were known, as in ``calibrator.json``.
        patient_pattern: The regular expression that told them, if one did.
        held_out: The rows of `check_held_out`.
        absent: Structure → of how many calibration patients it was not predicted, and for how many
            of these rightly.
        group: The group of the patients, "site A"; empty for all.
        cohort: The statistics with which new patients are compared, from
            `nacl_monai.promises.cohort.known_of`; empty in files of earlier versions.
        curves: The curves that it was fitted to; None after reading.
        read: The function that reads cases again, for the page; None without them.
    """

    kept: Sequence[Kept]
    control: str
    confidence: float
    definition: Mapping[str, Any]
    patients: Sequence[str]
    cases: Sequence[str]
    spacing: Sequence[Sequence[float]]
    sums: str = ""
    known_by: str = records.BY_CASE
    patient_pattern: str | None = None
    held_out: Sequence[Mapping[str, Any]] = field(default=())
    absent: Mapping[str, Sequence[float]] = field(default_factory=dict)
    group: str = ""
    cohort: Known = field(default_factory=dict)
    curves: Curves | None = field(default=None, compare=False)
    read: Read | None = field(default=None, compare=False)

    def of_level(self, level: float | None = None, miss: float | None = None) -> list[Kept]:
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
        first = self.kept[0].structure
        return [
            Control(kept.level, self.control, self.confidence, kept.miss or MISS)
            for kept in self.kept
            if kept.kind == OUTER and kept.structure == first
        ]

    @property
    def checked_controls(self) -> list[Control]:
        """Those for which all patients but one are enough."""
        return [control for control in self.controls if control.needed < len(self.patients)]

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

    def checked(self, kept: Kept, family: str = "") -> Mapping[str, Any] | None:
        """The row of `held_out` of a promise, or of another family's in its place."""
        key = kept.structure, kept.kind, kept.level, kept.miss, family or kept.family
        return next((r for r in self.held_out if tuple(map(r.get, HEAD)) == key), None)

    def verdicts(self) -> Iterator[tuple[Kept, str]]:
        """Each promise, with its sentence for clinicians and its test on held-out patients."""
        for kept in self.kept:
            row = self.checked(kept)
            text = kept.text(row)
            if row:
                text += f" Held-out patients: {risk_text(kept, row)}"
                text += ", MORE THAN PROMISED." if row["low"] > kept.level else "."
            elif self.held_out:
                text += (
                    " Not checked, the size is of those who calibrated: it takes one more patient."
                )
            yield kept, text

    @property
    def few(self) -> str:
        """The benefit of more patients, if they are few; else empty."""
        useful = max(
            Control(kept.level, self.control, self.confidence).useful for kept in self.kept
        )
        if len(self.patients) >= useful:
            return ""
        return (
            f"{len(self.patients)} patients are few: from {useful} on, contours are usually smaller, "
            "and as safe."
        )

    def text(self) -> str:
        """All that is promised, a line each."""
        lines = [f"- {text}" for _, text in self.verdicts()]
        if few := self.few:
            lines.append(few)
        return "\n".join([f"Promised {self.unit}:", *lines])

    def write(self, file: str | Path) -> Path:
        """Writes ``promise.json``; returns its path."""
        record = {"apply": "nacl-monai promise --apply promise.json NEW"}
        record |= asdict(replace(self, curves=None, read=None))
        del record["curves"], record["read"]
        for row in (*record["kept"], *record["held_out"]):
            row |= {
                key: None
                for key, value in row.items()
                if isinstance(value, float) and np.isnan(value)
            }
            if row.get("margin") == np.inf:
                row["margin"] = "all"
        record = json.loads(json.dumps(record))
        text = json.dumps({**record, records.CHECKSUM: records.own_checksum(record)}, indent=1)
        return write_text(file, text + "\n")

    def write_numbers(self, folder: Path) -> None:
        """Writes ``promise.json``, and ``held_out.csv`` with its test."""
        self.write(folder / PROMISE_FILE)
        write_text(folder / "held_out.csv", csv_text(pd.DataFrame(self.held_out)))

    @property
    def table(self) -> pd.DataFrame:
        """A row for each promise, with the test on held-out patients, and sizes."""
        return pd.DataFrame.from_dict(
            {kept.label: self._row(kept) for kept in self.kept},
            orient="index",
            columns=COLUMNS,
        )

    def _row(self, kept: Kept) -> list[str]:
        row, plain, free = (
            self.checked(kept, family) for family in ("", MARGIN_ONLY, UNCONTROLLED)
        )
        cells = ["not checked", f"{kept.size:.2f}", "–"]
        if row and plain:
            cells = [risk_text(kept, row), f"{row['size']:.2f}", f"{plain['size']:.2f}"]
        cells[1] += ", of no use" * kept.useless(row)
        return [*cells, f"{risk_text(kept, free)}, {free['size']:.2f}" if free else "–"]

    @property
    def _heading(self) -> str:
        return f"Promised {self.unit}, by {counted(len(self.patients), 'patient')}:"

    def __repr__(self) -> str:
        return f"{self._heading}\n{self.table.to_string()}"

    def _repr_html_(self) -> str:
        return f"<p>{self._heading}</p>{self.table.to_html()}"

    def page(self, file: str | Path, *, viewer: bool = True) -> Path:
        """Writes the page of the promise, which needs no network; returns its path.

        Args:
            file: The file.
            viewer: Whether one can scroll through held-out cases, which are images of patients.

        Raises:
            InputError: If it cannot be written.
        """
        return promises.promise_page(self, Path(file), viewer=viewer)

    def save(self, folder: str | Path) -> Path:
        """Writes the files that `read_promise` reads, with the page; returns the folder.

        Beside ``promise.json``, ``held_out.csv`` and ``page.html`` it has ``promise.npz``, unless the
        promise was read.

        Raises:
            InputError: If it cannot be written, or if the folder holds anything else.
        """
        with written_folder(folder, "promise") as aside:
            sums = checksum(self.curves.write(aside / CURVES_FILE)) if self.curves else self.sums
            replace(self, sums=sums).write_numbers(aside)
            self.page(aside / "page.html", viewer=False)
        return Path(folder)

    def check_current(self, where: object = "promise") -> None:
        """Refuses to use a promise whose file does not say whose predictions it is of.

        Args:
            where: The file, for the message.

        Raises:
            InputError: If it is of 0.3.0, whose files are read to be drawn and compared.
        """
        check_current(self.definition, where)


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
        InputError: If it is missing or damaged.

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
    if not path.is_file():
        raise InputError(f"{path}: no such file; {PROMISE_REMEDY}")
    record = read_object(path, PROMISE_REMEDY)
    if fault := records.fault_in_promise(record):
        raise InputError(f"{path}: is not as it was written, {fault}; {PROMISE_REMEDY}")
    record["kept"] = list(map(Kept.of_record, record["kept"]))
    known = [entry.name for entry in fields(Promise) if entry.compare and entry.name in record]
    return Promise(**{name: record[name] for name in known})


def check_cases(cases: Sequence[str], where: object) -> None:
    """Refuses cases that look like several of each patient, if patients are unknown.

    Raises:
        InputError: If they do: so few patients would promise more than they can.
    """
    pattern = pattern_of_several(cases)
    if pattern is not None:
        raise InputError(
            f"{where}: {cases[0]!r} and others look like several cases of each patient, and a promise "
            f"is over patients; say whose they are, --patient-pattern '{pattern}', or that each is a "
            "patient's only one, --patients cases"
        )


def fit(
    curves: Curves,
    controls: Sequence[Control],
    family: str = WITHIN,
    margin: float = MARGIN,
    *,
    check: bool = True,
    sums: str = "",
    group: str = "",
) -> Promise:
    """The promises that calibration patients allow.

    Args:
        curves: Of all patients.
        controls: One for each level, and by "each" for each miss, all of one kind.
        family: "threshold", "margin", or "within": a threshold within a margin, the smallest of all.
        margin: Of the family "within", in mm; fixed before these patients are seen.
        check: Whether to test on held-out patients, too.
        sums: The checksum of the file of the curves.
        group: As in `Promise`.

    Raises:
        SettingError: If a level, family or margin is wrong.
        InputError: If it takes more patients, or these trained the network, or are a part of others.
    """
    margin_of(family, margin)
    curves.check_usable()
    if curves.definition["known_by"] == records.BY_CASE:
        check_cases(curves.cases, curves.path)
    patients = sorted(set(curves.patients))
    for control in controls:
        control.check().check_patients(len(patients), curves.path)
    structures = range(len(curves.structures))
    rules = [Rules(curves, *which, family, margin) for which in product(structures, KINDS)]
    sizes = np.sort(curves.spacings, axis=1)
    record: Any = check_held_out(curves, controls, margin).to_dict("records") if check else []
    return Promise(
        [of_kind.kept(control) for of_kind in rules for control in asked(of_kind.kind, controls)],
        controls[0].kind,
        controls[0].confidence,
        curves.definition,
        patients,
        curves.cases,
        [sizes.min(0).tolist(), sizes.max(0).tolist()],
        sums,
        held_out=record,
        absent=dict(_absent(curves)),
        known_by=curves.definition["known_by"] or records.BY_CASE,
        patient_pattern=curves.definition["patient_pattern"],
        group=group,
        cohort=known_of(curves, labeled=True),
        curves=curves,
    )


def _absent(curves: Curves) -> Iterator[tuple[str, list[float]]]:
    """`Promise.absent`: where nothing is predicted, Dice is 1 if nothing is labeled, and else 0."""
    patients = np.array(curves.patients)
    for structure, name in enumerate(curves.structures):
        cases = curves.predicted[:, structure] == 0
        rightly = by_patient(curves.dice[cases, structure], patients[cases].tolist())
        yield name, [len(rightly), float(rightly.sum())]
