"""Predictions and labels → curves; predictions without labels → contours, volumes and bounds of Dice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from inspect import signature
from itertools import product
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from nacl_monai.audits.measuring import curve_of, curves_of
from nacl_monai.errors import InputError, SettingError
from nacl_monai.files import check_apart
from nacl_monai.inference.promised import (
    MM3_PER_ML,
    Array,
    apply_kept,
    fingerprint,
    known_case,
    structure_levels,
    unlike_spacing,
)
from nacl_monai.inference.promised import Applied as Applied  # noqa: PLC0414 - of this room, too
from nacl_monai.inference.records import (
    BY_CASE,
    BY_TABLE,
    CONTOURS,
    EACH,
    MARGIN,
    MARGIN_ONLY,
    MARGINS,
    OUTER,
    WITHIN,
)
from nacl_monai.metrics.curves import Curves as Curves  # noqa: PLC0414 - of this room, too
from nacl_monai.metrics.curves import joined_curves
from nacl_monai.metrics.curves import read_curves as read_curves  # noqa: PLC0414
from nacl_monai.metrics.regions import case_spacings
from nacl_monai.metrics.voxels import Voxels, dequantized
from nacl_monai.predictions.arrays import ArrayStudy, array_study, check_form, on_cpu
from nacl_monai.predictions.channels import Channels
from nacl_monai.predictions.finding import find
from nacl_monai.predictions.identity import check_unseen
from nacl_monai.predictions.options import SIGMOID, Options, Use, options_of
from nacl_monai.predictions.reading import Reading
from nacl_monai.predictions.study import Study
from nacl_monai.promises.control import controls_of
from nacl_monai.promises.record import Guarantee, Promise
from nacl_monai.promises.rules import fit
from nacl_monai.reports.viewer import Layers, Read, array_readings, read_again, viewed
from nacl_monai.tensors import check_probabilities, check_tensor, check_unit_interval

_ARRAYS = "arrays"
_OF_ARRAYS = {*signature(array_study).parameters}


def read_study(study: Study) -> tuple[Curves, list[InputError]]:
    """The curves of all cases that can be read, and the faults of the others.

    Raises:
        InputError: If no case can be read, or channels seem to be in another order.
    """
    faults: list[InputError] = []
    found = list(study.each(curve_of, faults))
    cases, curves = [case for case, _ in found], [curve for _, curve in found]
    return curves_of(study, cases, curves), faults


def labeled_case(reading: Reading, promise: Promise, kept: Sequence[Guarantee]) -> NewCase:
    """A case of a calibration patient, with its label, by the promise as it was made.

    Args:
        reading: Of the case.
        promise: What was promised.
        kept: Its promises of one level.
    """
    of_level = [asdict(contour) for contour in kept]
    structures = apply_kept(of_level, promise.definition, reading.probs, reading.spacing)
    names, masks = promise.definition["structures"], (mask.numpy() for mask in reading.masks)
    return NewCase(reading, structures, dict(zip(names, masks, strict=True)))


def curves_of_arrays(probs: Any, labels: Any, **form: Any) -> Curves:
    """The curves of arrays, as `nacl_monai.promise` takes them.

    Args:
        probs: As for `nacl_monai.audit`.
        labels: Those of one rater.
        **form: What else `nacl_monai.predictions.arrays.array_study` takes.

    Raises:
        InputError: If input is not a probability or not a label, or numbers of cases, names or sizes
            differ.
    """
    return _curves_of(array_study(probs, labels, **form))


def _curves_of(study: ArrayStudy) -> Curves:
    """The curves of arrays that have the right form, of one rater, and no slices beside volumes."""
    if study.raters:
        raise InputError("labels: are of several raters; a promise is against one")
    if len({case.ndim for case in study.probs}) > 1:
        mixed = "are of 2 axes in some cases and of 3 in others"
        raise InputError(f"probs: {mixed}; promise each by itself")
    known_by = BY_TABLE if study.patients else BY_CASE
    definition = study.channels.definition(_ARRAYS, known_by=known_by)
    return joined_curves(study.names, study.each(curve_of), study.patients, definition)


def applied(
    promise: Promise,
    probs: Voxels,
    spacing: Sequence[float],
    level: float | None = None,
    miss: float | None = None,
) -> list[Applied]:
    r"""The contours, volumes and bounds of Dice of a new case.

    Args:
        promise: From `nacl_monai.promise` or `nacl_monai.promises.read_promise`.
        probs: ``(C, *spatial)``, in the order of the promise's channels, of a patient who had no part
            in it.
        spacing: The size of a voxel along each spatial axis, in mm.
        level: The level α; by default the smallest that was promised.
        miss: The share β of a contour by "each"; by default the smallest that was promised.

    Raises:
        InputError: If these are no probabilities, the channels differ, no calibration patient had
            voxels of this size, or one of them has this very prediction.

    Example:
        >>> import numpy as np
        >>> from nacl_monai import promise
        >>> rng = np.random.default_rng(0)
        >>> inside = rng.uniform(size=(20, 8, 8))
        >>> labels = (rng.uniform(size=inside.shape) < inside).astype(int)
        >>> probs = np.stack([1 - inside, inside], 1)
        >>> promised = promise(probs[1:], labels[1:], spacing=(1.0, 1.0))  # 19 patients calibrate
        >>> (new,) = applied(promised, probs[0], spacing=(1.0, 1.0))
        >>> new.structure, bool(new.contours["outer"][new.contours["inner"]].all())
        ('class_1', True)
    """
    definition = promise.definition
    check_form("probs", probs)
    case = on_cpu(probs)
    check_tensor(case, "probs")
    (spacing,) = case_spacings(spacing, 1, case.ndim - 1)
    probs, tolerance = dequantized(case[None])
    if definition["activation"] == SIGMOID:
        check_unit_interval(probs, activation=SIGMOID)
    else:
        check_probabilities(probs, tolerance)
    probs = probs[0]
    if len(probs) != len(definition["channels"]):
        raise InputError(
            f"probs: have {len(probs)} channels, but what was promised is of "
            f"{', '.join(definition['channels'])}; give predictions of the same model"
        )
    if problem := unlike_spacing(spacing, promise.spacing):
        raise InputError(f"spacing: {problem}")
    kept = [asdict(kept) for kept in promise.of_level(level, miss)]
    structures = apply_kept(kept, definition, probs, spacing)
    if fault := known_case(fingerprint(structures, spacing), promise.images or promise.cohort):
        raise InputError(f"probs: {fault}")
    return structures


@dataclass(frozen=True)
class NewCase:
    """A case that a promise is applied to.

    Attributes:
        reading: Its probabilities.
        structures: What is promised of each structure.
        labels: Structure → its labeled voxels, ``(z, y, x)``; empty if unknown.
        curve: From `nacl_monai.metrics.curves.curves_of_case` without labels, on request.
    """

    reading: Reading
    structures: Sequence[Applied]
    labels: Mapping[str, Array] = field(default_factory=dict)
    curve: Mapping[str, Array] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the case."""
        return self.reading.case.name

    @property
    def predicted_volumes(self) -> dict[str, float]:
        """The volume of each predicted structure in ml."""
        voxel = float(np.prod(self.reading.spacing)) / MM3_PER_ML
        return {part.structure: int(part.prediction.sum()) * voxel for part in self.structures}


