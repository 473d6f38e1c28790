"""The numbers of one case, and its picture: checked probabilities and labels → sums and scores.

Against several raters there are as many numbers and one more: those against the share of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nacl_monai.errors import InputError
from nacl_monai.evaluations.slices import case_slice, certainty
from nacl_monai.inference.promised import MM3_PER_ML, Array
from nacl_monai.metrics.case_sums import CaseSums
from nacl_monai.metrics.columns import score_columns
from nacl_monai.metrics.curves import Curves, curves_of_case, joined_curves
from nacl_monai.metrics.raters import class_votes
from nacl_monai.metrics.record import Measurement, Record
from nacl_monai.metrics.structures import (
    agreed_dice,
    class_counts,
    hausdorff_distance,
    map_dice,
    map_distances,
    structure_dice,
    structure_masks,
    volume_crps,
)
from nacl_monai.predictions.arrays import ArrayStudy
from nacl_monai.predictions.channels import Channels
from nacl_monai.predictions.images import Labels
from nacl_monai.predictions.readers import predicted_masks, segmented
from nacl_monai.predictions.reading import Case, Reading
from nacl_monai.predictions.study import Study

#: The scores of structures; the distance is in mm, since the label maps of files say their spacing.
FILE_SCORES = ("dice", "hd95_mm")


@dataclass(frozen=True)
class CaseNumbers:
    """The numbers kept of a case: a few kilobytes, whatever its size, and a slice on request.

    Attributes:
        record: What was counted of it.
        columns: Its row of ``cases.csv``.
        curve: What a promise is made from, where there is one rater.
        picture: The slice.
        islands: Its islands, of each structure, if they are asked for.
    """

    record: Record
    columns: Mapping[str, float]
    curve: Mapping[str, Array] | None = None
    picture: Mapping[str, Any] | None = None
    islands: Sequence[Mapping[str, Array]] = ()


def measurement_of(
    study: Study | ArrayStudy, regions: Sequence[str], num_bins: int, margin: float
) -> Measurement:
    """What an audit measures of a study, of all its raters together."""
    channels = study.channels
    return Measurement(
        num_bins,
        regions=regions,
        margin=margin,
        structures=channels.names if channels.overlapping else (),
        decisions=channels.structures,
        num_raters=max(1, len(study.raters)),
    )


def study_measurement(study: Study) -> Measurement:
    """What the audit of a study measures."""
    options = study.options
    regions = tuple(dict.fromkeys(("foreground", *options.regions)))
    return measurement_of(study, regions, options.num_bins, options.margin)


def study_settings(study: Study) -> Mapping[str, Any]:
    """The settings that decide the numbers of an audit, under the keys of a run's evaluation."""
    channels, what = study.channels, study_measurement(study)
    return {
        "classes": channels.names,
        "label_values": [list(values) for values in channels.values.values()],
        "structures": {name: list(classes) for name, classes in channels.structures.items()},
        "calibration::activation": channels.activation,
        "calibration::ignore": channels.ignore,
        "calibration::num_bins": what.num_bins,
        "calibration::regions": list(what.regions),
        "calibration::margin": what.margin,
    }


