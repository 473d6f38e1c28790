"""Predictions and labels → curves; predictions without labels → contours, volumes and bounds of Dice."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import torch

from nacl_monai.audits.arrays import case_names, patient_names
from nacl_monai.audits.channels import Channels, class_names, read_dataset, with_structures
from nacl_monai.audits.checks import check_agreement, check_channels
from nacl_monai.audits.images import Pair, Prediction, Probabilities, read_image
from nacl_monai.audits.labels import Labels, check_grid, turned, voxel_sizes
from nacl_monai.audits.layouts import Layout, check_one_layout, in_order, recognized
from nacl_monai.audits.measuring import channel_dice, check_order
from nacl_monai.audits.names import images_by_name
from nacl_monai.audits.options import Options
from nacl_monai.audits.output import check_measured
from nacl_monai.audits.readers import Calibrated, named, read_as_asked
from nacl_monai.audits.reading import (
    Found,
    check_calibrator,
    find,
    known_by,
    processes,
    read_case,
)
from nacl_monai.data.faults import VoxelGrid
from nacl_monai.data.patients import patients_of
from nacl_monai.errors import InputError
from nacl_monai.files import checksum
from nacl_monai.inference.maps import map_image, write_nifti
from nacl_monai.inference.promised import MARGIN, apply_kept, unlike_spacing
from nacl_monai.inference.promised import Applied as Applied  # noqa: PLC0414 - of this room, too
from nacl_monai.metrics.curves import (
    Curves,
    checked_curves,
    curves_of_case,
    definition_of,
    joined_curves,
)
from nacl_monai.metrics.regions import case_spacings
from nacl_monai.metrics.voxels import (
    Voxels,
    as_tensor,
    dequantized,
)
from nacl_monai.posthoc import Calibrator, read_calibrator
from nacl_monai.posthoc.file import BY_CASE, BY_TABLE
from nacl_monai.progress import progress_bar
from nacl_monai.promises.control import MEAN, WITHIN, Control
from nacl_monai.promises.fit import Promise, fit

Array = npt.NDArray[Any]
_ARRAYS = "arrays"


def curves_of(found: Found) -> tuple[Curves, list[InputError]]:
    """The curves of all cases that can be read, and the faults of the others.

    Args:
        found: From `nacl_monai.audits.reading.find`.

    Raises:
        InputError: If no case can be read, or channels seem to be in another order.
    """
    options, channels = found.options, found.settings.channels
    one = partial(_curve_of, found=replace(found, pairs=()))
    cases, curves, faults, dice = [], [], list(found.faults), np.zeros(())
    with processes(options.jobs) as apply:
        results = progress_bar(
            apply(one, found.pairs), description="Reading", unit="case", total=len(found.pairs)
        )
        for (prediction, _), result in zip(found.pairs, results, strict=True):
            if isinstance(result, InputError):
                faults.append(result)
            else:
                cases.append(prediction.case)
                curves.append(result[0])
                dice = dice + result[1]
    check_measured(found, cases, faults)
    if not options.channels_as_given:
        check_order(found.folder, dice / len(cases), channels)
    definition = definition_of(
        channels.values,
        channels.structures,
        channels.activation,
        found.layout.label,
        found.calibrator,
        channels.ignore,
        options.joins,
    )
    patients = patients_of(cases, options.patient_pattern, options.patients)
    return joined_curves(cases, curves, patients, definition), faults


def _curve_of(pair: Pair, found: Found) -> tuple[dict[str, Array], Array] | InputError:
    """The curves of a case and Dice of its channels; its fault, if it has one."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="monai")
    channels = found.settings.channels
    try:
        predicted, labels, masks = _labeled(pair, found)
        probs = torch.from_numpy(predicted.voxels)
        curve = curves_of_case(
            probs,
            masks,
            labels.mask,
            channels.structures,
            _spacing(predicted),
            overlapping=channels.overlapping,
        )
        return curve, channel_dice(probs, labels, channels)
    except InputError as fault:
        return fault


def _labeled(pair: Pair, found: Found) -> tuple[Probabilities, Labels, list[torch.Tensor]]:
    """A prediction, which is where its label is unless it says so, the label, and its structures."""
    predicted, (labels,) = read_case(pair, found)
    affine = labels.affine if predicted.affine is None else predicted.affine
    channels = found.settings.channels
    masks = [
        labels.classes[list(of)].any(0)
        if channels.overlapping
        else torch.isin(labels.classes, torch.tensor(of))
        for of in channels.structures.values()
    ]
    return replace(predicted, affine=affine), labels, masks


