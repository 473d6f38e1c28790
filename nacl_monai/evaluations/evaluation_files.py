"""The files of an evaluation or audit, written, and read and checked file by file.

================== ==========================================================================
``cases.csv``      one row per test case: ``case``, ``dice``, ``hd95``, ``ece_foreground``,
                   ``cece_foreground`` and any further metric, such as ``dice_<structure>``; an empty
                   cell is undefined.
                   An optional column ``patient`` says which cases belong together.
``summary.json``   the mean, the standard deviation and the number of defined values of every column;
                   under ``pooled`` numbers of all cases together, with 95 % intervals over patients
                   (`nacl_monai.metrics.record.Record.pooled_numbers`).
``evaluation.json`` what the evaluation is of: the set, ``weights``, ``split`` and ``config``, the
                   checksums of their files, those of the two files above, ``settings``, ``versions`` and
                   ``git_commit``; and the checksum of all this.
``bins.npz``       what was counted (`nacl_monai.metrics.record`).
``maps/CASE.npz``  one slice: ``image``, ``label``, ``prediction``, ``confidence`` and
                   ``entropy`` (H, W), ``slice`` and ``classes`` (C,), background first.
                   Those of an audit have no ``image``.
================== ==========================================================================

They are written aside, and take the place of an earlier evaluation together or not at all.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from nacl_monai.errors import InputError
from nacl_monai.files import (
    check_unique,
    checksum,
    git_commit,
    read_checked,
    read_object,
    read_table,
    version_of,
    write_text,
)
from nacl_monai.inference.records import (
    Condition,
    anything,
    fault_in,
    keyed,
    mapped,
    maybe,
    number,
    own_checksum,
    string,
    whole,
)
from nacl_monai.metrics.columns import MAIN_METRICS
from nacl_monai.metrics.record import REMEDY, Record
from nacl_monai.runs import RECORD_REMEDY, EvaluationFolder, RunFolder
from nacl_monai.words import computing, differences, first_of, listed, top_level

_AGAIN = "evaluate the run again"
_PUT_BACK = "put it back, or train the run again"
_EPOCHS = "max_epochs"
#: The key of the checksum of all others, and of those of the two files beside it.
_OWN, _SUMS = "sha256", ("cases_sha256", "summary_sha256")
#: What ``evaluation.json`` holds; evaluations of earlier versions have no checksums.
EVALUATION: dict[str, Condition] = {
    "set": string,
    "settings": mapped(anything),
    "versions": maybe(mapped(string)),
    **dict.fromkeys(
        (*("weights", "split", "config", "calibrator_sha256", "git_commit"), *_SUMS, _OWN),
        maybe(string),
    ),
}
_STATISTICS = {"count": whole(), **dict.fromkeys(("mean", "std"), maybe(number()))}
#: What ``summary.json`` holds; that of an earlier version may have the first key alone.
SUMMARY: dict[str, Condition] = {
    "dataset": string,
    **dict.fromkeys(("cases", "num_bins"), maybe(whole(1))),
    "metrics": maybe(mapped(keyed(_STATISTICS))),
    "pooled": maybe(mapped(mapped(maybe(number())))),
}
_PACKAGES = ("nacl-monai", "torch", "monai")
# Settings in which evaluations must be alike to be shown side by side; networks and losses may differ.
_ALIKE = (
    *("dataset", "cases", "classes", "label_values", "structures", "spatial_size"),
    *("preprocessing", "cropping", "calibration", "metrics"),
)
# The same, with all that these refer to, if both records have it: an earlier version's may not.
_ALIKE_IF_KNOWN = ("average", "classification", "structure_masks", "postprocessing")
_REFERENCE = re.compile(r"@(\w+)")
_WORDS = {"train": "training", "val": "validation"}
#: The set of an audit: all predictions of its folder.
AUDITED = "audited"


def evaluation_in(folder: str | Path) -> EvaluationFolder:
    """The evaluation of a run; the folder of an audit is one itself."""
    of_run, itself = RunFolder(Path(folder)).evaluation, EvaluationFolder(Path(folder))
    return itself if itself.cases.is_file() and not of_run.path.is_dir() else of_run


def run_of(folder: str | Path) -> RunFolder:
    """The run whose evaluation is read: the folder, or the one above where it is ``RUN/evaluation``."""
    folder = Path(folder)
    for path in (folder.absolute(), folder.resolve()):
        above = RunFolder(path.parent)
        if above.evaluation.path == path and above.evaluation.cases.is_file():
            return above
    return RunFolder(folder)


def read_cases(path: Path) -> tuple[pd.DataFrame, pd.Series[str]]:
    """Metrics and patients by case; names stay text, so that '001' and 'NA' survive.

    Args:
        path: The ``cases.csv`` of an evaluation.

    Returns:
        One float column per metric, and the patient of each case: the case itself where the file
        does not say.

    Raises:
        InputError: If the file is missing, lacks a column or a patient, repeats a case or holds text as
            a metric.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; {REMEDY}")
    rows = read_table(path, [], "evaluate the run again")
    table = pd.DataFrame(rows, dtype=str)
    known = {str(column).removesuffix("_mm") for column in table}  # distances have either unit
    missing = [column for column in ("case", *MAIN_METRICS) if column not in known]
    if missing:
        raise InputError(f"{path}: no column {listed(missing)}; evaluate the run again")
    if table.empty:
        raise InputError(f"{path}: no test case in it; check the split and evaluate again")
    check_unique(path, rows, ["case"])
    table = table.set_index("case")
    patients = table.pop("patient") if "patient" in table else table.index.to_series()
    nobody = patients == ""
    if nobody.any():
        raise InputError(f"{path}: case {nobody.idxmax()!r} has no patient; evaluate the run again")
    for column in table.columns:
        table[column] = _numbers(path, table[column])
    return table, patients


