r"""Promises about measurements: a formula of the volumes over the cases of a patient.

People act on an ejection fraction, a difference between two dates, left over right. In a formula the
errors of structures and phases cancel, which the intervals of single volumes cannot know. So a
measurement is promised by itself, by split conformal prediction: of n patients with the errors
:math:`e_i = f(\text{predicted}_i) - f(\text{labeled}_i)`, let q be the :math:`\lceil (n + 1)(1 -
\alpha) \rceil`-th smallest :math:`|e_i|`. Then

.. math:: f(\text{predicted}) - q \le f(\text{labeled}) \le f(\text{predicted}) + q

in all new patients like these but a share α. An asymmetric interval takes the :math:`\lceil (n + 1)(1 -
\alpha / 2) \rceil`-th smallest of :math:`e_i` down and of :math:`-e_i` up. Which of both is fixed in
advance: the shorter one for these patients promises too much.

A value is undefined where a divisor is 0 or a patient lacks a phase. Then it counts as missed, as if
its error were infinite.

References:
    Distribution-Free Predictive Inference for Regression (Lei et al., 2018), arXiv 1604.04173.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from nacl_monai.errors import InputError, SettingError
from nacl_monai.evaluations.tables import read_groups
from nacl_monai.inference import records
from nacl_monai.inference.promised import Array
from nacl_monai.metrics.curves import Curves
from nacl_monai.promises.control import Control, Law
from nacl_monai.words import counted, first_repeated

#: Phase and structure → the volume of each patient in ml, NaN where a phase is missing.
_Volumes = Mapping[tuple[str, str], Array]
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_SIGNS = str.maketrans("×·÷−–", "**/--")
_LEAVES = ast.Constant, ast.Name, ast.Load
_NODES = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.USub, *_LEAVES, *_OPERATORS)
_LARGEST, _LONGEST = 1e300, 1000  # a number, and characters of a formula


@dataclass(frozen=True)
class Formula:
    """A formula of volumes, which is parsed, and never run as code.

    Attributes:
        name: Of the measurement.
        text: The formula as it was given.
        tree: Its operations.
        terms: Phase, or an empty text, and structure of each volume in it.

    Example:
        >>> share = Formula.of("share = a / (a + b)", ["a", "b"])
        >>> share.of_volumes({("", "a"): np.array([1.0, 0.0]), ("", "b"): np.array([3.0, 0.0])})
        array([0.25,  nan])
    """

    name: str
    text: str
    tree: ast.expr
    terms: Sequence[tuple[str, str]]

    @classmethod
    def of(cls, text: str, structures: Collection[str], phased: bool = False) -> Formula:
        """Parses "EF = 1 - ES.LV / ED.LV".

        Args:
            text: The name, an equals sign, and numbers, structures, or PHASE.STRUCTURE, with + - * / or
                × ÷ and parentheses.
            structures: The names of all structures, with whatever they contain.
            phased: Whether each structure has a phase before it.

        Raises:
            SettingError: If it is none.
        """
        name, equals, rest = map(str.strip, text.partition("="))
        where = f"--measure: {text!r}"
        if not equals or records.fault_of_name(name) or len(text) > _LONGEST:
            raise SettingError(f"{where} has no name; write NAME = FORMULA, such as total = a + b")
        plain, terms, places = _numbered(rest, structures, phased)
        tree, fault = _parsed(plain, places)
        if tree is None or not terms:
            known = ", ".join(f"PHASE.{each}" if phased else each for each in structures)
            raise SettingError(
                f"{where} {fault or 'has no structure'}; write numbers, + - * / ( ), and {known}"
            )
        return cls(name, rest, tree, terms)

    def of_volumes(self, volumes: _Volumes) -> Array:
        """The value of each patient, NaN where it is undefined."""
        with np.errstate(all="ignore"):
            found = np.asarray(_value(self.tree, [volumes[term] for term in self.terms]), float)
        return np.where(np.isfinite(found), found, np.nan)


def _numbered(
    text: str, structures: Collection[str], phased: bool
) -> tuple[str, list[tuple[str, str]], list[str]]:
    """A formula with a number in place of each volume, what these are, and how they are written."""
    names = "|".join(map(re.escape, sorted(structures, key=len, reverse=True)))
    phase = r"(?:(\w+)\.)" if phased else "()"
    place = "_" * (1 + max(map(len, re.findall("_+", text)), default=0))  # which it does not have
    terms: list[tuple[str, str]] = []

    def number(match: re.Match[str]) -> str:
        terms.append((match[1], match[2]))
        return f" {place}{len(terms) - 1} "

    plain = re.sub(rf"(?<![\w.]){phase}({names})(?![\w.])", number, text).translate(_SIGNS)
    return plain.strip(), terms, [f"{place}{k}" for k in range(len(terms))]


def _parsed(text: str, places: Collection[str]) -> tuple[ast.expr | None, str]:
    """The tree of a formula, or none and its fault."""
    try:
        tree = ast.parse(text, mode="eval")
        fault = next(filter(None, (_fault(node, places) for node in ast.walk(tree))), "")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None, "is no formula"
    return (None, fault) if fault else (tree.body, "")


def _fault(node: ast.AST, places: Collection[str]) -> str:
    """What a formula cannot have."""
    if isinstance(node, ast.Name) and node.id not in places:
        return f"has {node.id!r}, which is no structure"
    value = node.value if isinstance(node, ast.Constant) else 0
    number = isinstance(value, (int, float)) and type(value) is not bool and value < _LARGEST
    return "" if number and isinstance(node, _NODES) else f"has {ast.unparse(node)!r}"


def _value(node: ast.expr, terms: Sequence[Array]) -> Any:
    """The value of a checked part of a formula."""
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left, terms), _value(node.right, terms))
    if isinstance(node, ast.UnaryOp):
        return -_value(node.operand, terms)
    if isinstance(node, ast.Constant):
        return np.float64(str(node.value))
    assert isinstance(node, ast.Name)  # noqa: S101 - nothing else passes `_fault`
    return terms[int(node.id.strip("_"))]


def phases_of(cases: Sequence[str], phases: str | Path | None) -> list[str]:
    """The phase of each case; empty without phases.

    Args:
        cases: Their names.
        phases: A regular expression whose group is the phase, or a table with the columns case and
            phase.

    Raises:
        InputError: If a case has no phase, or the table is none.
        SettingError: If the expression is none, or has no group.
    """
    if phases is None:
        return [""] * len(cases)
    if Path(phases).is_file():
        table = read_groups(Path(phases), {case: case for case in cases})
        if "phase" not in table:
            raise InputError(f"{phases}: has no column 'phase'; write the columns case and phase")
        return [table["phase"][case] for case in cases]
    if not records.pattern(phases):
        raise SettingError(
            f"--phases: {str(phases)!r} is neither a table nor an expression with a group, such as "
            "'_(ED|ES)'"
        )
    found = [records.patient_of(case, str(phases)) for case in cases]
    if None in found:
        raise InputError(
            f"--phases: {str(phases)!r} finds no phase in {cases[found.index(None)]!r}; correct it, or "
            "give a table with the columns case and phase"
        )
    return [str(phase) for phase in found]


def by_phase(
    volumes: Array,
    structures: Sequence[str],
    patients: Sequence[str],
    phases: Sequence[str],
    terms: Sequence[tuple[str, str]],
) -> dict[tuple[str, str], Array]:
    """The volumes in a formula of each patient, by name; NaN where a phase is missing.

    Args:
        volumes: Of each case and structure, (N, S).
        structures: Names.
        patients: The patient of each case.
        phases: The phase of each case.
        terms: Phase and structure of each volume.

    Raises:
        InputError: If a patient has two cases of a phase.
    """
    names = {name: row for row, name in enumerate(sorted({*patients}))}
    found = {term: np.full(len(names), np.nan) for term in terms}
    seen: dict[tuple[str, str], int] = {}
    for case, key in enumerate(zip(patients, phases, strict=True)):
        if seen.setdefault(key, case) != case:
            which = f"of the phase {key[1]!r}" if key[1] else "without a phase"
            raise InputError(
                f"{key[0]}: has two cases {which}, and a measurement takes one; tell them "
                "apart with --phases"
            )
        for (phase, structure), values in found.items():
            if phase == key[1]:
                values[names[key[0]]] = volumes[case, structures.index(structure)]
    return found


@dataclass(frozen=True)
class Measure:
    """A promise about a measurement: the labeled value is between value − below and value + above.

    Attributes:
        name: Of the measurement.
        formula: Of volumes in ml.
        phases: The regular expression, or the name of the table, that tells the phases of cases.
        level: The risk α.
        below: How far the labeled value may be below the predicted one.
        above: How far above it.
        patients: How many calibrated it.
        undefined: Those of them without a value, who count as missed.
        asymmetric: Whether both ends were taken by themselves.
    """

    name: str
    formula: str
    phases: str | None
    level: float
    below: float
    above: float
    patients: int
    undefined: int = 0
    asymmetric: bool = False

    @property
    def law(self) -> Law:
        """The law of the share of new patients whose value is not within the interval."""
        if not self.asymmetric:
            return Law.of(Control(self.level), self.patients)
        failing, _ = Law.of(Control(self.level / 2), self.patients)
        return Law(2 * failing, self.patients + 1 - 2 * failing)

    @property
    def label(self) -> str:
        """Its label in a table."""
        return f"{self.name} {self.level:.0%}"

    @property
    def text(self) -> str:
        """The promise as a sentence."""
        ends = f"within {self.below:.3g} of"
        if self.asymmetric:
            ends = f"between {-self.below:+.3g} and {self.above:+.3g} of"
        lost = f" {counted(self.undefined, 'patient')} without a value counted as missed."
        return (
            f"{self.name} = {self.formula} is {ends} the predicted one, but for {self.level:.0%} of "
            f"patients.{lost * bool(self.undefined)}"
        )


def measures_of(record: Mapping[str, Any]) -> list[Measure]:
    """Those of a ``promise.json``."""
    return [Measure(**row) for row in record.get("measures") or ()]


def rows_of(
    measures: Sequence[Measure],
    volumes: Mapping[str, Mapping[str, float]],
    patients: Mapping[str, str],
    phases: str | Path | None = None,
) -> list[dict[str, Any]]:
    """A row for each patient and measurement: its value, and the interval of the labeled one.

    Args:
        measures: What was promised.
        volumes: Case → structure → its predicted volume in ml.
        patients: Case → patient.
        phases: As `values_of` takes them.
    """
    cases = sorted(volumes)
    if not measures or not cases:
        return []
    structures = list(volumes[cases[0]])
    table = np.array([[volumes[case][name] for name in structures] for case in cases])
    whose = [patients[case] for case in cases]
    found = values_of(measures, table, structures, whose, cases, phases)
    return [
        {
            "patient": patient,
            "measure": measure.name,
            "level": measure.level,
            "value": value,
            "low": value - measure.below,
            "high": value + measure.above,
        }
        for measure, values in zip(measures, found, strict=True)
        for patient, value in zip(sorted({*whose}), values.tolist(), strict=True)
    ]


def values_of(
    measures: Sequence[Measure],
    volumes: Array,
    structures: Sequence[str],
    patients: Sequence[str],
    cases: Sequence[str],
    phases: str | Path | None = None,
) -> list[Array]:
    """The value of each measurement for each patient, by name, NaN where it is undefined.

    Args:
        measures: What is measured.
        volumes: Of each case and structure in ml, (N, S).
        structures: Names.
        patients: The patient of each case.
        cases: Names.
        phases: A table of the phases of these cases; by default the expression of the measurement.

    Raises:
        InputError: If a case has no phase, or a patient two cases of one.
    """
    found = []
    for measure in measures:
        phased = measure.phases is not None
        formula = Formula.of(f"{measure.name} = {measure.formula}", structures, phased)
        of_cases = phases_of(cases, phases if phased and phases else measure.phases)
        for phase, structure in formula.terms:
            if phase not in of_cases:
                where = f"{phase}.{structure}"
                raise InputError(f"{where}: no case has the phase {phase!r}; correct the formula")
        terms = by_phase(volumes, structures, patients, of_cases, formula.terms)
        found.append(formula.of_volumes(terms))
    return found


def errors_of_measures(
    measures: Sequence[Measure], curves: Curves, phases: str | Path | None
) -> list[Array]:
    """The predicted minus the labeled value of each patient, NaN where one is undefined."""
    how = curves.structures, curves.patients, curves.cases, phases
    predicted = values_of(measures, curves.predicted_volumes, *how)
    labeled = values_of(measures, curves.volumes, *how)
    return [before - after for before, after in zip(predicted, labeled, strict=True)]


def fit_measures(
    curves: Curves,
    levels: Sequence[float],
    measures: Sequence[str] = (),
    phases: str | Path | None = None,
    *,
    asymmetric: bool = False,
) -> list[Measure]:
    """The promises about measurements that calibration patients allow.

    Args:
        curves: Of all patients.
        levels: Each is the largest risk α.
        measures: Names and formulas, "EF = 1 - ES.LV / ED.LV".
        phases: As `phases_of` takes them.
        asymmetric: Whether both ends of an interval are taken by themselves.

    Raises:
        SettingError: If a formula or the phases are wrong, or two have one name.
        InputError: If it takes more patients, too many have no value, or one has two cases of a phase.
    """
    if isinstance(measures, str):
        raise SettingError(f"measures: is {measures!r}; give a list of formulas")
    if not measures and (phases is not None or asymmetric):
        both = "--phases, --asymmetric"
        raise SettingError(f"{both}: have no effect without --measure; leave them out")
    patients = len({*curves.patients})
    formulas = [Formula.of(text, curves.structures, phases is not None) for text in measures]
    names = [formula.name for formula in formulas]
    if (repeated := first_repeated(names)) is not None:
        raise SettingError(f"--measure: two are called {repeated!r}; give each a name of its own")
    phased = None if phases is None else str(phases)
    blanks = [
        Measure(formula.name, formula.text, phased, level, 0, 0, patients, asymmetric=asymmetric)
        for formula, level in product(formulas, dict.fromkeys(levels))
    ]
    return list(map(_fitted, blanks, errors_of_measures(blanks, curves, phases)))


def _fitted(measure: Measure, errors: Array) -> Measure:
    """A measurement with its interval, by the errors of all patients."""
    patients, asymmetric = len(errors), measure.asymmetric
    control = Control(measure.level / 2 if asymmetric else measure.level).check()
    control.check_patients(patients, "--asymmetric" if asymmetric else "--measure")
    undefined = np.isnan(errors)
    place, none = patients - Law.of(control, patients).a, int(undefined.sum())
    ends = (errors, -errors) if asymmetric else (abs(errors), abs(errors))
    below, above = (float(np.sort(np.where(undefined, np.inf, end))[place]) for end in ends)
    if np.isinf(below):
        raise InputError(
            f"{measure.name}: {counted(none, 'patient')} of {patients} have no value, as a phase is "
            f"missing or a divisor is 0, and count as missed; so many cannot be missed of "
            f"{measure.level:g}; leave {measure.name} out, or take a larger --level"
        )
    return replace(measure, below=below, above=above, undefined=none)
