"""The numbers of one case: checked probabilities and labels → sums and scores.

Against several raters there are as many numbers and one more: those against the share of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy
import torch

from nacl_monai.audits.channels import Channels
from nacl_monai.audits.labels import Labels
from nacl_monai.audits.options import EVALUATED_REGIONS
from nacl_monai.errors import InputError
from nacl_monai.metrics.case_sums import CaseSums
from nacl_monai.metrics.columns import score_columns
from nacl_monai.metrics.record import Record
from nacl_monai.metrics.structures import (
    agreed_dice,
    hausdorff_distance,
    structure_dice,
    structure_masks,
    volume_crps,
)
from nacl_monai.runs import MARGIN

SCORES = ("dice", "hd95")
_MM3_PER_ML = 1000
_FAR = 0.2  # so much larger is Dice in the right order; half of it where it is half as far from 1


@dataclass(frozen=True)
class Settings:
    """What decides the numbers of an audit, beside its files.

    Attributes:
        channels: What the channels mean.
        regions: Names of the regions.
        num_bins: The number of equal bins.
        raters: Their names, if there are several.
        margin: How far around a prediction a voxel is near it, in mm.
    """

    channels: Channels
    regions: Sequence[str] = EVALUATED_REGIONS
    num_bins: int = 15
    raters: Sequence[str] = ()
    margin: float = MARGIN

    def metric(self, rater: int | None, step: float | None, spacing: Sequence[float]) -> CaseSums:
        """Sums that have seen no case; against one of several raters, or their share."""
        return CaseSums(
            num_bins=self.num_bins,
            regions=self.regions,
            margin=self.margin,
            margin_spacing=spacing,
            structures=self.channels.names if self.channels.overlapping else (),
            decisions=self.channels.structures,
            num_raters=max(1, len(self.raters)),
            rater=rater,
            step=step,
        )

    def as_record(self) -> Mapping[str, Any]:
        """The settings as ``evaluation.json`` keeps them, under the keys of a run's evaluation."""
        channels = self.channels
        return {
            "classes": channels.names,
            "label_values": [list(values) for values in channels.values.values()],
            "structures": {name: list(classes) for name, classes in channels.structures.items()},
            "calibration::activation": channels.activation,
            "calibration::ignore": channels.ignore,
            "calibration::num_bins": self.num_bins,
            "calibration::regions": list(self.regions),
            "calibration::margin": self.margin,
            **({"calibration::raters": list(self.raters)} if self.raters else {}),
        }


@dataclass(frozen=True)
class Measured:
    """What is kept of a case: a few kilobytes, whatever its size, and a slice if it is asked for.

    Attributes:
        record: What was counted of it.
        columns: Its numbers as ``cases.csv`` has them.
        picture: The slice.
        dice: From `channel_dice`.
    """

    record: Record
    columns: Mapping[str, float]
    picture: Mapping[str, Any] | None = None
    dice: npt.NDArray[np.float64] | None = None


def measured(
    case: str,
    probs: torch.Tensor,
    raters: Sequence[Labels],
    settings: Settings,
    step: float | None = None,
) -> list[Measured]:
    """The numbers of one case; of several raters those against their share, then those against each.

    Args:
        case: Its name.
        probs: ``(C, *spatial)``, from `Probabilities`.
        raters: The labels of each, on the same grid.
        settings: The audit's settings, with the names of several raters.
        step: As in `Probabilities`.

    Raises:
        InputError: If the metric refuses.
    """
    channels = settings.channels
    everywhere = torch.ones(probs.shape[1:], dtype=torch.bool)
    counted = [everywhere if one.mask is None else one.mask for one in raters]
    pairs = [_structures(probs, one, settings) for one in raters]
    scores = [_scores(*pair) for pair in pairs]
    labels, masks = torch.stack([one.classes for one in raters]), torch.stack(counted)
    views: list[int | None] = [None, *range(len(raters))]
    if len(raters) == 1:
        labels, masks, views = labels[0], masks[0], [None]
    else:
        by_all = reduce(torch.logical_and, counted)
        scores = [_shared_scores(pairs, by_all), *scores]
        rated = torch.stack([(label[0] * by_all).flatten(1).sum(1) for _, label in pairs], -1)
    masked = any(one.mask is not None for one in raters)
    numbers = []
    for rater, of_rater in zip(views, scores, strict=True):
        metric = settings.metric(rater, step, raters[0].spacing)
        metric.add([probs], [labels], [masks] if masked else None)
        named = settings.raters if rater is None else ()
        record = metric.record([case], channels.names, raters=named, ignored=channels.ignore)
        if named and record.decisions is not None:
            mm3 = rated * math.prod(raters[0].spacing)
            of_rater["crps"] = volume_crps(record.decisions.expected[0], mm3) / _MM3_PER_ML
        of_case = {name: values.double()[None] for name, values in of_rater.items()}
        columns = score_columns(of_case, list(channels.structures)) | metric.columns()
        numbers.append(Measured(record, {key: float(value) for key, value in columns.items()}))
    return numbers