def measured_cases(
    study: Study,
    keep: Callable[[str, CaseNumbers], CaseNumbers] = lambda _, numbers: numbers,
    nifti: Path | None = None,
    curves: bool = True,
    islands: Callable[[Reading], Sequence[Mapping[str, Array]]] | None = None,
) -> tuple[list[Case], list[list[CaseNumbers]], list[InputError]]:
    """The numbers of all cases.

    Args:
        study: From `nacl_monai.predictions.find`.
        keep: Case and what was measured → what of it is returned.
        nifti: The folder of each case's maps as NIfTI files, if they are asked for.
        curves: Whether to count what a promise is made from, against one rater.
        islands: Counts those of a case, if they are asked for.

    Returns:
        The cases that could be measured, by name; their numbers, a list of all cases, or of several
        raters one against their share and then one against each; the faults of other cases.

    Raises:
        InputError: If no case can be read, the channels seem to be in another order, or a calibrator was
            fitted within another margin.
    """
    margin = study.calibrated.get("calibrator_margin")
    if margin not in (None, study.options.margin):
        raise InputError(
            f"{study.options.calibrator}: was fitted within {margin:g} mm of predictions, not "
            f"{study.options.margin:g} mm; give --margin {margin:g}"
        )
    compute = partial(
        _measured,
        measurement=study_measurement(study),
        raters=study.raters,
        nifti=nifti,
        curves=curves and not study.raters,
        pictures=study.options.shows_patients,
        islands=islands,
    )
    cases: list[Case] = []
    numbers: list[list[CaseNumbers]] = []
    faults: list[InputError] = []
    for case, (first, *against_each) in study.each(compute, faults, f"Auditing {study.name}"):
        cases.append(case)
        numbers.append([keep(case.name, first), *against_each])
    return cases, [list(of_view) for of_view in zip(*numbers, strict=True)], faults


def _measured(
    reading: Reading,
    measurement: Measurement,
    raters: Sequence[str],
    nifti: Path | None,
    curves: bool,
    pictures: bool,
    islands: Callable[[Reading], Sequence[Mapping[str, Array]]] | None,
) -> list[CaseNumbers]:
    """The numbers of a case: of several raters against their share, and then against each."""
    numbers = [*case_numbers(reading, measurement, raters)]
    if islands is not None:
        numbers[0] = replace(numbers[0], islands=islands(reading))
    if reading.predicted.pairwise_dice:
        alike = {"pairwise_dice": torch.tensor([reading.predicted.pairwise_dice]).double()}
        columns = score_columns(alike, [*reading.channels.structures])
        added = {name: float(value) for name, value in columns.items()}
        numbers = [replace(part, columns={**part.columns, **added}) for part in numbers]
    if curves:
        numbers[0] = replace(numbers[0], curve=curve_of(reading))
    if nifti is not None:
        write_maps(nifti, reading)
    if pictures:
        numbers[0] = replace(numbers[0], picture=picture(reading))
    return numbers


def curve_of(reading: Reading) -> dict[str, Array]:
    """The curves of a case, from which promises are made, against its one rater, if it has one.

    Raises:
        InputError: If no file says where its voxels are.
    """
    channels, nothing = reading.channels, torch.zeros(reading.stored.shape[1:], dtype=torch.bool)
    return curves_of_case(
        reading.stored,
        reading.masks if reading.labels else [nothing] * len(channels.structures),
        reading.labels[0].mask if reading.labels else None,
        channels.structures,
        reading.spacing,
        overlapping=channels.overlapping,
    )


def curves_of(study: Study, cases: Sequence[Case], curves: Sequence[Mapping[str, Array]]) -> Curves:
    """The curves of the cases of a study as one object."""
    names = [case.name for case in cases]
    return joined_curves(names, curves, study.patients_of(cases), study_definition(study))


def study_definition(study: Study) -> dict[str, Any]:
    """The definition of what is counted of a study, as files of sums keep it."""
    channels, ensemble = study.channels, [*study.joins]
    return channels.definition(study.layout.label, study.calibrator, ensemble, **study.identity)


