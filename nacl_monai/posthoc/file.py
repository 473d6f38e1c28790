"""``calibrator.json``: what was fitted, to what, and on whom; one form for runs and for predictions."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from nacl_monai.errors import InputError
from nacl_monai.files import read_object, write_text
from nacl_monai.metrics.record import NEAR
from nacl_monai.posthoc.ensemble import ENSEMBLE
from nacl_monai.posthoc.fit import Fit, module_of
from nacl_monai.runs import MARGIN

#: Its name in a folder.
FILE = "calibrator.json"
#: How the patients of a fit were known: as the data set's cases say, by a table, by a pattern of names;
#: or not at all, so that each case counts as one.
BY_DATASET, BY_TABLE, BY_PATTERN, BY_CASE = WAYS = ("dataset", "table", "pattern", "case")


@dataclass(frozen=True)
class Calibrator:
    """A calibrator, or an ensemble, and what it belongs to.

    It is either of a run, with the checksum of the weights, or of saved predictions, with the names of
    their channels.

    Attributes:
        fit: What was fitted; None of an ensemble to whose mean nothing was.
        patients: Whose images decided it; also those of the fits to an ensemble's members.
        known_by: One of `WAYS`.
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

    @property
    def name(self) -> str:
        """Method and region, "temperature_union"; "ensemble" where nothing was fitted to the mean."""
        return ENSEMBLE if self.fit is None else f"{self.fit.method}_{self.fit.region}"


def write_calibrator(file: Path, calibrator: Calibrator) -> Path:
    """Writes a calibrator; returns the path.

    Raises:
        InputError: If it cannot be written.
    """
    said = asdict(calibrator)
    del said["fit"]
    said = {
        name: value for name, value in said.items() if value or value == 0
    }  # as a margin may be
    fit = {"method": ENSEMBLE} if calibrator.fit is None else asdict(calibrator.fit)
    return write_text(
        file, json.dumps({**fit, "patients": [], **said}, indent=2, ensure_ascii=False) + "\n"
    )


def read_calibrator(file: Path, remedy: str = "write it anew: nacl-monai calibrate") -> Calibrator:
    """Reads a calibrator, of a run or of predictions.

    Args:
        file: The file.
        remedy: What to do about a damaged one.

    Raises:
        InputError: If there is no such file, or if it is damaged.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file; give the {FILE} that calibrate wrote")
    record = read_object(file, remedy)
    try:
        return _calibrator(record)
    except (AttributeError, KeyError, TypeError, ValueError, re.error, InputError) as error:
        raise InputError(f"{file}: is damaged; {remedy}") from error


def _calibrator(record: Mapping[str, Any]) -> Calibrator:
    """Raises whatever a record that is none leads to."""
    fit = None
    if record["method"] != ENSEMBLE:
        fit = Fit(**{one.name: record[one.name] for one in fields(Fit)})
        _ = fit.module
    own = [one.name for one in fields(Calibrator) if one.name != "fit"]
    said = Calibrator(fit, **{name: record[name] for name in own if name in record})
    for behind in said.calibrators.values():
        module_of(behind)
    if fit is not None and fit.region == NEAR and said.margin is None:  # before it was kept
        said = replace(said, margin=MARGIN)
    if said.margin is not None and not 0 <= said.margin < math.inf:
        raise ValueError
    if (said.weights is None) == (not said.channels) or said.known_by not in WAYS:
        raise ValueError
    pattern = said.patient_pattern
    if (pattern is None) == (said.known_by == BY_PATTERN):
        raise ValueError
    if pattern is not None and re.compile(pattern).groups != 1:
        raise ValueError
    texts = [*said.patients, *said.cases, *said.channels, *said.members]
    if isinstance(said.patients, str) or not all(isinstance(text, str) for text in texts):
        raise TypeError
    return said
