"""What an evaluation is of, and whether that still stands in the run's folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nacl_monai.differences import differences, first_of
from nacl_monai.errors import InputError
from nacl_monai.files import checksum, read_object
from nacl_monai.reports.evaluation_files import evaluation_in
from nacl_monai.runs import RECORD_REMEDY, RunFolder

_AGAIN = "evaluate the run again"
# Settings in which evaluations must be alike to stand side by side; networks and losses may differ.
_ALIKE = (
    *("dataset", "cases", "classes", "label_values", "structures", "spatial_size"),
    *("preprocessing", "cropping", "calibration", "metrics"),
)
_WORDS = {"train": "training", "val": "validation"}
#: The set of an audit: whatever predictions were there.
AUDITED = "audited"


@dataclass(frozen=True)
class EvaluationOf:
    """What ``evaluation.json`` says; the defaults stand for an evaluation from before there was one.

    Attributes:
        set: The set of the split.
        settings: In which another evaluation must be alike.
    """

    set: str = "test"
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cases(self) -> str:
        """What tables and figures call the cases: "test cases"."""
        return f"{_WORDS.get(self.set, self.set)} cases"

    def difference(self, other: EvaluationOf) -> str:
        """How ``other`` was evaluated otherwise; empty if it was not, or if one of them does not say.

        An audit knows nothing of the training, so that its numbers alone can differ from a run's.
        """
        if (self.set == AUDITED) != (other.set == AUDITED):
            return ""
        if self.set != other.set:
            return f"set ({self.set}, now {other.set})"
        if not (self.settings and other.settings):
            return ""
        return first_of(differences(self.settings, other.settings))


def read_evaluation_of(folder: str | Path, units: Collection[str]) -> EvaluationOf:
    """Reads the record of a run's evaluation, and checks it against the run.

    Args:
        folder: The run's folder.
        units: The patients that were evaluated, or the cases where nobody knows whose they are.

    Raises:
        InputError: If a file is damaged, if weights, split or patients are not those that were
            evaluated, if the training is not finished, or if a patient of another set has trained.
    """
    run, said = RunFolder(Path(folder)), evaluation_in(folder).record
    record = _object(said)
    trained = run.trained
    for name, file in (("weights", trained.model), ("split", trained.split)):
        if name in record and file.is_file() and checksum(file) != record[name]:
            raise InputError(f"{said}: is of another {file.name} than the run's; {_AGAIN}")
    if _object(trained.record, RECORD_REMEDY).get("finished") is False:
        raise InputError(f"{trained.path}: its training is not finished; train on, then {_AGAIN}")
    settings = record.get("settings", {})
    if not isinstance(settings, dict):
        raise InputError(f"{said}: is damaged; {_AGAIN}")
    of = EvaluationOf(record.get("set", "test"), _alike(settings))
    _check_patients(trained.split, _object(trained.split), of.set, set(units))
    return of


def _alike(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key.partition("::")[0] in _ALIKE}


def _check_patients(file: Path, split: Mapping[str, Any], name: str, units: set[str]) -> None:
    """Refuses an evaluation that is not of its set of the split, or of patients that trained."""
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
