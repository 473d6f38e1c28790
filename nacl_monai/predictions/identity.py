"""Identity of patients: nobody is tested on, or promised by, a fit to themselves."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from nacl_monai.data.cases import patients_of
from nacl_monai.errors import InputError, SettingError
from nacl_monai.inference.records import BY_CASE, BY_PATTERN, BY_TABLE, ONE_EACH, alias, patient_of
from nacl_monai.predictions.options import Options

if TYPE_CHECKING:
    from nacl_monai.metrics.curves import Curves
    from nacl_monai.metrics.islands import Islands
    from nacl_monai.metrics.record import Record
    from nacl_monai.predictions.study import Study

_SumsT = TypeVar("_SumsT", "Record", "Curves", "Islands")
# Bytes of a secret that cannot be guessed, and digits in which no two names are the same.
_LEAST, _HIDDEN = 32, 24


class Named(Protocol):
    """An object with the names of cases and patients: sums, or a promise."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def cases(self) -> Sequence[str]:
        """Names of cases."""

    @property
    def patients(self) -> Sequence[str] | None:
        """The patient of each case, or those who calibrated; empty if unknown."""

    @property
    def definition(self) -> Mapping[str, Any]:
        """The definition of the counts, and the salt that hid names."""


class People(Named, Protocol):
    """Those whose cases something was fitted to; its definition says by which model's predictions."""

    @property
    def patients(self) -> Sequence[str]:
        """Their names."""

    @property
    def known_by(self) -> str:
        """How they were known, one of `nacl_monai.inference.records.WAYS`."""

    @property
    def patient_pattern(self) -> str | None:
        """The regular expression that told them, if one did."""


NamedT = TypeVar("NamedT", bound=Named)


def known_by(options: Options) -> str:
    """How a command knows the patients of its cases, as ``calibrator.json`` says it."""
    if options.one_each:
        return ONE_EACH
    if options.patients is not None:
        return BY_TABLE
    return BY_CASE if options.patient_pattern is None else BY_PATTERN


@dataclass(frozen=True)
class Salt:
    """The salt for names in files that leave a site: their HMAC-SHA-256 by a secret of the study.

    Names cannot be guessed without the secret, and can be compared with it. Files hold only its hash,
    so that files of two secrets are told apart.
    """

    secret: bytes

    @classmethod
    def read(cls, file: Path) -> Salt:
        """The salt of a user's file.

        Raises:
            InputError: If there is none, or the secret is so short that it could be guessed.
        """
        make = f"make one for all sites of the study: openssl rand -hex 32 > {file}"
        if not file.is_file():
            raise InputError(f"{file}: no such file; {make}")
        secret = file.read_bytes().strip()
        if len(secret) < _LEAST:
            raise InputError(f"{file}: has {len(secret)} bytes, which may be guessed; {make}")
        return cls(secret)

    def hide(self, name: str) -> str:
        """The replacement of the name of a case or a patient."""
        return hmac.new(self.secret, name.encode(), "sha256").hexdigest()[:_HIDDEN]

    def hidden(self, sums: NamedT, where: object) -> NamedT:
        """Sums or a promise with hidden names; unchanged if the salt hid them already.

        Raises:
            InputError: If another salt did, or nobody says whose the cases are.
        """
        mark = sums.definition.get("anonymous")
        if mark == self.mark:
            return sums
        if mark:
            raise InputError(f"{where}: another salt hid its names; give that with --anonymous")
        if not sums.patients or sums.definition.get("known_by") == BY_CASE:
            raise InputError(
                f"{where}: does not say whose the cases are, which hidden names could not show; make it "
                "again with --patient-pattern, or with --patients"
            )
        cases, patients = (list(map(self.hide, names)) for names in (sums.cases, sums.patients))
        definition = {**sums.definition, "anonymous": self.mark}
        return replace(sums, cases=cases, patients=patients, definition=definition)

    @property
    def mark(self) -> str:
        """The mark that tells it from other salts."""
        return self.hide("\N{NULL}")


def hidden(parts: Iterable[_SumsT], anonymous: str | Path | None) -> list[_SumsT]:
    """Sums as they are, or with names that the salt in a file hides.

    Raises:
        InputError: If it cannot be used, or as of `Salt.hidden`.
    """
    salt = None if anonymous is None else Salt.read(Path(anonymous))
    return [part if salt is None else salt.hidden(part, part.path) for part in parts]


def salt_of(options: Options) -> Salt | None:
    """The salt of a command; None where names stay as they are.

    Raises:
        InputError: If its file cannot be used.
        SettingError: If nobody says whose the cases are, which their hidden names could not show.
    """
    if options.salt is None:
        return None
    if known_by(options) == BY_CASE:
        raise SettingError(
            f"{_word(options)}: hides whose the cases are; say it with --patient-pattern, or with "
            "--patients, a table or cases"
        )
    return Salt.read(options.salt)


