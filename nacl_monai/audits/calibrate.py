"""Fit a calibrator, and show the numbers before and after.

A run's calibrator is fitted to its validation patients and evaluated on its test patients. Saved
predictions of any tool have no other patients, and nobody can be tested on a fit to themselves: the
patients are divided into folds, and each fold is audited through a calibrator that was fitted to the
others. The calibrator that is written is fitted to all.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nacl_monai import reports
from nacl_monai.audits.command import audit_study, print_faults, show
from nacl_monai.audits.components import counter_of, cross_fitted, joined_study, write_tables
from nacl_monai.audits.output import audit_table, draw_all
from nacl_monai.cli import bold, print_next, print_written
from nacl_monai.errors import InputError, SettingError
from nacl_monai.evaluations import Run, read_runs
from nacl_monai.evaluations.evaluation_files import check_evaluated_so
from nacl_monai.files import atomic_path, partial_folder
from nacl_monai.inference.records import MARGIN
from nacl_monai.metrics.record import NEAR
from nacl_monai.output import visible_files, written_folder
from nacl_monai.posthoc import (
    OUTPUTS,
    Calibrator,
    Fit,
    Outputs,
    RegionLogits,
    Sides,
    StructureLogits,
    caution,
    error_by_side,
    fit_method,
    fits_to_others,
    write_calibrator,
)
from nacl_monai.posthoc.file import FILE, read_calibrator
from nacl_monai.posthoc.islands import ISLANDS_FILE, RealIslands
from nacl_monai.posthoc.sides import FEWEST
from nacl_monai.predictions.channels import Channels
from nacl_monai.predictions.finding import find
from nacl_monai.predictions.options import Options, Use
from nacl_monai.predictions.reading import Case, Reading
from nacl_monai.predictions.study import Study, processes
from nacl_monai.reports.viewer import PAGE
from nacl_monai.runs import RunFolder

#: The folders of the two audits.
BEFORE, AFTER = "before", "after"
#: For programs without this package, in place of calibrator.json.
_SCRIPTED = "calibrator.ts"
_Kept = RegionLogits | StructureLogits


def calibrate_folder(
    predictions: Path,
    labels: Path,
    output: Path = Path("calibrated"),
    options: Options = Options(),  # noqa: B008 - it cannot change
) -> list[InputError]:
    """Fits a calibrator to saved predictions, prints what it does, and writes it.

    Args:
        predictions: A folder that ``nacl-monai audit`` reads.
        labels: The folder of the label maps.
        output: For ``calibrator.json``, ``calibrator.ts``, the audits ``before`` and ``after``, their
            diagrams, and the page.
        options: The command's options.

    Returns:
        The faults of single cases; the others are in the fit.

    Raises:
        InputError: If nothing can be fitted, or if ``output`` holds something else.
        SettingError: If the method is not of such predictions.
    """
    read = [predictions, labels, *options.files]
    with written_folder(output, "calibrate", read=read) as folder, processes(options.jobs):
        study = find(predictions, labels, options, BEFORE)
        study.check_not_behind()
        show(study)
        runs, calibrator, sides, faults = _fit_and_audit(study, folder, output)
        settings = replace(options, output=output).words(Use.CALIBRATE_FOLDERS, travels=False)
        command = options.command("calibrate", predictions, labels, *settings)
        reports.write_calibrated(
            runs, calibrator, folder / PAGE, command, sides, pictures=options.pictures
        )
        text = _text(runs, calibrator, sides)
    print(text)
    print_written(visible_files(output))
    print(
        "note: a promise needs patients whom the calibrator has not seen, since its probabilities fit "
        "those that it was fitted to better than others"
    )
    margin = [] if options.margin == MARGIN else ["--margin", f"{options.margin:g}"]
    arguments = [*options.words(Use.PROMISE_FOLDERS), *margin, "--calibrator", output / FILE]
    print_next("promise", "OTHER_PREDICTIONS", "OTHER_LABELS", *arguments)
    return faults


def calibrate_islands(
    predictions: Path, labels: Path, output: Path, options: Options
) -> list[InputError]:
    """Fits P(real) of predicted islands, prints what it does for other patients, and writes it.

    Args:
        predictions: A folder that ``nacl-monai audit`` reads.
        labels: The folder of the label maps.
        output: For ``islands.json``, and ``components.csv`` with P(real) by the fit to other patients.
        options: The command's options, with ``components`` and ``folds``.

    Returns:
        The faults of single cases; the others are in the fit.

    Raises:
        InputError: If nothing can be fitted, or if ``output`` holds something else.
    """
    faults: list[InputError] = []
    with written_folder(output, "calibrate", read=[predictions, labels, *options.files]) as folder:
        study = find(predictions, labels, options)
        show(study)
        count = counter_of(study)
        assert count is not None  # noqa: S101 - of --components
        cases, rows = zip(*study.each(count, faults), strict=True)
        islands = joined_study(study, cases, rows, count)
        RealIslands.fitted(islands).write(folder / ISLANDS_FILE)
        p_real = cross_fitted(islands, options.folds)
        text = write_tables(islands, folder, p_real)
    print_faults(faults)
    print(text)
    print_written(visible_files(output))
    arguments = ["--islands", output / ISLANDS_FILE, *options.words(Use.MAPS)]
    print_next("maps", "OTHER_PREDICTIONS", *arguments)
    return faults


def _fit_and_audit(
    study: Study, folder: Path, output: Path
) -> tuple[list[Run], Calibrator, Sides | None, list[InputError]]:
    """Writes the calibrator and the audits to a new folder; returns them, what is left, and faults."""
    study, fit, parts, sides, faults = _fit(study, folder, study.options.folds)
    _check_ends(part.fit for part in parts)
    calibrator = _calibrator(study, fit, [part.record for part in parts])
    # The page of the calibrator has the pictures, side by side.
    before = replace(study, options=replace(study.options, pictures=False))
    after = _after(before, calibrator.name, parts)
    audit_study(before, folder / BEFORE, output / BEFORE)
    audit_study(
        after, folder / AFTER, output / AFTER, curves=False
    )  # no one calibrator is behind it
    runs = read_runs([folder / BEFORE, folder / AFTER], [BEFORE, calibrator.name])
    if study.options.pictures:
        draw_all(runs, folder)
    scripted = BytesIO()  # torch would end the process where a disk is full
    torch.jit.save(torch.jit.script(fit.module), scripted)
    with atomic_path(folder / _SCRIPTED) as path:
        path.write_bytes(scripted.getvalue())
    write_calibrator(folder / FILE, calibrator)
    return runs, calibrator, sides, faults


def _fit(
    study: Study, folder: Path, folds: int
) -> tuple[Study, Fit, list[_Part], Sides | None, list[InputError]]:
    """The readable cases, the fit to all, those to all folds but one, what they leave, and faults."""
    channels = study.channels
    outputs = OUTPUTS[channels.activation]
    method = _chosen(study.options.method, outputs, channels)
    region = study.options.region or outputs.methods[method].region
    if caution(region):
        print(caution(region), file=sys.stderr)
    with (
        partial_folder(folder) as place,
        outputs.voxels(channels.names, region, study.options.margin, place) as voxels,
    ):
        cases, sizes, faults = _read(study, voxels)
        study = replace(study, cases=cases, faults=(), sizes=sizes)
        fit = fit_method(method, voxels)
        patients = sorted(set(study.patients.values()))
        parts = _cross_fitted(fit, voxels, patients, folds) if folds else []
        sides = error_by_side([(part.patients, part.fit) for part in parts], voxels)
    _check_ends([fit])
    return study, fit, parts, sides, faults


def _calibrator(study: Study, fit: Fit, folds: Sequence[Mapping[str, Any]] = ()) -> Calibrator:
    """The fit to a study, and whose patients it used."""
    return Calibrator(
        fit,
        fit.patients,
        study.known_by,
        cases=sorted(case.name for case in study.cases if case.patient in fit.patients),
        patient_pattern=study.options.patient_pattern,
        activation=study.channels.activation,
        channels=study.channels.names,
        folds=folds,
        margin=study.options.margin if fit.region == NEAR else None,
        prediction_name=study.options.prediction_name,
        spacing=study.sizes if fit.sees_distance else (),
    )


def fit_usual_calibrator(study: Study, file: Path) -> tuple[Calibrator, Sides | None]:
    """Writes the usual calibrator, fitted to all patients of a study; folds of them say what it leaves.

    Args:
        study: From `nacl_monai.predictions.find`.
        file: ``calibrator.json``, to write.

    Returns:
        The calibrator, and what is left on each side of the border, of people enough to say.

    Raises:
        InputError: If nothing can be fitted.
    """
    folds = study.options.folds if len({*study.patients.values()}) >= FEWEST else 0
    read, fit, _, sides, _ = _fit(study, file.parent, folds)
    calibrator = _calibrator(read, fit)
    write_calibrator(file, calibrator)
    return calibrator, sides


def _text(runs: Sequence[Run], calibrator: Calibrator, sides: Sides | None = None) -> str:
    """The fit, the numbers without and with it, and the verdict."""
    fit = calibrator.fit
    fitted = [f"{calibrator.name}: {fit.text(runs[0].unit)}"] if fit else []
    verdict = bold("\n".join([*reports.verdicts(*runs), *([sides.sentence(fit)] if sides else [])]))
    return "\n\n".join([*fitted, audit_table(runs), verdict])


def _check_ends(fits: Iterable[Fit]) -> None:
    """Refuses a fit that ends where the search ends."""
    for fit in fits:
        if fit.bound:
            raise InputError(
                f"{fit.method}_{fit.region}: fitted to {', '.join(fit.patients)}, ends with "
                f"{fit.bound}, where the search ends, so that nothing is learned of it; give "
                "predictions of more patients, or choose another --region"
            )


def _chosen(method: str | None, outputs: Outputs, channels: Channels) -> str:
    """The method that was asked for, or the first."""
    fitting = [name for name, entry in outputs.methods.items() if not entry.sees_image]
    if method is not None and method not in fitting:
        raise SettingError(
            f"--method {method}: is not for {channels.describe()} without their images; choose from "
            f"{', '.join(fitting)}"
        )
    return method or fitting[0]


@dataclass(frozen=True)
class _Part:
    """A fold: its patients, and the fit to the others."""

    patients: Sequence[str]
    fit: Fit

    @property
    def record(self) -> dict[str, Any]:
        return {"patients": sorted(self.patients), "parameters": self.fit.parameters}


def _read(study: Study, voxels: _Kept) -> tuple[list[Case], list[list[float]], list[InputError]]:
    """Reads all cases into the region; returns them, their sizes of voxels, and faults."""
    faults: list[InputError] = []

    def add(reading: Reading) -> list[float]:
        """Leaves none of the volumes in memory."""
        labels = reading.labels[0]
        outputs = OUTPUTS[study.channels.activation]
        logits = outputs.logits_of(reading.stored, reading.predicted.step)
        voxels.add(logits, labels.classes, reading.case.patient, labels.mask, voxel=labels.spacing)
        return sorted(labels.spacing or ())

    read = list(study.each(add, faults, jobs=1))
    print_faults(faults)
    sizes = np.array([size for _, size in read])
    ends = [sizes.min(0).tolist(), sizes.max(0).tolist()] if sizes.size else []
    return [case for case, _ in read], ends, faults


def _cross_fitted(fit: Fit, voxels: _Kept, patients: Sequence[str], folds: int) -> list[_Part]:
    """The folds of the patients, each with the fit to the others."""
    if len(patients) < 2:
        raise InputError(
            f"{patients[0]}: is the only patient, who cannot test what is fitted to them; give "
            "predictions of more"
        )
    return [_Part(*part) for part in fits_to_others(fit, voxels, patients, folds)]


def _after(before: Study, name: str, parts: Sequence[_Part]) -> Study:
    """The same predictions, each through the calibrator that has not seen its patient."""
    of_patients = {patient: part.fit.module for part in parts for patient in part.patients}
    modules = {case: of_patients[patient] for case, patient in before.patients.items()}
    folds = json.dumps([part.record for part in parts])
    record = {
        "calibrator": name,
        "calibrator_folds": len(parts),
        "calibrator_checksum": hashlib.sha256(folds.encode()).hexdigest(),
    }
    return replace(before, name=name).through(modules, record)


def calibrate_run(
    run: Path,
    name: str,
    dataset_dir: Path | None = None,
    overrides: Sequence[str] = (),
    bundles: Path | None = None,
) -> None:
    """Fits a calibrator to a run, evaluates it, and shows it beside the evaluation without.

    Args:
        run: Folder of a finished training.
        name: Method and region, ``ensemble``, or both; see `nacl_monai.training.calibrators.read_steps`.
        dataset_dir: Where the dataset is.
        overrides: More ``--key value`` of the evaluation.
        bundles: Folder of the bundles; that of the working directory or of the package if None.

    Raises:
        InputError: If the folder is not a run, is evaluated by other settings than these, or a step
            fails; its error is printed.
    """
    folder = RunFolder(run)
    if not folder.config.is_file():
        raise InputError(
            f"{folder.config}: no such file; name a training's folder, or predictions and their labels"
        )
    if dataset_dir is None:
        raise InputError("--dataset_dir: is missing; say where the dataset of this run is")
    from nacl_monai.bundles.command_line import keys_and_values
    from nacl_monai.menus import fragments
    from nacl_monai.training.run_settings import read_trained_config  # needs MONAI

    dataset = str(read_trained_config(folder.config).get("dataset"))
    config = list(map(str, fragments(dataset, "evaluate", bundles)))
    common_words = [
        *("--config_file", str(config)),
        *("--dataset_dir", str(dataset_dir), "--output_dir", str(run), *overrides),
    ]
    chosen = ["--calibrator", name]
    if folder.evaluation.record.is_file():
        check_evaluated_so(folder.evaluation, keys_and_values(overrides))
    else:
        _run("evaluating", common_words)
    _run("calibrating", [*common_words, *chosen])
    _run("evaluating", [*common_words, *chosen])
    calibrated = folder.calibrated(name)
    runs = read_runs([run, calibrated.path], [run.resolve().name, name])
    calibrator = read_calibrator(calibrated.calibrator)
    arguments = [run, "--calibrator", name, "--dataset_dir", dataset_dir, *overrides]
    arguments += ["--bundles", bundles] if bundles else []
    command = Options().command("calibrate", *arguments)
    reports.write_calibrated(runs, calibrator, calibrated.path / PAGE, command)
    print(_text(runs, calibrator))
    print_written([calibrated.path / PAGE])
    print_next("export", dataset, "--run", run, "--calibrator", name)


def _run(run_id: str, arguments: Sequence[str]) -> None:
    """Runs one of the evaluation's steps as its own command, which checks every word of it."""
    command = [sys.executable, "-m", "nacl_monai", "run", run_id, *arguments]
    code = subprocess.run(command, check=False).returncode
    if code:
        raise InputError(f"{run_id}: ended with exit code {code}; see the error above")
