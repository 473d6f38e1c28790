"""The numbers of one case: checked probabilities and labels → sums and scores.

Against several raters there are as many numbers and one more: those against the share of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.metrics import compute_dice

from nacl_monai.audits.channels import Channels
from nacl_monai.audits.labels import Labels
from nacl_monai.audits.options import EVALUATED_REGIONS
from nacl_monai.metrics import (
    CalibrationMetric,
    agreed_dice,
    hausdorff_distance,
    structure_masks,
    volume_crps,
)
from nacl_monai.metrics.inputs import dequantized

SCORES = ("dice", "hd95")
_MM3_PER_ML = 1000


@dataclass(frozen=True)
class Settings:
    """What decides the numbers of an audit, beside its files.

    Attributes:
        channels: What the channels mean.
        regions: Names of the regions.
        num_bins: The number of equal bins.
        raters: Their names, if there are several.
    """

    channels: Channels
    regions: Sequence[str] = EVALUATED_REGIONS
    num_bins: int = 15
    raters: Sequence[str] = ()

    def metric(
        self, from_logits: bool = False, rater: int | None = None, step: float | None = None
    ) -> CalibrationMetric:
        """A calibration metric that has seen no case; against one of several raters, or their share."""
        return CalibrationMetric(
            num_bins=self.num_bins,
            regions=self.regions,
            structures=self.channels.names if self.channels.overlapping else (),
            from_logits=from_logits,
            num_raters=max(1, len(self.raters)),
            rater=rater,
            step=step,
        )


@dataclass(frozen=True)
class Measured:
    """What is kept of a case: a few kilobytes, whatever its size, and a slice if it is asked for.

    Attributes:
        sums: The buffers of the metric.
        scores: "dice" and "hd95" of each structure; against the share of raters, others as well.
        picture: The slice.
    """

    sums: Sequence[npt.NDArray[Any]]
    scores: Mapping[str, npt.NDArray[Any]]
    picture: Mapping[str, Any] | None = None


def measured(
    probs: torch.Tensor,
    labels: Labels,
    settings: Settings,
    from_logits: bool = False,
    step: float | None = None,
) -> Measured:
    """The numbers of one case.

    Args:
        probs: ``(C, *spatial)``, from `Probabilities`.
        labels: On the same grid.
        settings: The audit's settings.
        from_logits: Whether logits are given in place of probabilities.
        step: As in `Probabilities`.

    Raises:
        InputError: If the metric refuses.
    """
    masks = None if labels.mask is None else [labels.mask]
    sums: Any = settings.metric(from_logits, step=step)([probs], [labels.classes], mask=masks)
    return Measured(_arrays(sums), _scores(*_structures(probs, labels, settings, from_logits)))


def measured_by_all(
    probs: torch.Tensor, raters: Sequence[Labels], settings: Settings, step: float | None = None
) -> list[Measured]:
    """The numbers of one case against the share of several raters, and then those against each.

    Args:
        probs: ``(C, *spatial)``, from `Probabilities`.
        raters: The labels of each, on the same grid.
        settings: The audit's settings, with the raters' names.
        step: As in `Probabilities`.

    Raises:
        InputError: If the metric refuses.
    """
    labels = torch.stack([one.classes for one in raters])
    counted = [_counted(one, probs.shape[1:]) for one in raters]
    masks = None if all(one.mask is None for one in raters) else [torch.stack(counted)]
    sums: list[Any] = [
        settings.metric(rater=rater, step=step)([probs], [labels], mask=masks)
        for rater in (None, *range(len(raters)))
    ]
    pairs = [_structures(probs, one, settings) for one in raters]
    by_all = reduce(torch.logical_and, counted)
    scores = [_shared_scores(probs, pairs, by_all, _voxel_ml(raters[0]), settings.channels)]
    scores += [_scores(*pair) for pair in pairs]
    return [Measured(_arrays(one), of) for one, of in zip(sums, scores, strict=True)]


def _counted(labels: Labels, shape: Sequence[int]) -> torch.Tensor:
    """The voxels that a rater has labeled."""
    return torch.ones(tuple(shape), dtype=torch.bool) if labels.mask is None else labels.mask


def _arrays(sums: Sequence[torch.Tensor]) -> list[npt.NDArray[Any]]:
    return [tensor.numpy() for tensor in sums]


def _scores(prediction: torch.Tensor, label: torch.Tensor) -> dict[str, npt.NDArray[Any]]:
    scores = {
        "dice": compute_dice(prediction, label, include_background=True),
        "hd95": hausdorff_distance(prediction, label),
    }
    return {name: values[0].double().numpy() for name, values in scores.items()}


def _shared_scores(
    probs: torch.Tensor,
    pairs: Sequence[tuple[torch.Tensor, torch.Tensor]],
    counted: torch.Tensor,
    voxel_ml: float,
    channels: Channels,
) -> dict[str, npt.NDArray[Any]]:
    """Dice where all raters agree, and volumes in ml with their CRPS; no distance follows from a share.

    Args:
        probs: ``(C, *spatial)``.
        pairs: Those of each rater, from `_structures`.
        counted: The voxels that all of them have labeled.
        voxel_ml: The volume of a voxel.
        channels: What the channels mean.
    """
    prediction = pairs[0][0] * counted
    raters = torch.stack([label * counted for _, label in pairs])
    inside = dequantized(probs[None])[0][0][:, counted]
    parts = [inside[list(of)].sum(dtype=torch.float64) for of in channels.structures.values()]
    volume = voxel_ml * torch.stack(parts)
    rated = voxel_ml * raters[:, 0].flatten(2).sum(-1, dtype=torch.float64).T
    scores = {
        "dice": agreed_dice(prediction, raters)[0].double(),
        "hd95": torch.full_like(volume, torch.nan),
        "crps": volume_crps(volume, rated),
        "volume": volume,
        "rated_volume": rated.mean(-1),
    }
    return {name: values.numpy() for name, values in scores.items()}


def _voxel_ml(labels: Labels) -> float:
    affine = np.eye(4) if labels.affine is None else labels.affine
    return float(abs(np.linalg.det(affine[:3, :3]))) / _MM3_PER_ML


def _structures(
    probs: torch.Tensor, labels: Labels, settings: Settings, from_logits: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """The masks of all structures, predicted and labeled, ``(1, S, *spatial)``."""
    channels = settings.channels
    if channels.overlapping:
        half = 0.0 if from_logits else 127.5 if probs.dtype == torch.uint8 else 0.5
        pair = ((probs > half).to(torch.uint8), labels.classes)
    else:
        maps = (probs.max(0).indices[None], labels.classes[None])
        pair = tuple(structure_masks(one, channels.structures) for one in maps)  # type: ignore[assignment]
    if labels.mask is not None:
        pair = (pair[0] * labels.mask, pair[1] * labels.mask)
    return pair[0][None], pair[1][None]
