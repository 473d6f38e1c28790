r"""New labeled patients judge a promise: do more fail than of patients like those who calibrated?

**One sentence.** A rule fitted to n patients lets r of them fail; by "each" it is
:math:`r = \lfloor \alpha (n + 1) \rfloor - 1`. Over draws of who calibrates, the share of new patients
who fail is Beta(r + 1, n − r). So of m who are exchangeable with the n,

.. math::

    P[X \ge x] = \sum_{j \ge x} \binom mj \frac{B(r + 1 + j,\, n - r + m - j)}{B(r + 1,\, n - r)}

is the probability that x or more fail, which is beta-binomial. It is exact for any n and m; where
patients need the same, fewer fail.

**On average.** A contour by "mean" or "most" misses a share of each patient. Its test needs the curves
of those who calibrated: the n + m patients are divided again and again, and the rule is fitted to n of
them,

.. math:: p = \frac{1 + \#\{\text{divisions in which the others lose as much}\}}{1 + \text{divisions}}.

**All sentences.** Holm's correction keeps the chance that a kept promise is called broken below
:data:`SIZE`. For that, the new patients are all of a time, or drawn by chance: those whom `triage`
picks are doubtful, and more of them fail. And it is one look; `nacl_monai.promises.watch` is for many.

References:
    Conditional Validity of Inductive Conformal Predictors (Vovk, 2012), arXiv 1209.2673.
    Universal Distribution of the Empirical Coverage in Split Conformal Prediction (Marques, 2025), arXiv
    2303.02770.
    A Simple Sequentially Rejective Multiple Test Procedure (Holm, 1979).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nacl_monai.audits.command import print_faults, show
from nacl_monai.cli import print_written
from nacl_monai.errors import InputError, SettingError
from nacl_monai.evaluations.statistics import holm
from nacl_monai.evaluations.tables import Groups, csv_text, read_groups
from nacl_monai.files import checksum, read_checked, write_text
from nacl_monai.inference import records
from nacl_monai.inference.promised import Array
from nacl_monai.inference.records import CONTOURS, EACH, MARGINS
from nacl_monai.metrics.curves import CURVES_FILE, THRESHOLDS, Curves, read_curves
from nacl_monai.output import written_folder
from nacl_monai.predictions.identity import hidden
from nacl_monai.predictions.options import Options, Use, options_of
from nacl_monai.predictions.study import Study
from nacl_monai.promises.cases import curves_of_arrays, find_new, read_study
from nacl_monai.promises.cohort import check_strangers
from nacl_monai.promises.control import (
    SIZE,
    Control,
    Law,
    by_patient,
    contours_along,
    worst_by_patient,
)
from nacl_monai.promises.measure import errors_of_measures
from nacl_monai.promises.record import PROMISE_FILE, Guarantee, Promise, read_promise
from nacl_monai.promises.rules import Rules, counting, errors_of, failed
from nacl_monai.words import counted

#: How the new patients were chosen.
ALL, RANDOM, TRIAGE = CHOSEN = ("all", "random", "triage")
DIVISIONS = 999
#: The file of all numbers.
_TABLE = "check.csv"
#: The file of who judged which promise when, beside it: checksum of the promise → date → of the judges.
CHECKS = "checks.json"
LOOKS = records.mapped(records.mapped(records.text))
_ROUNDING = 1e-9


class BrokenError(InputError):
    """The alarm that a promise is broken; all files are written."""

    exit_code = 3


@dataclass(frozen=True)
class Check:
    """A promise as new labeled patients judge it.

    Attributes:
        table: A row for each sentence, and for each of their groups: ``promise``, ``group``, ``value``,
            how many ``failed`` of ``patients`` (by "mean" and "most" the mean of what a contour misses),
            how many ``calibrated``, ``p``, ``p_holm`` over the sentences, or over all groups, and
            ``power``.
        chosen: "all" or "random".
    """

    table: pd.DataFrame
    chosen: str

    @property
    def sentences(self) -> pd.DataFrame:
        """The rows of all patients."""
        return self.table[self.table["group"] == ""]

    @property
    def broken(self) -> pd.DataFrame:
        """The sentences that new patients contradict."""
        return self.sentences[self.sentences["p_holm"] <= SIZE]

    @property
    def verdict(self) -> str:
        """The answer in words."""
        rows, tested = self.broken, self.sentences.dropna(subset="p")
        if len(rows):
            parts = (f"{_found(row)} ({row['promise']}, p = {row['p']:.2g})" for row in _rows(rows))
            return f"BROKEN: {'; '.join(parts)}. Patients like those who calibrated do so seldom."
        if not len(tested):
            return "No test: it takes promise.npz beside promise.json."
        power, least = tested["power"].max(), tested["p_holm"].min()
        if power < SIZE / 10:
            return "Cannot tell: with so few patients, no number of failures would say more."
        found = f"No sign that it is broken (the smallest p, by Holm, is {least:.2g})."
        if np.isnan(power):
            return found
        return (
            f"{found} So few would see it in {power:.0%} of checks at most where 22% in place of 10% of "
            "patients fail."
        )

    def __repr__(self) -> str:
        return f"{self.verdict}\n{self.shown.to_string(index=False)}"

    @property
    def shown(self) -> pd.DataFrame:
        """The table as it is printed."""
        rows = list(_rows(self.table))
        return pd.DataFrame(
            {
                "promise": [row["promise"] for row in rows],
                "patients": [f"{row['group']} {row['value']}".strip() or "all" for row in rows],
                "failed": [_found(row) for row in rows],
                "p": ["no test" if np.isnan(row["p"]) else f"{row['p']:.2g}" for row in rows],
                "by Holm": ["" if np.isnan(row["p"]) else f"{row['p_holm']:.2g}" for row in rows],
            }
        )


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows: Any = table.to_dict("records")
    return list(rows)


def _found(row: Mapping[str, Any]) -> str:
    if row["share"]:
        return f"{row['failed']:.1%} of an average patient, of {row['patients']}"
    return f"{row['failed']:.0f} of {counted(row['patients'], 'patient')}"


def check_chosen(chosen: str | None) -> None:
    """Refuses patients who cannot judge a promise.

    Raises:
        SettingError: If nobody says how they were chosen, or triage picked them.
    """
    if chosen == TRIAGE:
        raise SettingError(
            "--chosen: patients whom triage picks are the doubtful ones, of whom more fail, whether the "
            "promise holds or not; label all of some weeks, or draw them by chance"
        )
    if chosen not in CHOSEN:
        raise SettingError(
            "--chosen: say how the labeled patients were chosen; all: every new patient of a time; "
            "random: drawn by chance"
        )


class _Test(NamedTuple):
    """What each new patient loses by one sentence, and the probability that some lose as much."""

    label: str
    calibrated: int
    losses: Mapping[str, float]
    law: Law | None
    by_divisions: Callable[[Sequence[str]], float] = lambda _: np.nan

    def row(self, patients: Sequence[str]) -> dict[str, Any]:
        """The row of some of the patients."""
        losses = [self.losses[name] for name in patients]
        found = sum(losses) if self.law else np.mean(losses) if losses else np.nan
        p_value = power = np.nan
        if self.law and losses:
            p_value = float(self.law.p_values(len(losses))[int(found)])
            power = self.law.power(len(losses))
        elif losses:
            p_value = self.by_divisions(patients)
        row = {"promise": self.label, "failed": float(found), "patients": len(losses)}
        row |= {"calibrated": self.calibrated, "share": self.law is None}
        return row | {"p": p_value, "power": power}


def judged(
    promise: Promise,
    new: Curves,
    chosen: str,
    groups: Groups | None = None,
    calibration: Curves | None = None,
    phases: str | None = None,
) -> Check:
    """A promise as new labeled patients judge it.

    Args:
        promise: What was promised.
        new: The curves of the new patients.
        chosen: "all" or "random".
        groups: Of the new patients, from `nacl_monai.evaluations.tables.read_groups`.
        calibration: The curves of those who calibrated; None where they are unknown.
        phases: A table of the phases of the new cases, if the promise took one.

    Raises:
        InputError: If one of them calibrated, or the curves are of other predictions.
        SettingError: If they were chosen otherwise.
    """
    check_chosen(chosen)
    _check_judges(promise, new)
    whole = None if calibration is None else calibration.joined([new])
    tests = [_test(promise, kept, new, whole) for kept in promise.kept]
    found = errors_of_measures(promise.measures, new, phases)
    people = sorted({*new.patients})
    for measure, errors in zip(promise.measures, found, strict=True):
        # An undefined value counts as missed.
        fails = ~((errors <= measure.below) & (-errors <= measure.above))
        of_patient = dict(zip(people, fails.astype(float).tolist(), strict=True))
        tests.append(_Test(measure.label, measure.patients, of_patient, measure.law))
    table = pd.DataFrame([row for test in tests for row in _rows_of(test, groups or {})])
    table["p_holm"] = np.nan
    for family in (table["group"] == "", table["group"] != ""):
        tested = family & table["p"].notna()
        table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"])
    return Check(table, chosen)


def _check_judges(promise: Promise, new: Curves) -> None:
    """Refuses predictions of another model, and who calibrated."""
    for key in ("channels", "structures", "activation"):
        ours, theirs = (str(whose.definition[key]) for whose in (new, promise))
        if ours != theirs:
            raise InputError(
                f"{key}: are {ours}, but those of the promise are {theirs}; give predictions of "
                "the same model"
            )
    if known := sorted({*promise.patients, *promise.cases} & {*new.patients, *new.cases}):
        raise InputError(f"{known[0]}: calibrated the promise, and cannot judge it; leave it out")
    check_strangers(new, promise.images or promise.cohort)


def _rows_of(test: _Test, groups: Groups) -> Iterator[dict[str, Any]]:
    """The row of all patients of a test, and that of each group."""
    patients = sorted(test.losses)
    yield test.row(patients) | {"group": "", "value": ""}
    for group, of_patient in groups.items():
        for value in dict.fromkeys(of_patient.values()):
            part = [name for name in patients if of_patient[name] == value]
            yield test.row(part) | {"group": group, "value": value}


def _test(promise: Promise, kept: Guarantee, new: Curves, whole: Curves | None) -> _Test:
    """The test of one sentence, by the law of its failures or by divisions."""
    control = promise.control_of(kept)
    single = len(promise.patients) == len(promise.cases) and len({*new.patients}) == len(new.cases)
    new = counting(new, kept.structure, kept.kind)
    loss = losses(kept, new)
    names = sorted({*new.patients})
    if control.kind == EACH or (kept.kind not in CONTOURS and single):
        fails = failed(worst_by_patient(loss, new.patients), kept.kind, control).tolist()
        law = Law.of(control, kept.patients)
        return _Test(kept.label, kept.patients, dict(zip(names, fails, strict=True)), law)
    means = dict(zip(names, by_patient(loss, new.patients).tolist(), strict=True))

    def by_divisions(patients: Sequence[str]) -> float:
        if whole is None:
            return np.nan
        return divided(counting(whole, kept.structure, kept.kind), kept, control, names, patients)

    return _Test(kept.label, kept.patients, means, None, by_divisions)


def losses(kept: Guarantee, curves: Curves) -> Array:
    """What each case loses: the share missed, or wrong; of a number 1 if it is not as promised."""
    structure = curves.structures.index(kept.structure)
    if kept.kind in CONTOURS:
        sets = np.stack([np.searchsorted(THRESHOLDS, kept.values), np.zeros(len(MARGINS), int)])
        return contours_along(curves, structure, kept.kind, sets)[0][:, 0]
    errors = errors_of(curves, structure, kept.kind, kept.family, kept.margin)
    return np.asarray(errors > kept.values[0], float)


def divided(
    whole: Curves, kept: Guarantee, control: Control, new: Sequence[str], judges: Sequence[str]
) -> float:
    """The share of divisions of the patients in which those who do not calibrate lose as much.

    Args:
        whole: The curves of all patients.
        kept: The promise.
        control: How it is held.
        new: The new patients.
        judges: Those of them who are asked about; the others are left out.
    """
    part = whole.chosen({*whole.patients} - ({*new} - {*judges}))
    rules = Rules(part, whole.structures.index(kept.structure), kept.kind, kept.family, kept.margin)
    risks, is_new = rules.risks(control), np.isin(rules.patients, list(judges))
    order, calibrate = np.argsort(is_new, kind="stable"), int((~is_new).sum())
    rng = np.random.default_rng(0)

    def loss(order: Array) -> float:
        return float(risks[order[calibrate:], rules.fitted(control, order[:calibrate])].sum())

    least = loss(order) - _ROUNDING
    beyond = sum(loss(rng.permutation(len(order))) >= least for _ in range(DIVISIONS))
    return (1 + beyond) / (1 + DIVISIONS)


def check_promise(promise: Promise, probs: Any, labels: Any, chosen: str, **options: Any) -> Check:
    """`Promise.check`."""
    check_chosen(chosen)
    if isinstance(probs, (str, Path)):
        chosen_options = options_of(Use.PROMISE_CHECK, options)
        study = find_new(Path("promise"), promise, Path(probs), chosen_options, Path(labels))
        new, groups, faults = _read(study)
        if faults:
            raise faults[0]
        return judged(promise, new, chosen, groups, promise.curves, chosen_options.phases)
    new = curves_of_arrays(probs, labels, **options)
    if not {"cases", "patients"} & options.keys():  # whose numbers are no names
        names = [f"new_{name}" for name in new.cases]
        new = replace(new, cases=names, patients=names)
    return judged(promise, new, chosen, {}, promise.curves)


def _read(study: Study) -> tuple[Curves, Groups, list[InputError]]:
    """The curves of labeled new patients, their groups, and the faults of single cases."""
    groups = read_groups(study.options.groups, study.patients)
    curves, faults = read_study(study)
    (curves,) = hidden([curves], study.options.salt)
    return curves, groups, faults


def curves_beside(file: Path, promise: Promise) -> Curves | None:
    """The curves of those who calibrated, if ``promise.npz`` is beside ``promise.json`` as it was."""
    place = (file if file.is_dir() else file.parent) / CURVES_FILE
    if not place.is_file() or checksum(place) != promise.sums:
        return None
    return read_curves(place)


def check_folders(
    file: Path, folders: Sequence[Path], output: Path, options: Options
) -> list[InputError]:
    """Judges a promise by new labeled patients, prints the verdict, and writes ``check.csv``.

    Args:
        file: ``promise.json``, or the folder that it is in.
        folders: A folder of predictions and one of label maps.
        output: The folder for the table.
        options: As for an audit, with ``chosen``, ``groups`` and ``alarm``.

    Returns:
        The faults of single cases; the others judge.

    Raises:
        InputError: If the promise does not hold for these predictions, or one of them calibrated.
        SettingError: If nobody says how the patients were chosen, or triage picked them.
        BrokenError: At the end, by ``alarm``, if the promise is broken.
    """
    check_chosen(options.chosen)
    with written_folder(output, "promise --check", read=[file, *folders, *options.files]) as folder:
        promise = read_promise(file)
        study = find_new(file, promise, folders[0], options, folders[1])
        show(study)
        new, groups, faults = _read(study)
        check = judged(
            promise, new, str(options.chosen), groups, curves_beside(file, promise), options.phases
        )
        write_text(folder / _TABLE, csv_text(check.table))
    print_faults(faults)
    print(check, *_looks(file, new.patients), sep="\n")
    print_written([output / _TABLE])
    if options.alarm and len(check.broken):
        raise BrokenError(f"{folders[0]}: {check.verdict} Look at why")
    return faults


def _fault_in(looks: Mapping[str, Any]) -> str:
    return "" if LOOKS(looks) else "its dates cannot be"


def _looks(file: Path, patients: Sequence[str]) -> list[str]:
    """Remembers who judged a promise, beside it; the note where others did so before."""
    place = (file if file.is_dir() else file.parent) / CHECKS
    promise = checksum(place.with_name(PROMISE_FILE) if file.is_dir() else file)
    record = read_checked(place, _fault_in, "remove it") if place.exists() else {}
    judges = hashlib.sha256("\n".join(sorted({*patients})).encode()).hexdigest()
    looks = record.setdefault(promise, {})
    before = [date for date, whose in looks.items() if whose != judges]
    if judges not in looks.values():
        looks[datetime.now(UTC).isoformat()] = judges  # two in a second are two
        with suppress(InputError):  # where nobody may write beside the promise
            write_text(place, json.dumps(record, indent=1) + "\n")
    if not before:
        return []
    return [
        f"note: other patients judged this promise on {min(before)[:10]}. A check is for one look, and "
        "each further one may be wrong as often again; for many: "
        f"nacl-monai watch {file} NEW --labels DIR"
    ]
