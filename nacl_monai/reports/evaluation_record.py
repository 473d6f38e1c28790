"""What an evaluation is of, and whether the run's folder still holds that."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nacl_monai.differences import differences, first_of, top_level
from nacl_monai.errors import InputError
from nacl_monai.files import checksum, read_object
from nacl_monai.reports.evaluation_files import evaluation_in, run_of
from nacl_monai.runs import RECORD_REMEDY, RunFolder

_AGAIN = "evaluate the run again"
# Settings in which evaluations must be alike to be shown side by side; networks and losses may differ.
_ALIKE = (
    *("dataset", "cases", "classes", "label_values", "structures", "spatial_size"),
    *("preprocessing", "cropping", "calibration", "metrics"),
)
# The same, and whatever all these refer to, where both records have it: an earlier version's may not.
_ALIKE_IF_KNOWN = ("average", "classification", "structure_masks", "postprocessing")
_REFERENCE = re.compile(r"@(\w+)")
_WORDS = {"train": "training", "val": "validation"}
#: The set of an audit: whatever predictions were there.
AUDITED = "audited"


@dataclass(frozen=True)
class EvaluationOf:
    """What ``evaluation.json`` says.

    Attributes:
        set: The set of the split.
        settings: What must be alike in another evaluation.
    """

    set: str
    settings: Mapping[str, Any]

    @property
    def cases(self) -> str:
        """What tables and figures call the cases: "test cases"."""
        return f"{_WORDS.get(self.set, self.set)} cases"

    def difference(self, other: EvaluationOf) -> str:
        """How ``other`` was evaluated otherwise; empty if it was not.

        An audit knows nothing of the training, nor do merged audits know their settings; there the
        numbers alone can differ.
        """
        audits = [one.set == AUDITED for one in (self, other)]
        if any(audits) and not (all(audits) and self.settings and other.settings):
            return ""
        if self.set != other.set:
            return f"set ({self.set}, now {other.set})"
        return first_of(differences(self._beside(other), other._beside(self)))

    def _beside(self, other: EvaluationOf) -> dict[str, Any]:
        """The settings, but for keys that the record of ``other`` does not know."""
        known = {*_ALIKE, *map(top_level, other.settings)}
        return {name: value for name, value in self.settings.items() if top_level(name) in known}


def read_evaluation_of(folder: str | Path, units: Collection[str]) -> EvaluationOf:
    """Reads the record of a run's evaluation, and checks it against the run.

    Args:
        folder: The run's folder, or that of its evaluation.
        units: The patients that were evaluated, or the cases where nobody knows whose they are.

    Raises:
        InputError: If the record is missing or a file is damaged, if weights, split or patients are not
            those that were evaluated, if the training is not finished, if a patient of another set
            has trained, or if it is calibrated and its calibrator was fitted, or a run behind it
            trained, anew.
    """
    run, said = run_of(folder), evaluation_in(folder).record
    record = _record(said)
    trained = run.trained
    for name, file in (("weights", trained.model), ("split", trained.split)):
        if file.is_file() and checksum(file) != record.get(name):
            raise InputError(f"{said}: is of another {file.name} than the run's; {_AGAIN}")
    if _object(trained.record, RECORD_REMEDY).get("finished") is False:
        raise InputError(f"{trained.path}: its training is not finished; train on, then {_AGAIN}")
    _check_calibrator(run, said, record)
    of = EvaluationOf(record["set"], _alike(record["settings"]))
    _check_patients(trained.split, _object(trained.split), of.set, set(units))
    return of


def _record(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise InputError(
            f"{file}: no such file, and without it nobody knows what was evaluated; {_AGAIN}"
        )
    record = read_object(file, _AGAIN)
    if not (isinstance(record.get("set"), str) and isinstance(record.get("settings"), dict)):
        raise InputError(f"{file}: is damaged; {_AGAIN}")
    return record


def _alike(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that must be alike, and those to which they refer: "@scale_by_percentiles"."""
    keys = [*_ALIKE, *_ALIKE_IF_KNOWN]
    for key in keys:  # which grows
        texts = (value for name, value in settings.items() if top_level(name) == key)
        keys += {found for text in texts for found in _REFERENCE.findall(str(text))} - set(keys)
    return {name: value for name, value in settings.items() if top_level(name) in keys}


def _check_calibrator(run: RunFolder, said: Path, record: Mapping[str, Any]) -> None:
    """Refuses what is of another fit, or follows trainings of which one was trained anew.

    Evaluations of earlier versions do not know the file of the fit.
    """
    if run.trained is run or not run.calibrator.is_file():
        return
    if record.get("calibrator_sha256") not in (None, checksum(run.calibrator)):
        raise InputError(f"{said}: is of another {run.calibrator.name} than the run's; {_AGAIN}")
    own, weights = run.trained, record.get("weights")
    members = read_object(run.calibrator, _AGAIN).get("members", {own.path.name: weights})
    compared = {own.path.name: weights} if own.model.is_file() else {}  # with its file, already
    for name, known in members.items():
        member = RunFolder(own.path.with_name(name))
        if (compared.get(name) or _weights(member)) not in (None, known):
            raise InputError(f"{said}: {member.path} was trained anew since; calibrate again")


def _weights(run: RunFolder) -> str | None:
    """The checksum of a run's weights: by its evaluation where they were not kept, None without one."""
    if run.model.is_file():
        return checksum(run.model)
    return _object(run.evaluation.record).get("weights")


def _check_patients(file: Path, split: Mapping[str, Any], name: str, units: set[str]) -> None:
    """Refuses an evaluation that is not of its set of the split, or of patients that trained."""
    if not all(isinstance(split.get(one, []), list) for one in ("train", name)):
        raise InputError(f"{file}: is damaged; {_AGAIN}")
    trained = units & set(map(str, split.get("train", [])))
    if name != "train" and trained:
        raise InputError(
            f"{file}: patient {min(trained)} has trained, but is in the evaluation of the set {name!r}; "
            f"{_AGAIN}"
        )
    unlike = units ^ set(map(str, split.get(name, units)))
    if unlike:
        raise InputError(
            f"{file}: its set {name!r} is not the one that was evaluated ({min(unlike)}); {_AGAIN}"
        )


def _object(file: Path, remedy: str = _AGAIN) -> dict[str, Any]:
    return read_object(file, remedy) if file.is_file() else {}