def find_new(
    file: Path, promise: Promise, folder: Path, options: Options, labels: Path | None = None
) -> Study:
    """New predictions that a promise holds for.

    Args:
        file: Of the promise, for messages.
        promise: What was promised.
        folder: In any layout that an audit reads.
        options: As for an audit.
        labels: The folder of their label maps, if there are any.

    Raises:
        InputError: If they are of other channels, behind another calibrator, of another ensemble, or of
            a patient who calibrated the promise.
    """
    channels = Channels.counted(promise.definition, str(file))
    study = find(folder, labels, options, promised=channels)
    check_new(file, promise, study)
    return study


def check_new(file: Path, promise: Promise, study: Study) -> None:
    """Refuses new predictions that a promise does not hold for.

    Args:
        file: Of the promise, for messages.
        promise: What was promised.
        study: The new predictions, of its channels.

    Raises:
        InputError: If they are behind another calibrator, of another ensemble, or of a patient who
            calibrated the promise, or contours would have the name of a prediction.
    """
    check_unseen(file, promise, study)
    contours = product(study.patients, CONTOURS, promise.definition["structures"])
    check_apart(study.folder, (contour_name(*parts) for parts in contours))


def new_cases(
    study: Study,
    promise: Promise,
    faults: list[InputError],
    *chosen: float | None,
    curves: bool = False,
) -> Iterator[NewCase]:
    """Applies a promise to new predictions.

    Args:
        study: From `find_new`.
        promise: What was promised.
        faults: Takes those of cases that cannot be read.
        *chosen: The level α and the miss β, as `applied` takes them.
        curves: Whether the curves of cases are asked for.

    Raises:
        InputError: If no case can be read.
    """
    compute = partial(_new_case, promise=promise, chosen=chosen, curves=curves)
    for _, case in study.each(compute, faults, "Applying"):
        yield case


