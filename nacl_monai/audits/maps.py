"""Predictions of new cases as images, ``nacl-monai maps``, and on a page, ``nacl-monai view``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from nacl_monai.audits.command import print_faults
from nacl_monai.audits.components import real_of, write_rows, write_scored
from nacl_monai.audits.measuring import above, write_maps
from nacl_monai.errors import InputError, SettingError
from nacl_monai.evaluations.slices import certainty, doubt_near, doubtful_planes, thick_axis
from nacl_monai.evaluations.tables import csv_text
from nacl_monai.files import check_apart, write_text
from nacl_monai.inference.maps import MAPS, label_tables
from nacl_monai.inference.promised import MM3_PER_ML, dice_of, structure_levels
from nacl_monai.inference.records import MARGIN, MARGINS
from nacl_monai.metrics.islands import label_islands
from nacl_monai.output import written_folder
from nacl_monai.posthoc.islands import RealIslands
from nacl_monai.predictions.finding import find
from nacl_monai.predictions.names import images_of_cases
from nacl_monai.predictions.options import Options, Use
from nacl_monai.predictions.reading import Reading
from nacl_monai.reports.style import page_template
from nacl_monai.reports.viewer import MOST_VIEWED, scripts, viewed
from nacl_monai.tensors import top1
from nacl_monai.words import counted

#: What each structure of a case is expected to be, without its label.
_TABLE = "maps.csv"
#: Which slices to correct first.
SLICES = "slices.csv"
SLICE_COLUMNS = ("case", "axis", "slice", "expected_errors", "share")


def maps_folder(predictions: Path, output: Path, options: Options) -> list[InputError]:
    """Writes the maps of predictions that need no labels, and prints where they are.

    Args:
        predictions: A folder in any layout that an audit reads; of an ensemble the first.
        output: The folder for the maps.
        options: As for an audit, with ``threshold`` and ``reference``.

    Returns:
        The faults of single cases; the others have their maps.

    Raises:
        InputError: If the input cannot be used; nothing is written then.
        SettingError: If the threshold is no probability.
    """
    threshold = options.threshold
    if threshold is not None and not 0 < threshold <= 1:
        raise SettingError(f"--threshold: is {threshold:g}; give a probability above 0, at most 1")
    with written_folder(output, "maps", read=[predictions, *options.files]) as folder:
        study = find(predictions, None, options)
        print(study)
        kinds = [*MAPS, "islands", *(above(name) for name in study.channels.structures)]
        check_apart(predictions, map("_".join, product(study.patients, kinds)))
        place, images = options.reference, {}
        if place is not None:
            images = images_of_cases(place, study.patients, "--reference")
        real = real_of(study)
        compute = partial(_write, folder=folder, threshold=threshold, images=images, real=real)
        faults: list[InputError] = []
        of_cases = (written for _, written in study.each(compute, faults, "Writing"))
        numbers, *several = zip(*of_cases, strict=True)
        rows, table, slices = ([*chain.from_iterable(parts)] for parts in several)
        write_text(folder / _TABLE, csv_text(pd.DataFrame(table)))
        write_text(folder / SLICES, csv_text(pd.DataFrame(slices, columns=SLICE_COLUMNS)))
        if real:
            write_rows(rows, folder)
        for name, text in label_tables(study.channels.label_names).items():
            write_text(folder / name, text)
    print_faults(faults)
    print(f"wrote {counted(sum(numbers), 'map')}: {output}/CASE_probabilities.nii.gz, …")
    print(f"wrote {output / _TABLE}; what it expects is as good as the calibration")
    print(f"wrote {output / SLICES}: the slices to correct first")
    return faults


def view_folder(predictions: Path, output: Path, options: Options) -> list[InputError]:
    """Writes a page in which one scrolls through predictions.

    Args:
        predictions: As in `maps_folder`.
        output: The folder for ``page.html``.
        options: As there, with ``cases`` and ``images``.

    Returns:
        The faults of single cases; the page has the others.

    Raises:
        InputError: If the input cannot be used; nothing is written then.
        SettingError: If there is no such case, or too many are asked for.
    """
    faults: list[InputError] = []
    with written_folder(output, "view", read=[predictions, *options.files]) as folder:
        study = find(predictions, None, options)
        print(study)
        names = list(options.cases or study.patients)
        if unknown := sorted({*names} - study.patients.keys()):
            raise SettingError(f"--cases: {unknown[0]!r} is not in {predictions}; correct it")
        if options.cases and len(names) > MOST_VIEWED:
            raise SettingError(f"--cases: are {len(names)}; give at most {MOST_VIEWED}")
        by_name, names = {case.name: case for case in study.cases}, names[:MOST_VIEWED]
        images = images_of_cases(options.images, names) if options.images else {}
        seen = replace(study, cases=[by_name[name] for name in names])
        found = seen.each(partial(_viewed, images=images), faults, "Viewing")
        cases = [{**layers, "reason": ""} for _, layers in found]
        template = page_template(file="view.html.j2")
        arguments = options.words(Use.VIEW, travels=False)
        text = template.render(
            name=study.name,
            count=f"{len(cases)} of {counted(len(study.cases), 'case')}; no label is known.",
            command=options.command("view", predictions, *options.members, *arguments),
            **scripts(cases, folder / "page.html"),
        )
        write_text(folder / "page.html", text + "\n")
    print_faults(faults)
    print(f"wrote {output / 'page.html'}")
    return faults


def _viewed(reading: Reading, images: Mapping[str, Path]) -> dict[str, Any]:
    """The layers of a case, on its image where it has one."""
    file = images.get(reading.case.name)
    return viewed(reading, None if file is None else reading.image(file))


def _write(
    reading: Reading,
    folder: Path,
    threshold: float | None,
    images: Mapping[str, Path],
    real: RealIslands | None,
) -> tuple[int, list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Writes the maps of a case, on the grid of its image where it has one.

    Returns:
        The number of maps, the rows of its islands, and those of ``maps.csv`` and ``slices.csv``.
    """
    if image := images.get(reading.case.name):
        reading = reading.on(image)
    if reading.affine is None:
        raise InputError(
            f"{reading.predicted.file}: no file beside it says where its voxels are; add the .pkl or "
            "the segmentation, or give the images with --reference"
        )
    rows = write_scored(reading, real, folder) if real else []
    sure = certainty(reading.probs.float(), reading.channels.overlapping)
    number = write_maps(folder, reading, sure, threshold) + bool(real)
    return number, rows, expected_rows(reading, sure), slice_rows(reading, sure[0])