def held_out_case(
    found: Found, curves: Curves, case: str, control: Control, **family: Any
) -> NewCase:
    """A case of a calibration patient by the promise of all others, who must be enough, with its label.

    Args:
        found: From `nacl_monai.audits.reading.find`.
        curves: Of all cases.
        case: Its name.
        control: What is promised.
        **family: The family and its margin, as `nacl_monai.promises.fit` takes them.
    """
    others = curves.without(curves.patients[curves.cases.index(case)])
    kept = [asdict(one) for one in fit(others, [control], check=False, **family).kept]
    (pair,) = (one for one in found.pairs if one[0].case == case)
    predicted, _, masks = _labeled(pair, found)
    probs = dequantized(torch.from_numpy(predicted.voxels)[None])[0][0]
    structures = apply_kept(kept, curves.definition, probs, _spacing(predicted))
    labels = dict(zip(curves.structures, (mask.numpy() for mask in masks), strict=True))
    return NewCase(case, predicted, structures, labels)


def _spacing(predicted: Probabilities) -> tuple[float, ...]:
    """The size of a voxel along each axis of the voxels, in mm."""
    if predicted.affine is None:
        raise InputError(
            f"{predicted.file}: no file beside it says where its voxels are, so that no margin in mm is "
            "known; add the .pkl or the segmentation"
        )
    return voxel_sizes(predicted.affine, are_turned=predicted.turned)


def curves_of_arrays(
    probs: Iterable[Voxels],
    labels: Iterable[Voxels],
    *,
    mask: Iterable[Voxels] | None = None,
    ignore_index: int | None = None,
    spacing: Sequence[float] | Sequence[Sequence[float]] | None = None,
    classes: Sequence[str] = (),
    structures: Sequence[str] = (),
    cases: Sequence[str] = (),
    patients: Sequence[str] = (),
    from_logits: bool = False,
) -> Curves:
    """The curves of arrays, as `nacl_monai.promise` takes them.

    Raises:
        InputError: If input is not a probability or not a label, or numbers of cases, names or sizes
            differ.
    """
    several, labeled = list(probs), list(labels)
    masks = [None] * len(several) if mask is None else list(mask)
    for what, given in {"labels": labeled, "mask": masks}.items():
        if len(given) != len(several):
            raise InputError(
                f"{what}: are {len(given)} for {len(several)} cases; give one for each"
            )
    patients = patient_names(patients)
    names = case_names(cases, len(several), patients)
    if not several:
        raise InputError("probs: hold no case; give a list of cases, (C, *spatial) each")
    names_of = list(structures) or list(classes) or class_names(len(several[0]))
    if len(names_of) != len(several[0]):
        raise InputError(
            f"classes: {len(names_of)} names for {len(several[0])} channels; give one each"
        )
    first = 0 if structures else 1  # the label value of the first channel is 1, or background's 0
    channels = {name: (k + 1 - first,) for k, name in enumerate(names_of)}
    named = {name: (k,) for k, name in enumerate(names_of) if k >= first}
    sizes = case_spacings(spacing, len(several), np.ndim(several[0]) - 1)
    curves = []
    for one, label, counts, size in zip(several, labeled, masks, sizes, strict=True):
        batch = [None if part is None else as_tensor(part)[None] for part in (one, label, counts)]
        curves.append(checked_curves(batch, named, structures, size, ignore_index, from_logits))
    activation = "sigmoid" if structures else "softmax"
    definition = definition_of(channels, named, activation, _ARRAYS, ignored=ignore_index)
    return joined_curves(names, curves, patients, definition)


def applied(
    promise: Promise, probs: torch.Tensor, spacing: Sequence[float], level: float | None = None
) -> list[Applied]:
    r"""The contours, volumes and bounds of Dice of a new case.

    Args:
        promise: From `nacl_monai.promise` or `nacl_monai.promises.read_promise`.
        probs: ``(C, *spatial)``, in the order of the promise's channels, of a patient who had no part
            in it.
        spacing: The size of a voxel along each spatial axis, in mm.
        level: The level α; by default the smallest that was promised.

    Raises:
        InputError: If there are other channels, or voxels of a size that no calibration patient had.
    """
    promise.check_current()
    definition = promise.definition
    if len(probs) != len(definition["channels"]):
        raise InputError(
            f"probs: have {len(probs)} channels, but what was promised is of "
            f"{', '.join(definition['channels'])}; give predictions of the same model"
        )
    if problem := unlike_spacing(spacing, promise.spacing):
        raise InputError(f"spacing: {problem}")
    kept = [asdict(one) for one in promise.of_level(level)]
    return apply_kept(kept, definition, dequantized(probs[None])[0][0], spacing)