def case_numbers(
    reading: Reading, measurement: Measurement, names: Sequence[str] = ()
) -> Iterator[CaseNumbers]:
    """The numbers of one case; of several raters those against their share, then those against each.

    Args:
        reading: Of the case.
        measurement: What the audit measures.
        names: Those of several raters.

    Raises:
        InputError: If the metric refuses.
    """
    raters, channels = reading.labels, reading.channels
    masks, labels = _masks_of(raters), [rater.classes for rater in raters]
    spacing, single = raters[0].spacing, len(raters) == 1
    predicted = _predicted(reading)
    scores = [_scores(predicted, rater, channels) for rater in raters]
    of_case = replace(measurement, step=reading.predicted.step, margin_spacing=spacing)

    def count(rater: int | None) -> CaseSums:
        metric = CaseSums(replace(of_case, rater=rater))
        maps = labels[0] if single else torch.stack(labels)
        counts = None if masks is None else [masks[0] if single else masks]
        metric.add([reading.stored], [maps], counts)
        return metric

    if single:
        yield _numbers(reading, count(None), scores[0])
        return
    everywhere = torch.ones(reading.stored.shape[1:], dtype=torch.bool)
    by_all = everywhere if masks is None else masks.all(0)
    metric = count(None)
    pairs = [_structures(predicted, rater, channels) for rater in raters]
    shared = _shared_scores(pairs, by_all, spacing)
    expected = metric.case_decisions()
    if expected is not None and spacing is not None:
        rated = torch.stack([(label[0] * by_all).flatten(1).sum(1) for _, label in pairs], -1)
        mm3 = rated * math.prod(spacing)
        shared["crps"] = volume_crps(expected.expected[0], mm3) / MM3_PER_ML
    yield _numbers(reading, metric, shared, names)
    for rater, of_rater in enumerate(scores):
        yield _numbers(reading, count(rater), of_rater)


def _masks_of(raters: Sequence[Labels]) -> torch.Tensor | None:
    """The voxels that each rater has labeled, ``(raters, *spatial)``; None where all are."""
    masks = [rater.mask for rater in raters]
    known = [mask for mask in masks if mask is not None]
    if not known:
        return None
    return torch.stack([torch.ones_like(known[0]) if mask is None else mask for mask in masks])


def _numbers(
    reading: Reading,
    metric: CaseSums,
    scores: Mapping[str, torch.Tensor],
    raters: Sequence[str] = (),
) -> CaseNumbers:
    """The counts of a metric for a case, and its scores."""
    case, channels = reading.case.name, reading.channels
    record = metric.record([case], channels.names, raters=raters, ignored=channels.ignore)
    of_case = {name: values.double()[None] for name, values in scores.items()}
    columns = score_columns(of_case, list(channels.structures)) | metric.columns()
    return CaseNumbers(record, {key: float(value) for key, value in columns.items()})


def join_cases(
    numbers: Sequence[CaseNumbers],
    patients: Sequence[str],
    calibrator: Sequence[str] = (),
    ensemble: Sequence[Any] = (),
    **identity: Any,
) -> Record:
    """The record of all cases.

    Args:
        numbers: Those of each case.
        patients: The patient of each; empty if unknown.
        calibrator: Name and checksum of what the probabilities went through.
        ensemble: What was averaged, and over how many members.
        **identity: Which part of the patients they are of, ``shard``, and the mark of the salt that hid
            their names, ``anonymous``; None where there is none.
    """
    first, *rest = (part.record for part in numbers)
    record = first.joined(rest)
    definition = {**record.definition, "calibrator": list(calibrator)}
    definition |= {"ensemble": list(ensemble)} if ensemble else {}
    definition |= {key: value for key, value in identity.items() if value}
    return replace(record, patients=list(patients) or None, definition=definition)


def _shared_scores(
    pairs: Sequence[tuple[torch.Tensor, torch.Tensor]],
    counted: torch.Tensor,
    spacing: Sequence[float] | None,
) -> dict[str, torch.Tensor]:
    """Those of several raters, over the voxels that all have labeled."""
    labels = torch.stack([label * counted for _, label in pairs])
    dice = agreed_dice(pairs[0][0] * counted, labels)[0]
    return {"dice": dice, _distance(spacing): torch.full_like(dice, torch.nan)}


def _predicted(reading: Reading) -> torch.Tensor:
    """The most probable classes, ``(*spatial)``; of structures that overlap their masks."""
    if reading.channels.overlapping:
        return predicted_masks(reading.stored, reading.channels)
    return reading.predicted.classes


def _scores(predicted: torch.Tensor, labels: Labels, channels: Channels) -> dict[str, torch.Tensor]:
    """Dice and HD95 of each structure, ``(S,)``, against a rater; in voxels if no spacing is known."""
    spacing = labels.spacing
    if channels.overlapping:
        pair = _structures(predicted, labels, channels)
        dice, distances = structure_dice(*pair)[0], hausdorff_distance(*pair, spacing)[0]
    else:
        maps, structures = (predicted, labels.classes), channels.structures
        dice = map_dice(class_counts(*maps, len(channels.values), labels.mask), structures)
        distances = map_distances(*maps, structures, spacing, labels.mask)
    return {"dice": dice, _distance(spacing): distances}