def expected_rows(
    reading: Reading, sure: tuple[torch.Tensor, torch.Tensor]
) -> list[dict[str, Any]]:
    """The rows of ``maps.csv`` of a case, one for each structure.

    Each says the sum of its probability over all voxels, and as a volume; the predicted volume; the
    expected Dice; mean confidence and entropy within 3 mm of what is predicted, of the `certainty` of
    all voxels; and how many islands, 26-connected, are predicted. Where nothing is predicted, Dice,
    confidence and entropy are empty.
    """
    channels, probs = reading.channels, reading.probs.float()
    how = channels.structures, reading.spacing, channels.overlapping
    voxel = float(np.prod(reading.spacing)) / MM3_PER_ML
    rows = []
    for name, levels in zip(channels.structures, structure_levels(probs, *how), strict=True):
        predicted, near = levels.margins == 0, levels.margins <= MARGINS.index(MARGIN)
        size, total = int(predicted.sum()), float(levels.expected(MARGINS[-1]))
        dice = dice_of(levels.expected(0.0), size, levels.expected(MARGIN)) if size else np.nan
        confidence, entropy = (
            part.numpy()[near].mean(dtype=float) if size else np.nan for part in sure
        )
        rows.append(
            {
                "case": reading.case.name,
                "structure": name,
                "probability_sum": total,
                "expected_ml": total * voxel,
                "volume_ml": size * voxel,
                "expected_dice": dice,
                "confidence_near": confidence,
                "entropy_near": entropy,
                "islands": label_islands(predicted)[1],
            }
        )
    return rows


def slice_rows(reading: Reading, confidence: torch.Tensor) -> list[dict[str, Any]]:
    """The rows of ``slices.csv`` of a case: the slices with the most expected errors first.

    A slice is expected to have as many wrong voxels as the sum of 1 − the probability of the predicted
    class within 3 mm of what is predicted. ``axis`` and ``slice`` count from 0 in the image's own axes;
    the axis is the thickest, or the last. ``share`` is of the case's expected errors, with those of the
    rows before.
    """
    channels, probs = reading.channels, reading.probs.float()
    members = torch.tensor([*chain(*channels.structures.values())])
    if channels.overlapping:
        predicted = (probs[members] > 0.5).any(0)
    else:
        predicted = torch.isin(top1(probs, 0)[1], members)
    axis = thick_axis(reading.spacing[::-1])
    doubt = doubt_near(confidence, predicted, reading.spacing).numpy()
    planes = doubtful_planes(doubt.T, axis)  # from (z, y, x) to the image's axes
    errors = np.array([found for _, found, _ in planes])
    shares = errors.cumsum() / errors.sum()
    return [
        dict(zip(SLICE_COLUMNS, (reading.case.name, axis, k, found, share), strict=True))
        for (k, found, _), share in zip(planes, shares.tolist(), strict=True)
    ]
