"""A calibrator of saved predictions: its file, and predictions that are read through it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nacl_monai.audits.agreement import check_agreement
from nacl_monai.audits.channels import Channels
from nacl_monai.audits.reading import check_channels
from nacl_monai.audits.saved import Prediction, Probabilities
from nacl_monai.data.patients import patients_of
from nacl_monai.errors import InputError
from nacl_monai.files import atomic_path, checksum, read_object, write_text
from nacl_monai.posthoc import OUTPUTS, Fit, module_of

#: The file of a calibrator; programs without this package read its twin in TorchScript.
FILE = "calibrator.json"
_SCRIPTED = "calibrator.ts"
_REMEDY = "write it anew: nacl-monai calibrate"


@dataclass(frozen=True)
class Calibrator:
    """What ``calibrator.json`` says.

    Attributes:
        module: From logits to logits.
        channels: The names of the channels that it was fitted to.
        activation: What they came out of.
        patients: The patients whose predictions it was fitted to; cases where nobody knew the patients.
        cases: The cases of these patients.
        patient_pattern: What told the fit the patients, if the names did.
        name: Method and region, "temperature_union".
        file: Its file.
    """

    module: nn.Module
    channels: Sequence[str]
    activation: str
    patients: Collection[str]
    cases: Collection[str]
    patient_pattern: str | None
    name: str
    file: Path

    def check(
        self,
        channels: Channels,
        cases: Sequence[str],
        patient_pattern: str | None = None,
        table: Path | None = None,
    ) -> None:
        """Refuses predictions that it cannot calibrate, or that cannot test it.

        Whose a case is says a table, or else every pattern of names that the fit or the audit has, for
        the cases of both.

        Args:
            channels: The channels of the predictions.
            cases: Their names.
            patient_pattern: As in `patients_of`.
            table: As there.

        Raises:
            InputError: If the channels are others, or if it was fitted on one of the cases or patients.
        """
        if (self.activation, list(self.channels)) != (channels.activation, channels.names):
            raise InputError(
                f"{self.file}: was fitted to {', '.join(self.channels)} by {self.activation}, but these "
                f"are {', '.join(channels.names)} by {channels.activation}; give this model's calibrator"
            )
        names = {*cases, *patients_of(cases, patient_pattern, table)}
        fitted = {*self.patients, *self.cases}
        if table is None:
            names |= _by_pattern(cases, self.patient_pattern)
            fitted |= _by_pattern(self.cases, patient_pattern)
        seen = sorted(names & fitted)
        if seen:
            raise InputError(
                f"{self.file}: was fitted on {seen[0]}, who cannot test it; give predictions of others"
            )

    def as_record(self) -> dict[str, str]:
        """What ``evaluation.json`` keeps of it."""
        return {
            "calibrator": self.name,
            "calibrator_checksum": checksum(self.file),
        }


def _by_pattern(cases: Collection[str], pattern: str | None) -> set[str]:
    """The patients that a pattern finds, which need not match the other's names."""
    found = (re.search(pattern, case) for case in cases if pattern is not None)
    return {match[1] for match in found if match}


def write_calibrator(
    folder: Path,
    fit: Fit,
    channels: Channels,
    folds: Sequence[Mapping[str, Any]],
    patient_of: Mapping[str, str],
    patient_pattern: str | None = None,
) -> list[Path]:
    """Writes ``calibrator.json``, and ``calibrator.ts`` for programs without this package.

    Args:
        folder: For both files.
        fit: On all patients.
        channels: The channels of the predictions.
        folds: The patients and the parameters of each fit of the cross-fitting.
        patient_of: Case → patient.
        patient_pattern: The regular expression that says so, if one does.

    Raises:
        InputError: If a file cannot be written.
    """
    record = {
        **asdict(fit),
        "activation": channels.activation,
        "channels": channels.names,
        "cases": sorted(case for case, one in patient_of.items() if one in fit.patients),
        "patient_pattern": patient_pattern,
        "folds": list(folds),
    }
    scripted, described = folder / _SCRIPTED, folder / FILE
    with atomic_path(scripted) as path:
        torch.jit.save(torch.jit.script(fit.module), path)
    write_text(described, json.dumps(record, indent=2) + "\n")
    return [described, scripted]


def read_calibrator(file: Path) -> Calibrator:
    """Reads ``calibrator.json``.

    Raises:
        InputError: If there is no such file, or if it is damaged.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file; give the calibrator.json that calibrate wrote")
    record = read_object(file, _REMEDY)
    check_of_saved(file, record, "give one that calibrate fitted to saved predictions")
    pattern = record.get("patient_pattern")
    try:
        patients_of([], pattern)  # refuses what is not a pattern
        return Calibrator(
            module=module_of(record),
            channels=[str(name) for name in record["channels"]],
            patients=[str(name) for name in record["patients"]],
            cases=[str(name) for name in record["cases"]],
            patient_pattern=pattern,
            activation=record["activation"],
            name=f"{record['method']}_{record['region']}",
            file=file,
        )
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise InputError(f"{file}: is damaged; {_REMEDY}") from error


def check_of_saved(file: Path, record: Mapping[str, Any], remedy: str) -> None:
    """Refuses the calibrator of a run, which is of weights and not of named channels.

    Raises:
        InputError: Then, with what to do.
    """
    if "weights" in record and "channels" not in record:
        raise InputError(f"{file}: is a calibrator of a run, not of saved predictions; {remedy}")


@dataclass(frozen=True)
class Calibrated:
    """Reads predictions through calibrators: what was saved is checked, then calibrated.

    Attributes:
        read: The layout's function.
        channels: What the channels mean.
        modules: Case → from logits to logits.
    """

    read: Callable[[Prediction], Probabilities]
    channels: Channels
    modules: Mapping[str, nn.Module]

    def __call__(self, prediction: Prediction) -> Probabilities:
        """The calibrated probabilities of a case.

        Raises:
            InputError: If those that were saved cannot be read, or are not what they should be.
        """
        predicted = self.read(prediction)
        check_channels(prediction, predicted, self.channels)
        check_agreement(predicted, self.channels)
        outputs = OUTPUTS[self.channels.activation]
        logits = outputs.logits_of(torch.from_numpy(predicted.voxels), predicted.step)
        with torch.no_grad():
            probs = outputs.probs_of(self.modules[prediction.case](logits[None])[0])
        # The segmentation beside it is of the probabilities that were saved.
        voxels = probs.numpy()
        return replace(predicted, voxels=voxels, whole=False, segmentation=None, step=None)