def _distance(spacing: Sequence[float] | None) -> str:
    """The name of the distance, by its unit."""
    return "hd95" if spacing is None else "hd95_mm"


def _structures(
    predicted: torch.Tensor, labels: Labels, channels: Channels
) -> tuple[torch.Tensor, torch.Tensor]:
    """The masks of all structures, predicted and labeled, ``(1, S, *spatial)``."""
    pair = [predicted, labels.classes]
    if not channels.overlapping:
        pair = [structure_masks(classes[None], channels.structures) for classes in pair]
    if labels.mask is not None:
        pair = [masks * labels.mask for masks in pair]
    first, second = pair
    return first[None], second[None]


def picture(reading: Reading, image: torch.Tensor | None = None) -> dict[str, Any]:
    """The axial slice with most foreground in the label, as one looks at it: anterior is up.

    Args:
        reading: The case.
        image: Its channels, along right, anterior and superior.

    Returns:
        The arrays of `case_slice`; ``slice`` counts along the file's own axis.
    """
    channels = reading.channels
    labels = majority(reading.labels, channels)
    classes = labels.classes if channels.overlapping else labels.classes[None]
    probs, label = reading.seen(reading.stored), reading.seen(classes)
    how: dict[str, Any] = {"image": image, "overlapping": channels.overlapping}
    return case_slice(probs, label, channels.names, **how)


def majority(raters: Sequence[Labels], channels: Channels) -> Labels:
    """The majority vote of the raters for each voxel, to look at; in a tie, the first class.

    A structure that may overlap is shown where more than half of them mark it.
    """
    first, *rest = raters
    if not rest:
        return first
    labels = [rater.classes for rater in raters]
    if channels.overlapping:
        votes = torch.stack(labels).sum(0)
        return replace(first, classes=(2 * votes > len(raters)).to(torch.uint8))
    return replace(first, classes=class_votes(labels, len(channels.values)).max(0).indices)


def write_maps(
    folder: Path,
    reading: Reading,
    sure: tuple[torch.Tensor, torch.Tensor] | None = None,
    threshold: float | None = None,
) -> int:
    """Writes ``CASE_probabilities.nii.gz``, ``CASE_confidence.nii.gz``, ``CASE_entropy.nii.gz``.

    The first has a channel per class. ``CASE_label.nii.gz`` is the label map that nnU-Net would make of
    the probabilities, unless structures overlap and nothing says how they are painted over each other.
    ``CASE_above_STRUCTURE.nii.gz`` is 1 where the probability of a structure is the threshold or more.
    The maps are those of an inference, on the grid of the label map, whose header says where it is, or
    of the file that says where the prediction is.

    Args:
        folder: Where they are written.
        reading: The case.
        sure: Its `certainty`, if it is known.
        threshold: Of the last ones, which are not written without one.

    Returns:
        How many were written.
    """
    channels, probs = reading.channels, reading.probs.float()
    confidence, entropy = sure or certainty(probs, channels.overlapping)
    maps = {"probabilities": probs, "confidence": confidence, "entropy": entropy}
    masks: dict[str, Array] = {}
    if channels.painted or not channels.overlapping:
        masks["label"] = segmented(reading.predicted.voxels, channels)
    if threshold is not None:
        for name, members in channels.structures.items():
            masks[above(name)] = probs.numpy()[list(members)].sum(0) >= threshold
    for name, voxels in (maps | masks).items():
        kind, dtype = (name, np.float32) if name in maps else ("label", np.int16)
        file = folder / f"{reading.case.name}_{name}.nii.gz"
        reading.write(file, np.asarray(voxels, dtype), kind)
    return len(maps) + len(masks)


def above(structure: str) -> str:
    """The kind of a map at a threshold."""
    return f"above_{structure}"