def _numbers(path: Path, column: pd.Series[str]) -> pd.Series[float]:
    try:
        return pd.to_numeric(column).astype(float)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path}: column {column.name!r} holds something that is not a number "
            f"({' '.join(str(error).split())}); evaluate the run again"
        ) from error


@dataclass(frozen=True)
class EvaluationOf:
    """The set and settings in ``evaluation.json``.

    Attributes:
        set: The set of the split.
        settings: What must be alike in another evaluation.
    """

    set: str
    settings: Mapping[str, Any]

    @property
    def cases(self) -> str:
        """The name of the cases in tables and figures, such as "test cases"."""
        return f"{_WORDS.get(self.set, self.set)} cases"

    def difference(self, other: EvaluationOf) -> str:
        """The first differences in how ``other`` was evaluated; empty if there is none.

        An audit knows nothing of the training, nor do merged audits know their settings; there the
        numbers alone can differ.
        """
        audits = [evaluation.set == AUDITED for evaluation in (self, other)]
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
        units: The evaluated patients, or the cases if patients are unknown.

    Raises:
        InputError: If the record is missing or a file is damaged, if weights, split or patients are not
            those that were evaluated, if the training is not finished, if a patient of another set
            has trained, or if it is calibrated and its calibrator was fitted, or a run behind it
            trained, anew.
    """
    run, evaluation = run_of(folder), evaluation_in(folder)
    record_file, trained = evaluation.record, run.trained
    record = _record(record_file)
    for key, file in _beside(evaluation).items():
        if record.get(key) not in (None, checksum(file)):
            raise InputError(f"{file}: is not as it was written, its checksum differs; {_AGAIN}")
    check_config(trained.config, record)
    check_trained(trained)
    for name, file in (("weights", trained.model), ("split", trained.split)):
        if file.is_file() and checksum(file) != record.get(name):
            raise InputError(f"{record_file}: is of another {file.name} than the run's; {_AGAIN}")
    if trained.unfinished:
        raise InputError(f"{trained.path}: its training is not finished; train on, then {_AGAIN}")
    _check_calibrator(run, record_file, record)
    scope = EvaluationOf(record["set"], _alike(record["settings"]))
    _check_patients(trained.split, _object(trained.split), scope.set, set(units))
    return scope


def check_evaluated_so(evaluation: EvaluationFolder, asked: Mapping[str, Any]) -> None:
    """Refuses settings of which an evaluation that is there has others.

    Args:
        evaluation: The folder of the evaluation.
        asked: Keys and values; those that its record does not know count for nothing.

    Raises:
        InputError: If one that must be alike differs, or the record is missing or damaged.
    """
    record = _record(evaluation.record)
    settings = record["settings"]
    now = settings | {name: value for name, value in asked.items() if name in settings}
    first, other = (EvaluationOf(record["set"], _alike(values)) for values in (settings, now))
    if difference := first.difference(other):
        raise InputError(
            f"{evaluation.path}: is of other settings, {difference}; leave them out, or move it away "
            "to evaluate the run anew"
        )


def _record(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise InputError(
            f"{file}: no such file, and without it nobody knows what was evaluated; {_AGAIN}"
        )
    return read_checked(file, partial(fault_in, table=EVALUATION, seal=_OWN), _AGAIN)


def check_config(file: Path, record: Mapping[str, Any]) -> None:
    """Refuses a training's configuration that is not the one of an evaluation of the same weights.

    Args:
        file: The configuration; it need not be there, nor be known to the record.
        record: The content of ``evaluation.json``.

    Raises:
        InputError: If it is refused.
    """
    if file.is_file() and record.get("config") not in (None, config_checksum(file)):
        raise InputError(f"{file}: is not the one that was evaluated; {_PUT_BACK}")


def check_trained(run: RunFolder) -> None:
    """Refuses a configuration that has changed since the training recorded it in ``run.json``.

    A training that is made longer writes both files again.

    Args:
        run: The run. A file that is not there, or that an earlier version wrote, is not compared.

    Raises:
        InputError: If it is refused, or if a file is damaged.
    """
    if run.config.is_file() and run.record.is_file():
        record = read_object(run.record, RECORD_REMEDY)
        for key, value in trained_with(run.config).items():
            if record.get(key) not in (None, value):
                what = key if key == _EPOCHS else "configuration"
                raise InputError(
                    f"{run.config}: its {what} is not the one that {run.record.name} has of the "
                    "training; put it back, or let the training go on"
                )


def trained_with(file: Path) -> dict[str, Any]:
    """The part of ``run.json`` about a training's configuration, for `check_trained`.

    Raises:
        InputError: If the file is damaged.
    """
    return {
        "config_sha256": config_checksum(file),
        _EPOCHS: read_object(file, _PUT_BACK).get(_EPOCHS),
    }


def config_checksum(file: Path) -> str:
    """The SHA-256 of what a training's configuration computes.

    Descriptions are left out, and so is the number of epochs, which a training that goes on changes,
    though its best weights may be the earlier ones.

    Raises:
        InputError: If the file is damaged.
    """
    config = read_object(file, _PUT_BACK)
    config.pop(_EPOCHS, None)
    return hashlib.sha256(json.dumps(computing(config), sort_keys=True).encode()).hexdigest()


def _beside(folder: EvaluationFolder) -> dict[str, Path]:
    """The files beside ``evaluation.json`` that are there, by the keys of their checksums."""
    files = zip(_SUMS, (folder.cases, folder.summary), strict=True)
    return {key: file for key, file in files if file.is_file()}


def _alike(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that must be alike, and those to which they refer: "@scale_by_percentiles"."""
    keys = [*_ALIKE, *_ALIKE_IF_KNOWN]
    for key in keys:  # which grows
        texts = (value for name, value in settings.items() if top_level(name) == key)
        keys += {found for text in texts for found in _REFERENCE.findall(str(text))} - set(keys)
    return {name: value for name, value in settings.items() if top_level(name) in keys}


