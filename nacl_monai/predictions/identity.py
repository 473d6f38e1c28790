"""Identity of patients: nobody is tested on, or promised by, a fit to themselves."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from nacl_monai.data.patients import patients_of
from nacl_monai.errors import InputError, SettingError
from nacl_monai.inference.records import alias, patient_of
from nacl_monai.posthoc import Calibrator
from nacl_monai.posthoc.file import BY_CASE, BY_PATTERN, BY_TABLE, ONE_EACH
from nacl_monai.predictions.channels import Channels
from nacl_monai.predictions.options import Options

if TYPE_CHECKING:
    from nacl_monai.metrics.curves import Curves
    from nacl_monai.metrics.islands import Islands
    from nacl_monai.metrics.record import Record

SumsT = TypeVar("SumsT", "Record", "Curves", "Islands")
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


def hidden(parts: Iterable[SumsT], anonymous: str | Path | None) -> list[SumsT]:
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


def check_salt(file: Path, mark: str | None, options: Options) -> Salt | None:
    """The salt by which names are compared with those of a file.

    Args:
        file: Of a promise, for messages.
        mark: Of the salt that hid its names; None where they are as they were.
        options: Of the command.

    Raises:
        InputError: If that was another, or one of both does not hide names.
    """
    salt = salt_of(options)
    if mark == (salt and salt.mark):
        return salt
    word = _word(options)
    remedy = f"give the salt that hid them with {word}" if mark else f"leave out {word}"
    raise InputError(
        f"{file}: the names of its patients are {'hidden' if mark else 'not hidden'}, and so cannot be "
        f"compared with these; {remedy}"
    )


def check_calibrator(
    file: Path,
    calibrator: Calibrator,
    channels: Channels,
    cases: Sequence[str],
    options: Options,
    salt: Salt | None = None,
) -> None:
    """Refuses predictions that a calibrator cannot calibrate, or that cannot test it.

    Nobody is tested on what was fitted to them, so both must know the patients in one way: a fit with a
    table needs a table of these cases, a table must not contradict the pattern of the fit, and where the
    fit knew nobody, it must have the patients of its cases, too. Patterns are applied to the cases of
    both.

    Args:
        file: The calibrator's file.
        calibrator: What it says.
        channels: The channels of the predictions.
        cases: Their names.
        options: The command's, which say whose the cases are.
        salt: What hid the calibrator's names, if something did.

    Raises:
        InputError: If the channels are others, nobody knows whether the patients are, or it was fitted
            on one of them or of the cases.
    """
    _check_channels(file, calibrator, channels)
    pattern, table = options.patient_pattern, options.table
    patients = patients_of(cases, pattern, table)
    aliases = [name for case in cases for name in alias(case, calibrator.prediction_name)]
    names, fitted = {*cases, *patients, *aliases}, {*calibrator.patients, *calibrator.cases}
    if table is None:
        if calibrator.known_by == BY_TABLE:
            raise InputError(
                f"{file}: was fitted to patients whom a table names, and nothing says whether these "
                "are others; give the table with --patients"
            )
        names |= {*_by_pattern([*cases, *aliases], calibrator.patient_pattern).values()}
        fitted |= {*_by_pattern(calibrator.cases, pattern).values()}
    elif calibrator.known_by == BY_CASE:
        fitted |= {*patients_of(calibrator.cases, None, table)}
    else:
        _check_table(file, table, dict(zip(cases, patients, strict=True)), calibrator)
    seen = sorted(name for name in names if (salt.hide(name) if salt else name) in fitted)
    if seen:
        raise InputError(
            f"{file}: was fitted on {seen[0]}, who cannot test it; give predictions of others"
        )


def _check_channels(file: Path, calibrator: Calibrator, channels: Channels) -> None:
    if not calibrator.channels:
        raise InputError(
            f"{file}: is a calibrator of a run, not of saved predictions; give one that calibrate "
            "fitted to saved predictions"
        )
    if (calibrator.activation, [*calibrator.channels]) != (channels.activation, channels.names):
        raise InputError(
            f"{file}: was fitted to {', '.join(calibrator.channels)} by {calibrator.activation}, but "
            f"these are {', '.join(channels.names)} by {channels.activation}; give this model's "
            "calibrator"
        )


def _check_table(
    file: Path, table: Path, patients: Mapping[str, str], calibrator: Calibrator
) -> None:
    """Refuses a table that contradicts the pattern of the fit."""
    for case, patient in _by_pattern(patients, calibrator.patient_pattern).items():
        if patient != patients[case]:
            raise InputError(
                f"{table}: {case} is of {patients[case]!r}, but of {patient!r} by the pattern of "
                f"{file.name}; give --patient-pattern {calibrator.patient_pattern!r}, or fit with "
                "the table"
            )


def _by_pattern(cases: Collection[str], pattern: str | None) -> dict[str, str]:
    """The patients of the cases that a pattern fits; it need not fit the other's names."""
    found = {case: patient_of(case, pattern) for case in cases}
    return {case: patient for case, patient in found.items() if patient is not None}


def check_same_model(
    file: Path, definition: Mapping[str, Any], joins: Sequence[Any], behind: Sequence[str]
) -> None:
    """Refuses predictions that went through another calibrator or ensemble than those of a file.

    Args:
        file: ``promise.json`` or ``islands.json``, for messages.
        definition: The file's.
        joins: The ensemble that the predictions are the mean of, as `Study` has it.
        behind: Name and checksum of the calibrator that they went through; empty without one.

    Raises:
        InputError: If they are of another ensemble, or behind another calibrator.
    """
    promised_joins = definition.get("ensemble", [])
    if promised_joins != [*joins]:
        raise InputError(
            f"{file}: was made of {_model(promised_joins)}, but these are {_model(joins)}; give the "
            "predictions of the same model, of an ensemble with --ensemble"
        )
    promised = list(definition["calibrator"])
    if promised != [*behind]:
        raise InputError(
            f"{file}: was made of predictions behind {promised[0] if promised else 'no calibrator'}, "
            f"but these are behind {behind[0] if behind else 'none'}; give the same with --calibrator"
        )


def _model(joins: Sequence[Any]) -> str:
    return f"the mean {joins[0]} of {joins[1]} folders" if joins else "single predictions"
