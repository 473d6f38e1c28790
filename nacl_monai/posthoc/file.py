"""``calibrator.json``: the fit, its voxels and its patients, in one form for runs and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from nacl_monai.errors import InputError
from nacl_monai.files import read_checked, write_text
from nacl_monai.inference import records
from nacl_monai.inference.records import MARGIN
from nacl_monai.metrics.record import NEAR
from nacl_monai.posthoc.distance import UNITS
from nacl_monai.posthoc.ensemble import ENSEMBLE
from nacl_monai.posthoc.fit import METHODS, OUTPUTS, SIGMOID_METHODS, Fit, module_of

#: Its name in a folder.
FILE = "calibrator.json"
_METHOD: dict[str, records.Condition] = {
    "method": records.any_of(*METHODS, *SIGMOID_METHODS),
    "parameters": records.mapped(records.numbers | records.any_of(*UNITS)),
}
_FIT: dict[str, records.Condition] = {
    **_METHOD,
    **dict.fromkeys(("nll_before", "nll"), records.number()),
    "moved": records.number(0, 1),
    "region": records.text,
    "voxels": records.whole(),
}
_FOLD: dict[str, records.Condition] = {
    "patients": records.each(records.text),
    "parameters": records.maybe(_METHOD["parameters"]),
}
_TEXTS = records.maybe(records.each(records.text))
#: What ``calibrator.json`` holds of an ensemble to whose mean nothing was fitted.
ENSEMBLES: dict[str, records.Condition] = {
    "method": records.any_of(ENSEMBLE),
    "patients": records.each(records.text),
    "known_by": records.any_of(*records.WAYS),
    **dict.fromkeys(("patient_pattern", "prediction_name"), records.maybe(records.pattern)),
    **dict.fromkeys(("cases", "channels"), _TEXTS),
    **dict.fromkeys(("weights", "average"), records.maybe(records.text)),
    "activation": records.maybe(records.any_of(*OUTPUTS)),
    "folds": records.maybe(records.each(records.keyed(_FOLD))),
    "margin": records.maybe(records.number(0)),
    "spacing": records.maybe(records.sizes),
    "members": records.maybe(records.mapped(records.text)),
    "calibrators": records.maybe(records.mapped(records.keyed(_METHOD))),
    records.CHECKSUM: records.text,
}
#: What it holds of a fit.
FITS = ENSEMBLES | _FIT


@dataclass(frozen=True)
class Calibrator:
    """A calibrator, or an ensemble, and what it belongs to.

    It is either of a run, with the checksum of the weights, or of saved predictions, with the names of
    their channels.

    Attributes:
        fit: What was fitted; None of an ensemble to whose mean nothing was.
        patients: Whose images decided it; also those of the fits to an ensemble's members.
        known_by: One of `nacl_monai.inference.records.WAYS`.
        cases: The cases of these patients, where predictions were given.
        patient_pattern: The regular expression that told the patients, if one did.
        activation: What the channels of the predictions came out of.
        channels: Their names.
        folds: The patients and the parameters of each fit of a cross-fitting.
        weights: The checksum of the network's weights.
        average: What was averaged where windows overlapped.
        margin: How far around predictions the voxels of the fit were, in mm; None where its region has
            no margin.
        members: The runs of an ensemble, and the checksum of each one's weights.
        calibrators: Method and parameters of what is behind each member's network, if anything is.
        prediction_name: The regular expression that told the cases of predictions, if one did.
        spacing: Of one by distance the least and the largest size of a voxel along its smallest axis,
            the next, …, if they are known.
    """

    fit: Fit | None
    patients: Sequence[str]
    known_by: str
    cases: Sequence[str] = ()
    patient_pattern: str | None = None
    activation: str | None = None
    channels: Sequence[str] = ()
    folds: Sequence[Mapping[str, Any]] = ()
    weights: str | None = None
    average: str | None = None
    margin: float | None = None
    members: Mapping[str, str] = field(default_factory=dict)
    calibrators: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    prediction_name: str | None = None
    spacing: Sequence[Sequence[float]] = ()

    @property
    def name(self) -> str:
        """Method and region, "temperature_union"; "ensemble" where nothing was fitted to the mean."""
        return ENSEMBLE if self.fit is None else f"{self.fit.method}_{self.fit.region}"

    @property
    def definition(self) -> dict[str, Any]:
        """The model of the predictions that it was fitted to, and how their cases were named."""
        return {name: getattr(self, name) for name in ("channels", "activation", "prediction_name")}


def write_calibrator(file: Path, calibrator: Calibrator) -> Path:
    """Writes a calibrator; returns the path.

    Raises:
        InputError: If it cannot be written.
    """
    kept = asdict(calibrator)
    del kept["fit"]
    kept = {key: value for key, value in kept.items() if value or value == 0}  # as a margin may be
    fit = {"method": ENSEMBLE} if calibrator.fit is None else asdict(calibrator.fit)
    record = {**fit, "patients": [], **kept}
    return write_text(file, records.sealed_text(record, indent=2, ensure_ascii=False))


def read_calibrator(file: Path, remedy: str = "write it anew: nacl-monai calibrate") -> Calibrator:
    """Reads a calibrator, of a run or of predictions.

    Args:
        file: The file.
        remedy: What to do about a damaged one.

    Raises:
        InputError: If there is no such file, or if it is damaged.
    """
    record = read_checked(file, _fault_in, remedy, f"give the {FILE} that calibrate wrote")
    try:
        return _calibrator(record)
    except (IndexError, TypeError, ValueError) as error:  # of modules' parameters
        raise InputError(f"{file}: is not as it was written, {error}; {remedy}") from error


def _fault_in(record: Mapping[str, Any]) -> str:
    return records.fault_in(record, ENSEMBLES if record.get("method") == ENSEMBLE else FITS)


def _calibrator(record: Mapping[str, Any]) -> Calibrator:
    """Raises whatever a record that is none leads to."""
    of_run, of_predictions = (record.get(key) is not None for key in ("weights", "activation"))
    if of_run == of_predictions or of_predictions != bool(record.get("channels")):
        raise InputError("it must be of a run, or else of saved predictions")
    own = [entry.name for entry in fields(Calibrator) if record.get(entry.name) is not None]
    calibrator = Calibrator(None, **{name: record[name] for name in own})
    for behind in calibrator.calibrators.values():
        module_of(behind)
    return calibrator if record["method"] == ENSEMBLE else _with_fit(calibrator, record)


def _with_fit(calibrator: Calibrator, record: Mapping[str, Any]) -> Calibrator:
    fit = Fit(**{entry.name: record[entry.name] for entry in fields(Fit)})
    _ = fit.module
    if calibrator.channels and (
        fault := fit.fault(str(calibrator.activation), len(calibrator.channels))
    ):
        raise InputError(fault)
    margin = calibrator.margin
    if fit.region == NEAR and margin is None:  # before it was kept
        margin = MARGIN
    return replace(calibrator, fit=fit, margin=margin)