def _check_calibrator(run: RunFolder, record_file: Path, record: Mapping[str, Any]) -> None:
    """Refuses an evaluation of another fit, or one after which a training was repeated.

    Evaluations of earlier versions do not know the file of the fit.
    """
    if run.trained is run or not run.calibrator.is_file():
        return
    if record.get("calibrator_sha256") not in (None, checksum(run.calibrator)):
        raise InputError(
            f"{record_file}: is of another {run.calibrator.name} than the run's; {_AGAIN}"
        )
    own, weights = run.trained, record.get("weights")
    members = read_object(run.calibrator, _AGAIN).get("members", {own.path.name: weights})
    compared = {own.path.name: weights} if own.model.is_file() else {}  # with its file, already
    for name, known in members.items():
        member = RunFolder(own.path.with_name(name))
        if (compared.get(name) or _weights(member)) not in (None, known):
            raise InputError(
                f"{record_file}: {member.path} was trained anew since; calibrate again"
            )


def _weights(run: RunFolder) -> str | None:
    """The checksum of a run's weights: by its evaluation where they were not kept, None without one."""
    if run.model.is_file():
        return checksum(run.model)
    return _object(run.evaluation.record).get("weights")


def _check_patients(file: Path, split: Mapping[str, Any], name: str, units: set[str]) -> None:
    """Refuses an evaluation that is not of its set of the split, or of patients that trained."""
    if not all(isinstance(split.get(part, []), list) for part in ("train", name)):
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