def _new_case(
    reading: Reading, promise: Promise, chosen: Sequence[float | None], curves: bool
) -> NewCase:
    """The promises about a case."""
    structures = applied(promise, reading.stored, reading.spacing, *chosen)
    return NewCase(reading, structures, curve=curve_of(reading) if curves else {})


def contour_name(case: str, kind: str, structure: str) -> str:
    """The file of a contour."""
    return f"{case}_{kind}_{structure}.nii.gz"


def write_contours(case: NewCase, folder: Path) -> None:
    """Writes ``CASE_outer_STRUCTURE.nii.gz`` and ``CASE_inner_STRUCTURE.nii.gz``, 1 inside.

    They are on the grid of the file that says where the voxels of the prediction are.
    """
    for promised in case.structures:
        for kind, contour in promised.contours.items():
            file = folder / contour_name(case.name, kind, promised.structure)
            case.reading.write(file, contour.astype(np.uint8), "label")


def promise(
    probs: Any,
    labels: Any,
    *,
    levels: Sequence[float] = (),
    misses: Sequence[float] = (),
    family: str = WITHIN,
    control: str = EACH,
    confidence: float = 0.9,
    margin: float = MARGIN,
    compare: bool = True,
    measures: Sequence[str] = (),
    phases: str | Path | None = None,
    asymmetric: bool = False,
    **options: Any,
) -> Promise:
    r"""Contours, volumes and bounds of Dice with a guarantee, by calibration patients.

    In all patients like these but a share :math:`\alpha`, the outer contour misses at most :math:`\beta`
    of the structure, at most :math:`\beta` of the inner contour is not the structure, and the interval
    of the volume and the lower bound of Dice hold, whatever the network. By "mean", contours miss at
    most :math:`\alpha` on average over patients (`nacl_monai.promises.control`).

    Args:
        probs: A case each, ``(C, *spatial)``, NumPy or torch; or a folder in any layout that
            ``nacl-monai audit`` knows.
        labels: Class indices of the same cases, masks of structures, or the folder of the label maps.
        levels: Each is the largest risk α; by default 0.1, of "mean" and "most" 0.05 and 0.1.
        misses: Each is the largest miss β of "each"; by default 0.1.
        family: "threshold", "margin", which needs no probabilities, or "within", a threshold within a
            margin.
        control: "each", "mean", or "most": the mean with ``confidence`` over the draws of calibration
            patients.
        confidence: Of "most".
        margin: Of the family "within", in mm; fixed before these patients are seen.
        compare: Whether two other contours are shown beside: one without probabilities, and one without
            control.
        measures: Formulas of volumes, "EF = 1 - ES.LV / ED.LV", each of which gets an interval.
        phases: The regular expression whose group is the phase of a case, or a table with the columns
            case and phase.
        asymmetric: Whether both ends of such an interval are taken by themselves; fixed before these
            patients are seen.
        **options: Of arrays ``spacing`` in mm (1 along each axis by default), ``classes``,
            ``structures``, ``cases``, ``patients``, ``mask``, ``ignore_index`` and ``from_logits``, as
            `nacl_monai.audit` has them; of folders what a command says: ``dataset``, ``patients``,
            ``patient_pattern``, ``calibrator``, ``jobs``.

    Raises:
        InputError: If it takes more patients, or the input cannot be used.
        SettingError: If a level, family, control or option is wrong.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> inside = rng.uniform(size=(20, 8, 8))
        >>> labels = (rng.uniform(size=inside.shape) < inside).astype(int)
        >>> promised = promise(np.stack([1 - inside, inside], 1), labels)
        >>> promised.kept[0].label, promised.kept[0].patients
        ('class_1, outer 10% in 9 of 10 patients', 20)
    """
    if isinstance(levels, (str, Real)) or levels == []:
        raise SettingError(f"levels: is {levels!r}; give a list of numbers, such as [0.05, 0.1]")
    read: Read | None = None
    if isinstance(probs, (str, Path)) and isinstance(labels, (str, Path)):
        study = find(Path(probs), Path(labels), options_of(Use.PROMISE_FOLDERS, options))
        curves, faults = read_study(study)
        if faults:
            raise faults[0]
        if not study.options.anonymous:
            read = partial(read_again, study)
    else:
        if of_folders := sorted(options.keys() - _OF_ARRAYS):
            raise SettingError(f"{of_folders[0]}: is no option for arrays; leave it out")
        arrays = array_study(probs, labels, **options)
        curves = _curves_of(arrays)
        read = partial(array_readings, arrays)
    controls = controls_of(control, levels, misses, confidence)
    measured: dict[str, Any] = {"measures": measures, "phases": phases, "asymmetric": asymmetric}
    return replace(fit(curves, controls, family, margin, compare=compare, **measured), read=read)


