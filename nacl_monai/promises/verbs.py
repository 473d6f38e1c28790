"""Verbs in Python that write a folder, as their commands do, of arrays or of folders.

Arrays are written for the time of a call as an audit reads them, so that there is one way from
predictions to every page.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel
import numpy as np
import pandas as pd

from nacl_monai.audits.calibrate import calibrate_folder
from nacl_monai.audits.maps import view_folder
from nacl_monai.errors import InputError
from nacl_monai.files import read_checked, write_text
from nacl_monai.inference.promised import Array
from nacl_monai.inference.records import fault_in
from nacl_monai.metrics.voxels import Voxels
from nacl_monai.posthoc import Calibrator, read_calibrator
from nacl_monai.posthoc.file import FILE as CALIBRATOR
from nacl_monai.predictions.arrays import (
    ArrayReading,
    ArrayStudy,
    Cases,
    array_study,
    check_form,
    on_cpu,
)
from nacl_monai.predictions.options import SIGMOID, Use, options_of
from nacl_monai.promises.record import PROMISE_FILE, Promise, read_promise
from nacl_monai.promises.report import REPORT, REPORTS, report_folders
from nacl_monai.promises.triage import TRIAGE_FILE, triage_folder
from nacl_monai.reports.viewer import PAGE

__all__ = ["calibrate", "report", "triage", "view"]

# What says something of arrays; of folders, files and options do.
_OF_CASES = {"cases", "patients", "mask"}
_FORM = {*_OF_CASES, "spacing", "ignore_index", "classes", "structures", "from_logits"}


def calibrate(
    probs: Cases | str | Path,
    labels: Cases | str | Path,
    *,
    output: str | Path = "calibrated",
    **options: Any,
) -> Calibrator:
    """Fits a calibrator, tries it on patients who did not fit it, and writes both with their page.

    Args:
        probs: Arrays as `nacl_monai.audit` takes them, or a folder.
        labels: Those of one rater.
        output: The folder to write, as ``nacl-monai calibrate`` does.
        **options: Those of the command, ``method``, ``region``, ``folds``, ``margin`` in mm and others;
            of arrays what says their form to `nacl_monai.audit`, too.

    Returns:
        The calibrator, fitted to all patients; ``calibrator.fit.module(logits, spacing=…)`` takes logits
        ``(B, C, *spatial)`` to calibrated ones.

    Raises:
        InputError: If the input cannot be used, a case has a fault, or nothing can be fitted.
        SettingError: If an option is wrong or has no effect.

    Example:
        >>> import numpy as np
        >>> from nacl_monai import calibrate
        >>> rng = np.random.default_rng(0)
        >>> inside = rng.uniform(0.02, 0.98, size=(4, 8, 8, 8))
        >>> labels = (rng.uniform(size=inside.shape) < inside).astype(int)
        >>> folder = getfixture("tmp_path") / "calibrated"
        >>> fitted = calibrate(np.stack([1 - inside, inside], 1), labels, output=folder)
        >>> fitted.name, len(fitted.patients), (folder / "page.html").is_file()
        ('signed_distance_all', 4, True)
    """
    with _call(Use.CALIBRATE_FOLDERS, output, options) as call:
        folder = call.run(calibrate_folder, *call.labeled(probs, labels))
        return read_calibrator(folder / CALIBRATOR)


def triage(
    promise: Promise | str | Path,
    new: Sequence[Voxels] | Voxels | str | Path,
    *,
    output: str | Path = "triage",
    **options: Any,
) -> pd.DataFrame:
    """The new cases that someone must look at, the most doubtful first; written with their page.

    Args:
        promise: From `nacl_monai.promise`, or its ``promise.json``.
        new: Probabilities of patients who had no part in it, ``(C, *spatial)`` each, in a list or a
            batch; or a folder.
        output: The folder to write, as ``nacl-monai triage`` does.
        **options: Those of the command, ``budget`` or ``below``, ``labels`` and ``images`` (folders)
            and others; of arrays ``spacing`` in mm, ``cases``, ``patients`` and ``from_logits``, too.

    Returns:
        A row for each case: "look" ("yes" or "no"), "case", "structure", "dice_low", volumes in ml, and
        "reason".

    Raises:
        InputError: If the promise does not hold for these predictions, or a case has a fault.
        SettingError: If an option is wrong or has no effect.

    Example:
        >>> import numpy as np
        >>> import nacl_monai
        >>> rng = np.random.default_rng(0)
        >>> inside = rng.uniform(size=(24, 8, 8))
        >>> labels = (rng.uniform(size=inside.shape) < inside).astype(int)
        >>> probs = np.stack([1 - inside, inside], 1)
        >>> promised = nacl_monai.promise(probs[5:], labels[5:])  # 19 patients calibrate
        >>> folder = getfixture("tmp_path") / "triage"
        >>> table = nacl_monai.triage(promised, probs[:5], budget=2, output=folder)
        >>> table["look"].tolist()
        ['yes', 'yes', 'no', 'no', 'no']
    """
    with _call(Use.TRIAGE_NEW, output, options) as call:
        of_file = promise if isinstance(promise, Promise) else read_promise(promise)
        file = Path(str(promise))
        if of_file is promise:  # files have three axes
            sizes = [sorted([*size, 1.0][:3]) for size in of_file.spacing]
            file = replace(of_file, spacing=sizes).write(call.folder / PROMISE_FILE)
        channels = of_file.definition["activation"], list(of_file.definition["channels"])
        table = call.run(triage_folder, file, call.unlabeled("new", new, *channels)) / TRIAGE_FILE
        # A case may be called NA.
        return pd.read_csv(table, dtype={"case": str}, keep_default_na=False, na_values=[""])


def report(
    probs: Cases | str | Path,
    labels: Cases | str | Path,
    *,
    new: Sequence[Voxels] | Voxels | str | Path | None = None,
    output: str | Path = "report",
    **options: Any,
) -> dict[str, Any]:
    """Audits, calibrates, promises and triages, on one page.

    Args:
        probs: Arrays as `nacl_monai.audit` takes them, or a folder.
        labels: Those of one rater.
        new: Probabilities of new patients, as `triage` takes them.
        output: The folder to write, as ``nacl-monai report`` does; ``page.html`` is the page.
        **options: Those of the command, ``level``, ``budget``, ``images`` and others;
            of arrays what says their form to `nacl_monai.audit`, too.

    Returns:
        ``report.json``: sentences, numbers with their intervals and units, who took part in what, and
        versions.

    Raises:
        InputError: If it takes more patients, the input cannot be used, or a case has a fault.
        SettingError: If an option is wrong or has no effect.

    Example:
        >>> import numpy as np
        >>> from nacl_monai import report
        >>> rng = np.random.default_rng(0)
        >>> inside = rng.uniform(0.02, 0.98, size=(29, 6, 6))
        >>> labels = (rng.uniform(size=inside.shape) < inside).astype(int)
        >>> probs = np.stack([1 - inside, inside], 1)
        >>> folder = getfixture("tmp_path") / "report"
        >>> record = report(probs[2:], labels[2:], new=probs[:2], output=folder)
        >>> len(record["promising"]), len(record["fitting"]), record["new"]
        (19, 8, ['new_001', 'new_002'])
    """
    with _call(Use.REPORT, output, options) as call:
        folders = call.labeled(probs, labels)
        if new is not None:
            call.values["new"] = call.unlabeled("new", new)
        file = call.run(report_folders, folders) / REPORT
        return read_checked(file, partial(fault_in, table=REPORTS), "write the report again")


def view(
    probs: Sequence[Voxels] | Voxels | str | Path, *, output: str | Path = "view", **options: Any
) -> Path:
    """Writes a page on which one scrolls through predictions, in three planes and in 3-D.

    Args:
        probs: ``(C, *spatial)`` each, in a list or a batch, of which the page has the first 12; or a
            folder.
        output: The folder to write, as ``nacl-monai view`` does.
        **options: Those of the command, ``cases``, ``images`` and others; of arrays what says their form
            to `nacl_monai.audit`, too.

    Returns:
        ``page.html``.

    Raises:
        InputError: If the input cannot be used.
        SettingError: If an option is wrong or has no effect.

    Example:
        >>> import numpy as np
        >>> from nacl_monai import view
        >>> inside = np.random.default_rng(0).uniform(size=(2, 8, 8, 8))
        >>> page = view(np.stack([1 - inside, inside], 1), output=getfixture("tmp_path") / "view")
        >>> page.name
        'page.html'
    """
    with _call(Use.VIEW, output, options) as call:
        return call.run(view_folder, call.unlabeled("case", probs)) / PAGE


@contextmanager
def _call(use: Use, output: str | Path, values: dict[str, Any]) -> Iterator[_Call]:
    with TemporaryDirectory(prefix="nacl_monai_") as folder:
        yield _Call(use, Path(output), values, Path(folder).resolve())


class _Call:
    """The folders and options of a call; arrays are written to folders for as long as it lasts.

    Args:
        use: As `options_of` takes it.
        output: The folder to write.
        values: The options, with what says the form of arrays.
        folder: For arrays.
    """

    def __init__(self, use: Use, output: Path, values: dict[str, Any], folder: Path) -> None:
        self.use, self.output, self.folder = use, output, folder
        self.values, self._form = {**values, "output": output}, dict[str, Any]()
        self._patients: dict[str, str] = {}

    def labeled(self, probs: Any, labels: Any) -> list[Path]:
        """The folders of predictions and of label maps."""
        if isinstance(probs, (str, Path)) and isinstance(labels, (str, Path)):
            return [Path(probs), Path(labels)]
        study = array_study(probs, labels, **self._arrays_form())
        self._save("predictions", study, are_labeled=True)
        return [self.folder / "predictions", self.folder / "labels"]

    def unlabeled(
        self, name: str, probs: Any, activation: str = "", channels: Sequence[str] = ()
    ) -> Path:
        """The folder of predictions without labels, whose channels may be known."""
        if isinstance(probs, (str, Path)):
            return Path(probs)
        check_form("probs", probs)
        several = [on_cpu(case) for case in probs]
        form: dict[str, Any] = {"cases": [f"{name}_{k:03d}" for k in range(1, len(several) + 1)]}
        if self._form:  # that of labeled arrays, of which these are not cases
            form |= {key: self._form[key] for key in self._form.keys() - _OF_CASES}
        else:
            form |= self._arrays_form()
        if channels:
            form["structures" if activation == SIGMOID else "classes"] = channels
        axis = 0 if form.get("structures") else 1
        nothing = [np.zeros(tuple(case.shape)[axis:], np.uint8) for case in several]
        self._save(name, array_study(several, nothing, **form))
        return self.folder / name

    def run(self, write: Callable[..., Sequence[InputError]], *places: Path | list[Path]) -> Path:
        """Calls what a command calls, without its lines; returns the folder.

        Raises:
            InputError: If a case has a fault.
        """
        if self._patients:
            table = pd.Series(self._patients, name="patient").rename_axis("case")
            self.values["patients"] = self.folder / "patients.csv"
            write_text(self.values["patients"], table.to_csv())
        options = replace(options_of(self.use, self.values), unnamed=self.folder)
        with redirect_stdout(StringIO()):
            faults = write(*places, self.output, options)
        if faults:
            raise faults[0]
        return self.output

    def _arrays_form(self) -> dict[str, Any]:
        """What the options say of the form of arrays, and no longer of folders."""
        self._form = {key: self.values.pop(key) for key in _FORM & self.values.keys()}
        return dict(self._form)

    def _save(self, name: str, study: ArrayStudy, *, are_labeled: bool = False) -> None:
        """Writes cases as nnU-Net does, with label maps, and what says their values."""
        if study.raters:
            raise InputError("labels: are of several raters; give those of one")
        if study.patients or self._patients:
            self._patients |= zip(study.names, study.patients or study.names, strict=True)
        (self.folder / name).mkdir()
        numbers = _label_values(study)
        write_text(self.folder / "dataset.json", json.dumps({"labels": numbers}))
        if study.channels.overlapping:
            self.values["activation"] = SIGMOID
        if self.use == Use.VIEW:
            self.values["dataset"] = self.folder / "dataset.json"
        for case in map(study.read, study.names):
            reading = case.as_read()
            file, affine = self.folder / name / f"{reading.case.name}.npz", reading.affine
            np.savez(file, probabilities=reading.predicted.voxels)
            place = {"nibabel_stuff": {"original_affine": np.asarray(affine).tolist()}}
            file.with_suffix(".pkl").write_bytes(pickle.dumps(place))
            if are_labeled:
                new: Any = nibabel.Nifti1Image
                image = new(_label_map(case, numbers["ignore"]), np.asarray(affine))
                (self.folder / "labels").mkdir(exist_ok=True)
                nibabel.save(image, self.folder / "labels" / f"{reading.case.name}.nii.gz")


def _label_map(case: ArrayReading, ignored: int) -> Array:
    """The labels of a case ``(x, y, z)``; of structures, a number per set of them."""
    classes: Array = case.as_read().labels[0].classes.numpy().T  # (x, y, z[, S])
    if case.channels.overlapping:
        classes = classes.astype(bool) @ (2 ** np.arange(classes.shape[-1]))
    if (mask := case.labels[0].mask) is not None:
        classes = np.where(mask.numpy().reshape(classes.shape), classes, ignored)
    return classes.astype(np.uint16)


def _label_values(study: ArrayStudy) -> dict[str, Any]:
    """The values of label maps: of classes their index, of structures a number per set of them."""
    names = list(study.channels.values)
    if not study.channels.overlapping:
        return {**{name: k for k, name in enumerate(names)}, "ignore": len(names)}
    several = range(1, 2 ** len(names))
    values = {name: [n for n in several if n >> k & 1] for k, name in enumerate(names)}
    return {"background": 0, **values, "ignore": 2 ** len(names)}