def _object(file: Path) -> dict[str, Any]:
    return read_object(file, _AGAIN) if file.is_file() else {}


def write_numbers(
    folder: EvaluationFolder,
    name: str,
    record: Record,
    columns: pd.DataFrame | Mapping[str, torch.Tensor],
) -> pd.DataFrame:
    """Writes ``cases.csv``, ``summary.json`` and ``bins.npz``; returns the table of cases.

    Args:
        folder: The folder of the files.
        name: The dataset or the model, for the summary.
        record: What was counted of the cases.
        columns: One value per case each, in the order of the record.
    """
    if not isinstance(columns, pd.DataFrame):
        arrays = {key: values.double().cpu().numpy() for key, values in columns.items()}
        columns = pd.DataFrame(arrays)
    table = columns.set_axis(record.cases)
    if record.patients:
        table.insert(0, "patient", record.patients)
    table = table.rename_axis("case").sort_index()
    write_text(folder.cases, table.to_csv(float_format="%.6f"))
    summary: dict[str, Any] = {"dataset": name, "cases": len(table)}
    summary["num_bins"] = record.sums.num_bins
    statistics = table.drop(columns="patient", errors="ignore").agg(["mean", "std", "count"])
    summary["metrics"] = {
        name: {part: _number(column[part]) for part in ("mean", "std")}
        | {"count": int(column["count"])}
        for name, column in statistics.astype(object).items()
    }
    summary["pooled"] = {
        key: {part: _number(value) for part, value in vars(number).items()}
        for key, number in record.pooled_numbers.items()
    }
    write_text(folder.summary, json.dumps(summary, indent=2) + "\n")
    record.write(folder.bins)
    return table


def _number(value: float) -> float | None:
    return None if pd.isna(value) else round(float(value), 6)  # JSON has no NaN


def evaluation_record(
    cases: str, settings: Mapping[str, Any], checksums: Mapping[str, str]
) -> dict[str, Any]:
    """The content of ``evaluation.json``.

    Args:
        cases: What was evaluated, the key ``set``.
        settings: Every key that decides a number.
        checksums: The checksums of what was evaluated.
    """
    return {
        "set": cases,
        **checksums,
        "settings": dict(settings),
        "versions": {package: version_of(package) for package in _PACKAGES},
        "git_commit": git_commit(),
    }


def write_evaluation_record(folder: EvaluationFolder, record: Mapping[str, Any]) -> None:
    """Writes an `evaluation_record`, the last file of an evaluation, with the checksums of others."""
    beside = {key: checksum(file) for key, file in _beside(folder).items()}
    content = json.loads(json.dumps({**record, **beside}, default=str))
    content[_OWN] = own_checksum(content, _OWN)
    write_text(folder.record, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