def seen_case(
    case: NewCase, kept: Sequence[Guarantee], image: Array | None, reason: str, first: str
) -> dict[str, Any]:
    """The layers of a case, with the contours and the threshold of its outer one.

    Args:
        case: The case with its contours.
        kept: The promises of the same level.
        image: ``(z, y, x)``, if there is one.
        reason: Why it is shown.
        first: The structure that it opens with.
    """
    reading = case.reading
    channels = reading.channels
    outer = {contour.structure: contour for contour in kept if contour.kind == OUTER}
    levels = structure_levels(
        reading.probs, channels.structures, reading.spacing, channels.overlapping
    )
    seen = {}
    for promised, level in zip(case.structures, levels, strict=True):
        contours = {f"{kind} contour": mask for kind, mask in promised.contours.items()}
        contour = outer.get(promised.structure)
        if contour is None or contour.family == MARGIN_ONLY or contour.values[0] > 1:
            seen[promised.structure] = Layers(contours)
            continue
        near = level.margins <= MARGINS.index(contour.margin)
        within, mark = near if contour.family == WITHIN else None, float(contour.values[0])
        seen[promised.structure] = Layers(contours, within, mark, meaning(contour))
    layers = viewed(reading, image, seen)
    layers["structures"].sort(key=lambda structure: structure["name"] != first)
    return {**layers, "reason": reason}


def meaning(contour: Guarantee) -> str:
    """The promise of an outer contour: "the contour that misses at most 10% in 9 of 10 patients"."""
    often = "on average" if contour.miss is None else f"in {contour.often}{contour.who}"
    return f"the contour that misses at most {contour.miss or contour.level:.0%} {often}"