def _word(options: Options) -> str:
    """The option that has the salt."""
    return "--anonymous" if options.anonymous else "--salt"


def check_unseen(file: Path, people: People, study: Study) -> None:
    """Refuses predictions to which a fit to others does not apply, or that cannot test it.

    Nobody is tested on what was fitted to them, so both must know the patients in one way: a fit with a
    table needs a table of these cases, a table must not contradict the pattern of the fit, and where the
    fit knew nobody, it must have the patients of its cases, too. Patterns are applied to the cases of
    both.

    Args:
        file: ``calibrator.json``, ``promise.json`` or ``islands.json``, for messages.
        people: What it says.
        study: The predictions.

    Raises:
        InputError: If these are of other channels, another ensemble, or behind another calibrator, the
            names of one of both are hidden by a salt that the other has not, nobody knows whether
            the patients are others, or it was fitted on one of them or of the cases.
    """
    salt = _check_model(file, people.definition, study)
    pattern, table = study.options.patient_pattern, study.options.table
    cases = [*study.patients]
    patients = patients_of(cases, pattern, table)
    prediction_name = people.definition.get("prediction_name")
    aliases = [name for case in cases for name in alias(case, prediction_name)]
    names, fitted = {*cases, *patients, *aliases}, {*people.patients, *people.cases}
    if table is None:
        if people.known_by == BY_TABLE:
            raise InputError(
                f"{file}: was fitted to patients whom a table names, and nothing says whether these "
                "are others; give the table with --patients"
            )
        names |= {*_by_pattern([*cases, *aliases], people.patient_pattern).values()}
        fitted |= {*_by_pattern(people.cases, pattern).values()}
    elif people.known_by == BY_CASE:
        fitted |= {*patients_of(people.cases, None, table)}
    else:
        _check_table(file, table, dict(zip(cases, patients, strict=True)), people.patient_pattern)
    seen = sorted(name for name in names if (salt.hide(name) if salt else name) in fitted)
    if seen:
        raise InputError(
            f"{file}: was fitted on {seen[0]}, who cannot test it; give predictions of others"
        )


def _check_table(file: Path, table: Path, patients: Mapping[str, str], pattern: str | None) -> None:
    """Refuses a table that contradicts the pattern of the fit."""
    for case, patient in _by_pattern(patients, pattern).items():
        if patient != patients[case]:
            raise InputError(
                f"{table}: {case} is of {patients[case]!r}, but of {patient!r} by the pattern of "
                f"{file.name}; give --patient-pattern {pattern!r}, or fit with the table"
            )


def _by_pattern(cases: Collection[str], pattern: str | None) -> dict[str, str]:
    """The patients of the cases that a pattern fits; it need not fit the other's names."""
    found = {case: patient_of(case, pattern) for case in cases}
    return {case: patient for case, patient in found.items() if patient is not None}


def _check_model(file: Path, model: Mapping[str, Any], study: Study) -> Salt | None:
    """Refuses predictions of another model; returns the salt that hid the names of the fit."""
    channels, joins, salt = study.channels, [*study.joins], None
    if "calibrator" in model:  # what a calibrator was fitted to went through none
        if (its_joins := model.get("ensemble", [])) != joins:
            raise InputError(
                f"{file}: was made of {_model(its_joins)}, but these are {_model(joins)}; give the "
                "predictions of the same model, of an ensemble with --ensemble"
            )
        its, ours = list(model["calibrator"]), study.calibrator
        if its != ours:
            raise InputError(
                f"{file}: was made of predictions behind {its[0] if its else 'no calibrator'}, but "
                f"these are behind {ours[0] if ours else 'none'}; give the same with --calibrator"
            )
        salt = _same_salt(file, model.get("anonymous"), study.options)
    if not model["channels"]:
        raise InputError(
            f"{file}: is a calibrator of a run, not of saved predictions; give one that calibrate "
            "fitted to saved predictions"
        )
    if (model["activation"], [*model["channels"]]) != (channels.activation, channels.names):
        raise InputError(
            f"{file}: was fitted to {', '.join(model['channels'])} by {model['activation']}, but "
            f"these are {', '.join(channels.names)} by {channels.activation}; give this model's "
            "calibrator"
        )
    return salt


def _model(joins: Sequence[Any]) -> str:
    return f"the mean {joins[0]} of {joins[1]} folders" if joins else "single predictions"


def _same_salt(file: Path, mark: str | None, options: Options) -> Salt | None:
    """The salt by which names are compared with those of a file, which it must have hidden."""
    salt = salt_of(options)
    if mark == (salt and salt.mark):
        return salt
    word = _word(options)
    remedy = f"give the salt that hid them with {word}" if mark else f"leave out {word}"
    raise InputError(
        f"{file}: the names of its patients are {'hidden' if mark else 'not hidden'}, and so cannot be "
        f"compared with these; {remedy}"
    )
