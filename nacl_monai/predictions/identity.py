"""Whose cases they are: nobody is tested on, or promised by, what was fitted to them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from nacl_monai.data.patients import patients_of
from nacl_monai.errors import InputError
from nacl_monai.inference.records import patient_of
from nacl_monai.posthoc import Calibrator
from nacl_monai.posthoc.file import BY_CASE, BY_PATTERN, BY_TABLE, ONE_EACH
from nacl_monai.predictions.channels import Channels
from nacl_monai.predictions.options import Options


def known_by(options: Options) -> str:
    """How a command knows the patients of its cases, as ``calibrator.json`` says it."""
    if options.one_each:
        return ONE_EACH
    if options.patients is not None:
        return BY_TABLE
    return BY_CASE if options.patient_pattern is None else BY_PATTERN


def check_calibrator(
    file: Path,
    calibrator: Calibrator,
    channels: Channels,
    cases: Sequence[str],
    options: Options,
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

    Raises:
        InputError: If the channels are others, nobody knows whether the patients are, or it was fitted
            on one of them or of the cases.
    """
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
    pattern, table = options.patient_pattern, options.table
    patients = patients_of(cases, pattern, table)
    names, fitted = {*cases, *patients}, {*calibrator.patients, *calibrator.cases}
    if table is None:
        if calibrator.known_by == BY_TABLE:
            raise InputError(
                f"{file}: was fitted to patients whom a table names, and nothing says so whether these "
                "are others; give the table with --patients"
            )
        names |= {*_by_pattern(cases, calibrator.patient_pattern).values()}
        fitted |= {*_by_pattern(calibrator.cases, pattern).values()}
    elif calibrator.known_by == BY_CASE:
        fitted |= {*patients_of(calibrator.cases, None, table)}
    else:
        table_says = dict(zip(cases, patients, strict=True))
        for case, patient in _by_pattern(cases, calibrator.patient_pattern).items():
            if patient != table_says[case]:
                raise InputError(
                    f"{table}: {case} is of {table_says[case]!r}, but of {patient!r} by the pattern of "
                    f"{file.name}; give --patient-pattern {calibrator.patient_pattern!r}, or fit with "
                    "the table"
                )
    seen = sorted(names & fitted)
    if seen:
        raise InputError(
            f"{file}: was fitted on {seen[0]}, who cannot test it; give predictions of others"
        )


def _by_pattern(cases: Collection[str], pattern: str | None) -> dict[str, str]:
    """The patients of the cases that a pattern fits; it need not fit the other's names."""
    found = {case: patient_of(case, pattern) for case in cases}
    return {case: patient for case, patient in found.items() if patient is not None}