def channel_dice(
    probs: torch.Tensor, labels: Labels, channels: Channels
) -> npt.NDArray[np.float64]:
    """Dice of what each channel predicts, a row, with what the labels say of each, a column."""
    count = len(probs)
    counted = torch.ones_like(probs[0], dtype=torch.bool) if labels.mask is None else labels.mask
    if channels.overlapping:
        inside = predicted_masks(probs, channels)[:, counted].float()
        marked = labels.classes[:, counted].float()
        both, sizes = inside @ marked.T, inside.sum(1)[:, None] + marked.sum(1)
    else:
        pairs = probs.max(0).indices[counted] * count + labels.classes[counted]
        both = torch.bincount(pairs, minlength=count**2).reshape(count, count)
        sizes = both.sum(1)[:, None] + both.sum(0)
    return (2 * both.double() / sizes).nan_to_num().numpy()


def check_order(
    place: Path | str,
    dice: npt.NDArray[np.float64],
    channels: Channels,
    option: str = "--channels-as-given",
) -> None:
    """Refuses channels that agree with the labels far better in another order.

    Args:
        place: The folder of the predictions, or what else the message begins with.
        dice: From `channel_dice`, the mean over cases.
        channels: What the channels mean.
        option: What takes them in the order that they have.

    Raises:
        InputError: If Dice of the channels that would change places is larger by 0.2, or by 0.1 and half
            as far from 1.
    """
    places = np.arange(len(dice))
    order = scipy.optimize.linear_sum_assignment(dice + 1e-6 * np.eye(len(dice)), maximize=True)[1]
    moved = order != places
    if not moved.any():
        return
    given, other = dice.diagonal()[moved].mean(), dice[places, order][moved].mean()
    better = other - given
    if better > _FAR or (better > _FAR / 2 and 1 - other < (1 - given) / 2):
        names = ", ".join(channels.names[k] for k in order)
        raise InputError(
            f"{place}: the channels agree far better with the labels as {names} (mean Dice {other:.2f} "
            f"instead of {given:.2f}) than as {', '.join(channels.names)}; put them in the order of the "
            f"classes, or say {option}"
        )


def joined(
    numbers: Sequence[Measured],
    patients: Sequence[str],
    calibrator: Sequence[str] = (),
    ensemble: Sequence[Any] = (),
) -> Record:
    """What was counted of all cases.

    Args:
        numbers: Those of each case.
        patients: The patient of each; empty where nobody knows.
        calibrator: Name and checksum of what the probabilities went through.
        ensemble: What was averaged, and over how many members.
    """
    first, *others = (one.record for one in numbers)
    record = first.joined(others)
    definition = {**record.definition, "calibrator": list(calibrator)}
    definition |= {"ensemble": list(ensemble)} if ensemble else {}
    return replace(record, patients=list(patients) or None, definition=definition)


def _scores(prediction: torch.Tensor, label: torch.Tensor) -> dict[str, torch.Tensor]:
    return {
        "dice": structure_dice(prediction, label)[0],
        "hd95": hausdorff_distance(prediction, label)[0],
    }


def _shared_scores(
    pairs: Sequence[tuple[torch.Tensor, torch.Tensor]], counted: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Dice where all raters agree, over the voxels that all have labeled; no distance follows."""
    raters = torch.stack([label * counted for _, label in pairs])
    dice = agreed_dice(pairs[0][0] * counted, raters)[0]
    return {"dice": dice, "hd95": torch.full_like(dice, torch.nan)}


def _structures(
    probs: torch.Tensor, labels: Labels, settings: Settings
) -> tuple[torch.Tensor, torch.Tensor]:
    """The masks of all structures, predicted and labeled, ``(1, S, *spatial)``."""
    channels, labeled = settings.channels, labels.classes
    if not channels.overlapping:
        labeled = structure_masks(labeled[None], channels.structures)
    pair = predicted_masks(probs, channels), labeled
    if labels.mask is not None:
        pair = (pair[0] * labels.mask, pair[1] * labels.mask)
    return pair[0][None], pair[1][None]


def predicted_masks(probs: torch.Tensor, channels: Channels) -> torch.Tensor:
    """The mask of every predicted structure, ``(S, *spatial)``, uint8."""
    if not channels.overlapping:
        return structure_masks(probs.max(0).indices[None], channels.structures)
    return (probs > (127.5 if probs.dtype == torch.uint8 else 0.5)).to(torch.uint8)


def pairwise_dice(members: Sequence[torch.Tensor]) -> list[float]:
    """How far the members of an ensemble agree: of each structure, the mean Dice of every two of them.

    It is 1 for two members that do not predict the structure at all.

    Args:
        members: The masks of each, ``(S, *spatial)``.

    Example:
        >>> masks = torch.tensor([[[1, 1, 0, 0]], [[1, 0, 0, 0]], [[0, 0, 0, 0]]])  # Dice 2/3, 0, 0
        >>> [round(value, 4) for value in pairwise_dice(list(masks))]
        [0.2222]
    """
    dice = [
        torch.where(sizes > 0, 2 * (one * other).flatten(1).sum(1) / sizes, 1)
        for one, other in combinations(members, 2)
        for sizes in [(one.flatten(1).sum(1) + other.flatten(1).sum(1)).double()]
    ]
    return [float(value) for value in torch.stack(dice).mean(0)]