@dataclass(frozen=True)
class NewCase:
    """A case that a promise is applied to.

    Attributes:
        case: Its name.
        predicted: Its probabilities.
        structures: What is promised of each structure.
        labels: Structure → where it is labeled, ``(z, y, x)``; empty where nobody knows.
    """

    case: str
    predicted: Probabilities
    structures: Sequence[Applied]
    labels: Mapping[str, Array] = field(default_factory=dict)


def new_cases(
    file: Path, promise: Promise, folder: Path, options: Options, level: float | None = None
) -> Iterator[NewCase | InputError]:
    """Applies a promise to a folder of new predictions; a case that cannot be read is its fault.

    Args:
        file: Of the promise, for messages.
        promise: What was promised.
        folder: In any layout that an audit reads.
        options: As of an audit.
        level: The level α.

    Raises:
        InputError: If the folder as a whole is of other channels, another calibrator, or of a patient
            who calibrated the promise.
    """
    promise.check_current(file)
    layout, predictions, channels = _find(file, promise, folder, options)
    for prediction in progress_bar(predictions, description="Applying", unit="case"):
        try:
            one = in_order(prediction, channels)
            predicted = layout.read(one)
            check_channels(one, predicted, channels)
            check_agreement(predicted, channels)
            spacing = _spacing(predicted)
            probs = torch.from_numpy(predicted.voxels)
            yield NewCase(one.case, predicted, applied(promise, probs, spacing, level))
        except InputError as fault:
            where, _, what = str(fault).partition(": ")
            of_arrays = where in ("probs", "spacing")
            yield InputError(f"{prediction.file}: {what}") if of_arrays else fault


def _find(
    file: Path, promise: Promise, folder: Path, options: Options
) -> tuple[Layout, list[Prediction], Channels]:
    """The layout of new predictions, and the cases; as `nacl_monai.audits.reading.find` with labels."""
    definition = promise.definition
    values = {name: tuple(of) for name, of in definition["channels"].items()}
    channels = Channels(definition["activation"], values, definition["ignored"], str(file))
    endings = [*values, *(str(of[0]) for of in values.values() if of)]
    names = {
        stem.removesuffix(f"_{ending}")
        for stem in (images_by_name(folder) if folder.is_dir() else ())
        for ending in endings
        if stem.endswith(f"_{ending}")
    }
    layout, predictions = recognized(folder, names)
    dataset = options.dataset or layout.dataset(folder)
    if dataset is not None:
        given = read_dataset(dataset, options.activation)
        if options.structures:
            given = with_structures(given, options.structures, options.activation)
        if (given.activation, [*given.values.items()]) != (channels.activation, [*values.items()]):
            raise InputError(
                f"{folder}: is of {', '.join(given.names)} by {given.activation}, but what {file} "
                f"promises is of {', '.join(values)} by {channels.activation}; give predictions of the "
                "same model"
            )
        channels = given
    check_one_layout(folder, predictions, channels)
    predictions = named(predictions, options.names)
    of_channels = [*values.values()]
    scored = {
        name: tuple(value for k in of for value in of_channels[k])
        for name, of in definition["structures"].items()
    }
    measured = channels if channels.overlapping else replace(channels, scored=scored)
    layout = read_as_asked(folder, layout, predictions, measured, options, names)
    told = (promise.patients, promise.known_by, promise.cases, promise.patient_pattern)
    whose = Calibrator(None, *told, channels.activation, channels.names)
    names_of = [one.case for one in predictions]
    check_calibrator(file, whose, channels, names_of, options)
    return _read_through(file, promise, layout, names_of, channels, options), predictions, channels


def _read_through(
    file: Path,
    promise: Promise,
    layout: Layout,
    cases: Sequence[str],
    channels: Channels,
    options: Options,
) -> Layout:
    """The layout, read through what the calibration patients' predictions went through."""
    joins = promise.definition.get("ensemble", [])
    if joins != options.joins:
        raise InputError(
            f"{file}: was made of {_model(joins)}, but these are {_model(options.joins)}; give the "
            "predictions of the same model, of an ensemble with --ensemble"
        )
    said, given, fitted = list(promise.definition["calibrator"]), [], None
    if options.calibrator is not None:
        calibrator = read_calibrator(options.calibrator)
        fitted, given = calibrator.fit, [calibrator.name, checksum(options.calibrator)]
    if said != given:
        raise InputError(
            f"{file}: was made of predictions behind {said[0] if said else 'no calibrator'}, but these "
            f"are behind {given[0] if given else 'none'}; give the same one with --calibrator"
        )
    if fitted is None:
        return layout
    modules = dict.fromkeys(cases, fitted.module)
    return replace(layout, read=Calibrated(layout.read, channels, modules))


def _model(joins: Sequence[Any]) -> str:
    return f"the mean {joins[0]} of {joins[1]} folders" if joins else "single predictions"


def image_of(file: Path, predicted: Probabilities, affine_tolerance: float) -> Array:
    """The first channel of an image on the grid of a prediction, ``(z, y, x)``, to look at.

    Args:
        file: The image.
        predicted: The prediction.
        affine_tolerance: How far apart both may put a voxel, in mm.

    Raises:
        InputError: If it cannot be read, or is elsewhere.
    """
    image = read_image(file)
    voxels = image.voxels[0] if image.voxels.ndim == 4 else image.voxels
    if predicted.turned:
        voxels = turned(voxels, image.affine)
    grid = VoxelGrid(str(file), image.shape, image.affine)
    check_grid(predicted, grid, tuple(voxels.shape[::-1]), affine_tolerance)
    return voxels


def write_contours(case: NewCase, folder: Path) -> None:
    """Writes ``CASE_outer_STRUCTURE.nii.gz`` and ``CASE_inner_STRUCTURE.nii.gz``, 1 inside.

    They are on the grid of the file that says where the voxels of the prediction are.
    """
    predicted = case.predicted
    affine = np.eye(4) if predicted.affine is None else predicted.affine
    for one in case.structures:
        for kind, contour in one.contours.items():
            voxels = contour.T.astype(np.uint8)
            if predicted.turned:
                nib: Any = nibabel.orientations
                back = nib.ornt_transform(nib.axcodes2ornt("RAS"), nib.io_orientation(affine))
                voxels = nib.apply_orientation(voxels, back)
            image = map_image(voxels, "label", predicted.source, affine)
            write_nifti(image, folder / f"{case.case}_{kind}_{one.structure}.nii.gz")


def promise(
    probs: Any,
    labels: Any,
    *,
    levels: Sequence[float] = (0.05, 0.1),
    family: str = WITHIN,
    control: str = MEAN,
    confidence: float = 0.9,
    margin: float = MARGIN,
    check: bool = True,
    **options: Any,
) -> Promise:
    r"""Contours, volumes and bounds of Dice with a guarantee, by calibration patients.

    A new patient's outer contour misses at most :math:`\alpha` of the structure, of the inner contour at
    most :math:`\alpha` is not the structure, and the interval of the volume and the lower bound of Dice
    hold but for :math:`\alpha`: on average over patients like these, whatever the network
    (`nacl_monai.promises.control`).

    Args:
        probs: A case each, ``(C, *spatial)``, NumPy or torch; or a folder in any layout that
            ``nacl-monai audit`` knows.
        labels: Class indices of the same cases, masks of structures, or the folder of the label maps.
        levels: Each is the largest risk α.
        family: "threshold", "margin", which needs no probabilities, or "within", a threshold within a
            margin.
        control: "mean", or "most": with ``confidence`` over the draws of calibration patients.
        confidence: Of "most".
        margin: Of the family "within", in mm; fixed before anybody has seen these patients.
        check: Whether each patient is asked how the promise of all others is kept.
        **options: Of arrays ``spacing`` in mm (1 along each axis by default), ``classes``,
            ``structures``, ``cases``, ``patients``, ``mask``, ``ignore_index`` and ``from_logits``, as
            `nacl_monai.audit` has them; of folders what a command says: ``dataset``, ``patients``,
            ``patient_pattern``, ``calibrator``, ``jobs``.

    Raises:
        InputError: If it takes more patients, or the input cannot be used.
        SettingError: If a level, family, control or option cannot be meant.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> inside = rng.uniform(size=(20, 8, 8))
        >>> labels = (rng.uniform(size=inside.shape) < inside).astype(int)
        >>> made = promise(np.stack([1 - inside, inside], 1), labels, levels=[0.1])
        >>> made.kept[0].kind, made.kept[0].patients
        ('outer', 20)
    """
    if isinstance(probs, (str, Path)) and isinstance(labels, (str, Path)):
        words = Options(**options, pictures=False)
        found = find(Path(probs), Path(labels), words)
        curves, faults = curves_of(found)
        if faults:
            raise faults[0]
        about = {"known_by": known_by(words), "patient_pattern": words.patient_pattern}
    else:
        curves = curves_of_arrays(probs, labels, **options)
        about = {"known_by": BY_TABLE if curves.known else BY_CASE}
    controls = [Control(level, control, confidence) for level in dict.fromkeys(levels)]
    return fit(curves, controls, family, margin, check=check, **about)
