r"""Decisions by probabilities: a contour, a volume and a triage, and how far each is off.

With the probability :math:`p_v` that voxel :math:`v` belongs to a structure, the sum over its classes,
and :math:`\hat y_v` = 1 where it is predicted, all sums go over the voxels near the predicted structure,
those within a margin of it (`nacl_monai.metrics.regions`). None of these needs a label:

.. math::

    t = \max \Bigl\{t' : \sum_{p_v < t'} p_v \le \alpha \sum_v p_v\Bigr\} \qquad
    \text{contour} = \{v : p_v \ge t\}

.. math::

    \text{expected volume} = \sum_v p_v \qquad
    \text{expected Dice} = \frac{2 \sum_v p_v \hat y_v}{\sum_v p_v + \sum_v \hat y_v}

The contour is the smallest set of the form :math:`p \ge t` that is expected to miss at most a share
:math:`\alpha` of the structure. The label then tells what it really misses, and how far the other two
are off. Without a margin a floor of probability over a large background would decide all of them.

The threshold is exact, since the few voxels near a structure are sorted; a histogram would only be
close. A structure that is not predicted has no contour, and is counted. One that is predicted where the
label has none is in every sum, since only the label knows of it; it has no ratio to its own volume.

References:
    Soft Dice Confidence: A Near-Optimal Confidence Estimator for Selective Prediction in Semantic
    Segmentation (Borges et al., 2024), https://arxiv.org/abs/2402.10665, for the expected Dice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from nacl_monai.errors import InputError, SettingError
from nacl_monai.inference.distances import ROUNDED
from nacl_monai.inference.promised import dice_of
from nacl_monai.inference.records import MARGIN
from nacl_monai.metrics.bins import VoxelSums
from nacl_monai.metrics.pooled import RESAMPLES, Pooled, pooled_ratio
from nacl_monai.metrics.raters import masks_of_raters, of_raters
from nacl_monai.metrics.regions import Spacing, case_spacings, distances_to, within
from nacl_monai.metrics.structures import Box, class_boxes
from nacl_monai.metrics.voxels import (
    LabeledVoxels,
    Voxels,
    as_floats,
    as_tensor,
    binary_problems,
    checked_voxels,
    of_classes,
)
from nacl_monai.tensors import Floats

#: What follows from the volumes of a single case.
CASE_NUMBERS = (
    *("contour_misses", "contour_size", "expected_volume_bias", "expected_dice", "surprise"),
)
#: The share of a structure that its contour is expected to miss.
MISS = 0.05
#: The share of the cases that someone looks at, and that of the cases that are to be found among them.
LOOKED, _WORST = 0.2, 0.1
#: Fewer cases have no order worth a number.
_FEWEST = 3


@dataclass(frozen=True)
class Decisions(VoxelSums):
    """Volumes of structures, with any leading axes (cases, structures), float64.

    They are in the unit of the spacing, such as mm³, or in voxels. Against several raters those that
    depend on the label are means over the raters.

    Attributes:
        predicted: What is predicted.
        labeled: What is labeled, wherever it is.
        overlap: What is both.
        expected: The expected volume near the prediction.
        expected_overlap: The expected volume of the structure in what is predicted.
        contour: What the contour holds.
        missed: What is labeled outside the contour.
        expected_everywhere: The expected volume, however far from the prediction: a floor of probability
            over the background is the rest of it.
    """

    predicted: torch.Tensor
    labeled: torch.Tensor
    overlap: torch.Tensor
    expected: torch.Tensor
    expected_overlap: torch.Tensor
    contour: torch.Tensor
    missed: torch.Tensor
    expected_everywhere: torch.Tensor

    def case_numbers(self) -> dict[str, torch.Tensor]:
        """The numbers that a case has by itself, by name, each ``(...)``."""
        return {name: getattr(self, name)() for name in CASE_NUMBERS}

    def contour_misses(self) -> torch.Tensor:
        """The share of the structure that the contour really misses, ``(...)``."""
        return self._of_label(self.missed)

    def contour_size(self) -> torch.Tensor:
        """The contour's volume in volumes of the structure, ``(...)``."""
        return self._of_label(self.contour)

    def expected_volume_bias(self) -> torch.Tensor:
        """The expected volume minus the structure's, as a share of the latter, ``(...)``."""
        return self._of_label(self.expected - self.labeled)

    def expected_dice(self) -> torch.Tensor:
        """The Dice that the probabilities expect, ``(...)``."""
        return self._defined(dice_of(self.expected_overlap, self.predicted, self.expected))

    def dice(self) -> torch.Tensor:
        """The true Dice, ``(...)``; 0 where the label has no such structure."""
        return self._defined(dice_of(self.overlap, self.predicted, self.labeled))

    def surprise(self) -> torch.Tensor:
        """By how much a label contradicts the probabilities, ``(...)``, from 0 to 1.

        ``max(expected − true Dice, |E − L| ÷ (E + L))``, of the expected volume E and the label's L,
        which alone takes so much from a Dice of 1. Where nothing is predicted, whether L is above 0.
        """
        of_volume = (self.expected - self.labeled).abs() / (self.expected + self.labeled)
        larger = torch.maximum(self.expected_dice() - self.dice(), of_volume)
        return larger.where(self.predicted > 0, (self.labeled > 0).to(larger))

    def _of_label(self, volume: torch.Tensor) -> torch.Tensor:
        """A volume in those of the structure; NaN where it is not predicted, or not labeled."""
        return self._defined(volume / self.labeled).where(self.labeled > 0, torch.nan)

    def _defined(self, values: torch.Tensor) -> torch.Tensor:
        """NaN where the structure is not predicted."""
        return values.where(self.predicted > 0, torch.nan)


def contour_threshold(probs: torch.Tensor, miss: float = MISS) -> float:
    r"""The largest :math:`t` for which :math:`p \ge t` is expected to miss at most so much.

    Args:
        probs: Probabilities of a structure near its prediction, ``(n,)``, in any order.
        miss: The share α of the structure, from 0 to below 1.

    Returns:
        One of the probabilities; NaN if there is none.

    Raises:
        SettingError: If ``miss`` is not in [0, 1).

    Example:
        Of 2 voxels that are expected, the last two hold 0.1, which is 5 %:

        >>> contour_threshold(torch.tensor([1.0, 0.9, 0.06, 0.04]))
        0.8999999761581421
    """
    if not 0 <= miss < 1:
        raise SettingError(f"miss: is {miss}; use a number from 0 to below 1")
    if not len(probs):
        return math.nan
    # NumPy's sort keeps no places beside the values, which are twice as large.
    on_cpu = probs.device.type == "cpu" and probs.dtype.itemsize >= 4
    ascending = torch.from_numpy(np.sort(probs.numpy())) if on_cpu else probs.sort().values
    outside = ascending.cumsum(0, dtype=torch.float64)
    # What is rounded must not decide where exactly this share may be missed.
    first = int((outside <= miss * (1 + 1e-12) * outside[-1]).sum())
    return ascending[min(first, len(ascending) - 1)].item()


def structure_decisions(
    probs: Voxels,
    labels: Voxels,
    structures: Mapping[str, Sequence[int]] | Sequence[str],
    *,
    margin: float = MARGIN,
    spacing: Spacing | Sequence[Spacing] | None = None,
    miss: float = MISS,
    mask: Voxels | None = None,
    ignore_index: int | None = None,
    from_logits: bool = False,
    num_raters: int = 1,
    step: float | None = None,
) -> Decisions:
    """The volumes that a contour, a volume and a Dice follow from, of each case and structure.

    Args:
        probs: Probabilities after softmax, ``(B, C, *spatial)``, or logits; where structures are names,
            after a sigmoid for each, ``(B, structures, *spatial)``.
        labels: Class indices, ``(B, 1, *spatial)`` or ``(B, *spatial)``; where structures are names, a
            mask of 0 and 1 for each, shaped like ``probs``. Several raters are the second axis.
        structures: The classes of each structure, in the order of the result; or the names of structures
            that may overlap.
        margin: How far from the predicted structure voxels count, in the unit of ``spacing``.
        spacing: Size of a voxel along each axis, one for all cases or one per case; None counts voxels.
        miss: The share of the structure that the contour is expected to miss.
        mask: The voxels that count, as `nacl_monai.metrics.CalibrationMetric` takes them.
        ignore_index: Voxels with this label do not count; for overlapping structures, in any mask.
        from_logits: Whether logits are given in place of probabilities.
        num_raters: The number of raters.
        step: The step between stored probabilities, where the dtype does not say.

    Returns:
        Volumes ``(B, structures)``.

    Raises:
        InputError: If the input is not a probability or not a label, if the shapes disagree, or if a
            structure names a class that there is not.
        SettingError: If ``miss`` is not in [0, 1).

    Example:
        >>> probs = torch.tensor([[[0.0, 0.1, 0.6, 0.95], [1.0, 0.9, 0.4, 0.05]]])
        >>> volumes = structure_decisions(probs, torch.tensor([[1, 1, 1, 0]]), {"LV": [1]})
        >>> volumes.contour.item(), volumes.missed.item(), round(volumes.expected.item(), 4)
        (3.0, 0.0, 2.35)
        >>> round(volumes.dice().item(), 3), round(volumes.expected_dice().item(), 3)
        (0.8, 0.874)
    """
    voxels = as_tensor(probs)
    of_each = zip(
        of_raters(as_tensor(labels), num_raters),
        masks_of_raters(as_tensor(mask), voxels.ndim, num_raters),
        strict=True,
    )
    if isinstance(structures, Mapping):
        raters = [
            [checked_voxels(voxels, label, counted, ignore_index, from_logits, step)]
            for label, counted in of_each
        ]
        problems = [structures]
    else:
        voxels = voxels.float().sigmoid() if from_logits else voxels
        raters = [
            list(binary_problems(voxels, masks, structures, counted, ignore_index, step))
            for masks, counted in of_each
        ]
        problems = [{name: [1]} for name in structures]
    read = raters[0][0].labels
    sizes = case_spacings(spacing, len(read), read.ndim - 1)
    parts = [
        problem_decisions(by_raters, classes, sizes, margin, miss)[0]
        for by_raters, classes in zip(zip(*raters, strict=True), problems, strict=True)
    ]
    return Decisions(
        *(torch.cat(same, 1) for same in zip(*(p.tensors() for p in parts), strict=True))
    )


def expected_dice(
    probs: Voxels,
    structures: Mapping[str, Sequence[int]],
    mask: Voxels | None = None,
    *,
    margin: float = MARGIN,
    spacing: Spacing | Sequence[Spacing] | None = None,
    from_logits: bool = False,
) -> torch.Tensor:
    """The expected Dice of each case and structure, for which nobody needs a label.

    Args:
        probs: Probabilities after softmax, ``(B, C, *spatial)``; a single case, too, has a batch axis.
        structures: The classes of each structure, in the order of the result.
        mask: The voxels that count, ``(B, 1, *spatial)`` or ``(B, *spatial)``.
        margin: As in `structure_decisions`.
        spacing: As there.
        from_logits: Whether logits are given in place of probabilities.

    Returns:
        Numbers in [0, 1], ``(B, len(structures))``, float64; NaN where a structure is not predicted.

    Raises:
        InputError: If the input is not a probability, or a structure names a class that there is not.

    Example:
        >>> probs = torch.tensor([[[0.1, 0.4, 0.9], [0.9, 0.6, 0.1]]])  # two voxels are predicted
        >>> round(expected_dice(probs, {"LV": [1]}).item(), 6)  # 2 · 1.5 / (1.6 + 2)
        0.833333
    """
    nowhere = torch.zeros(as_tensor(probs)[:, 0].shape, dtype=torch.long)
    how: dict[str, Any] = {"margin": margin, "spacing": spacing, "mask": mask}
    found = structure_decisions(probs, nowhere, structures, from_logits=from_logits, **how)
    return found.expected_dice()


def problem_decisions(
    raters: Sequence[LabeledVoxels],
    structures: Mapping[str, Sequence[int]],
    sizes: Sequence[Spacing],
    margin: float,
    miss: float = MISS,
) -> tuple[Decisions, torch.Tensor]:
    """`structure_decisions` of checked voxels, and what is near any of these predicted structures.

    Args:
        raters: The same probabilities with the labels of each rater.
        structures: The classes of each structure.
        sizes: The size of a voxel in each case.
        margin: As there.
        miss: As there.

    Returns:
        The volumes, and voxels ``(B, *spatial)``, boolean. Those are the region "near" where the
        structures are all of the foreground, whose distance is the smallest of theirs.

    Raises:
        InputError: If a structure names a class that there is not.
    """
    number, prediction = raters[0].probs.shape[1], raters[0].prediction
    for name, classes in structures.items():
        if not classes or not set(classes) <= {*range(number)}:
            raise InputError(
                f"structures: {name} is of the classes {list(classes)}; choose from 0 to {number - 1}"
            )
    near_any = torch.zeros_like(prediction, dtype=torch.bool)
    tables = []
    for case, size in enumerate(sizes):
        indices, counts = prediction[case], _counted(raters, case)
        labeled = _labeled(raters, case, counts, number)
        boxes = class_boxes(indices.cpu().numpy(), structures.values())
        for classes, box in zip(map(list, structures.values()), boxes, strict=True):
            near = None
            if box is not None:
                box = _grown(box, margin, size)  # noqa: PLW2901
                inside = of_classes(indices[box], classes)
                near = within(distances_to(inside[None], margin, [size]), margin)[0]
                near_any[case][box] |= near
            volumes = _volumes(raters, classes, case, counts, box, near, miss, labeled)
            tables.append([volume * math.prod(size) for volume in volumes])
    table = torch.tensor(tables, dtype=torch.float64).reshape(len(sizes), len(structures), -1)
    return Decisions(*table.unbind(-1)), near_any


def _grown(box: Box, margin: float, size: Spacing) -> Box:
    """A box with what is within a margin of it."""
    reach = (int(margin * ROUNDED / step) + 1 for step in size)
    return tuple(
        slice(max(0, part.start - more), part.stop + more)
        for part, more in zip(box, reach, strict=True)
    )


def _volumes(
    raters: Sequence[LabeledVoxels],
    classes: list[int],
    case: int,
    counts: torch.Tensor | None,
    box: Box | None,
    near: torch.Tensor | None,
    miss: float,
    labeled_voxels: Floats,
) -> tuple[float, ...]:
    """The attributes of `Decisions` of one structure in one case, in voxels."""
    first = raters[0]
    exact = torch.promote_types(first.probs.dtype, torch.float32)
    probs = as_floats(first.probs[case, classes[0]]).to(exact).contiguous()
    if len(classes) > 1:
        probs = as_floats(first.probs[case, classes]).sum(0, dtype=exact)
    everywhere = (probs if counts is None else probs.where(counts, 0)).sum(dtype=torch.float64)
    all_labeled = float(labeled_voxels[classes].sum()) / len(raters)
    nothing = (0.0, all_labeled, 0.0, 0.0, 0.0, 0.0, all_labeled, everywhere.item())
    if box is None or near is None:
        return nothing
    # As a line, for of each voxel that a mask takes torch keeps its place along each axis.
    probs, near = probs[box].flatten(), near.flatten()
    predicted = of_classes(first.prediction[case][box], classes).flatten()
    labels = [of_classes(rater.labels[case][box], classes).flatten() for rater in raters]
    if counts is not None:
        counts = counts[box].flatten()
        labels = [label & counts for label in labels]
        near, predicted = near & counts, predicted & counts
    if not predicted.any():
        return nothing
    labeled = _share(labels)
    contour = near & (probs >= contour_threshold(probs[near], miss))
    sums = (
        *(predicted.sum(), labeled[predicted].sum(), probs[near].sum(dtype=torch.float64)),
        *(probs[predicted].sum(dtype=torch.float64), contour.sum(), labeled[contour].sum()),
    )
    # Together, as each would wait for a GPU.
    volume, hit, *masses, of_contour, caught = torch.stack([x.double() for x in sums]).tolist()
    missed = all_labeled - caught
    return (volume, all_labeled, hit, *masses, of_contour, missed, everywhere.item())


def _share(masks: Sequence[torch.Tensor]) -> torch.Tensor:
    """The share of the masks that hold each voxel; of a single one itself, which takes a byte."""
    return masks[0] if len(masks) == 1 else torch.stack([*masks]).double().mean(0)


def _labeled(
    raters: Sequence[LabeledVoxels], case: int, counts: torch.Tensor | None, number: int
) -> Floats:
    """How many voxels that count have each label, a sum over raters."""
    total = np.zeros(number)
    for rater in raters:
        labels = rater.labels[case] if counts is None else rater.labels[case][counts]
        shown = labels.cpu().numpy()
        found = shown[shown != 0].astype(np.intp)  # few
        total += np.bincount(found, minlength=number)
        total[0] += shown.size - found.size
    return total


def _counted(raters: Sequence[LabeledVoxels], case: int) -> torch.Tensor | None:
    """The voxels without an ignored label of any rater; None if no rater ignores any."""
    masks = [rater.counted[case] for rater in raters if rater.counted is not None]
    return reduce(torch.logical_and, masks) if masks else None


@dataclass(frozen=True)
class DecisionNumbers:
    """How far the decisions on one structure are off, over all cases; see `decision_numbers`.

    Attributes:
        contour_misses: The share of the structure that its contours really miss, in all cases together.
        contour_size: Their volume in volumes of the structure.
        expected_volume_bias: The expected volume minus the structure's, as a share of the latter.
        expected_volume_error: How far the expected volume is off on average, in the same share.
        expected_beyond: The share of the expected volume beyond the margin, where no contour reaches.
        expected_dice_bias: Expected minus true Dice, the mean over cases.
        expected_dice_error: How far the expected Dice is off on average.
        rank_correlation: Spearman's, of expected and true Dice over patients.
        worst_found: The share of the worst patients among those that someone looks at.
        unpredicted: In how many cases the structure is not predicted. They have no contour, and are left
            out of all numbers.
        unlabeled: In how many of the others the label has no such structure.
    """

    contour_misses: Pooled
    contour_size: Pooled
    expected_volume_bias: Pooled
    expected_volume_error: Pooled
    expected_beyond: Pooled
    expected_dice_bias: Pooled
    expected_dice_error: Pooled
    rank_correlation: float
    worst_found: float
    unpredicted: int
    unlabeled: int

    def pooled(self) -> dict[str, Pooled]:
        """All but the counts by name; the order of patients has no interval."""
        of_dice = self.expected_dice_error
        return {
            name: number
            if isinstance(number, Pooled)
            else replace(of_dice, value=number, raw=number, low=math.nan, high=math.nan)
            for name, number in vars(self).items()
            if name not in ("unpredicted", "unlabeled")
        }


def decision_numbers(
    decisions: Decisions,
    patients: Sequence[str] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> DecisionNumbers:
    """How far the decisions on one structure are off, with intervals by resampling patients.

    The first three are ratios of sums over cases, which true probabilities have right on average; a mean
    of each case's own ratio is bent where a case with a small structure weighs as much as any.

    Args:
        decisions: Of one structure, ``(cases,)``, such as ``volumes[:, 0]``; of ``(cases, structures)``
            each number is the mean over structures, and a case's Dice is, too.
        patients: Whose each case is; each case its own patient by default.
        resamples: How often patients are drawn.
        seed: The seed of the draws.

    Raises:
        InputError: If there is not one patient for each case.

    Example:
        >>> probs = torch.tensor([[[0.4, 0.1], [0.6, 0.9]], [[0.2, 1.0], [0.8, 0.0]]])
        >>> volumes = structure_decisions(probs, torch.tensor([[1, 1], [1, 0]]), {"LV": [1]})
        >>> numbers = decision_numbers(volumes[:, 0])
        >>> round(numbers.expected_volume_bias.value, 4), round(numbers.expected_dice_error.value, 4)
        (-0.2333, 0.127)
    """
    volumes = decisions if decisions.predicted.ndim > 1 else decisions[:, None]
    predicted = (volumes.predicted > 0).cpu()
    owners = np.arange(len(predicted)) if patients is None else np.asarray(patients)
    if len(owners) != len(predicted):
        raise InputError(
            f"patients: are {len(owners)} names for {len(predicted)} cases; give one for each"
        )

    def ratio(numerators: torch.Tensor, denominators: torch.Tensor) -> Pooled:
        above, below = (
            part.cpu().where(predicted, 0).numpy() for part in (numerators, denominators)
        )
        return pooled_ratio(above, below, list(owners), resamples=resamples, seed=seed)

    labeled, everywhere = volumes.labeled, volumes.expected_everywhere
    ones = torch.ones_like(labeled)
    known = (labeled > 0).double()
    expected, true = volumes.expected_dice(), volumes.dice()
    anywhere = predicted.any(1).numpy()
    of_patients, true_of_patients = (
        _means(dice.nanmean(1).cpu().numpy()[anywhere], owners[anywhere])
        for dice in (expected, true)
    )
    return DecisionNumbers(
        contour_misses=ratio(volumes.missed, labeled),
        contour_size=ratio(volumes.contour, labeled),
        expected_volume_bias=ratio(volumes.expected - labeled, labeled),
        expected_volume_error=ratio(volumes.expected_volume_bias().abs().nan_to_num(0), known),
        expected_beyond=ratio(everywhere - volumes.expected, everywhere),
        expected_dice_bias=ratio(expected - true, ones),
        expected_dice_error=ratio((expected - true).abs(), ones),
        rank_correlation=rank_correlation(of_patients, true_of_patients),
        worst_found=worst_found(of_patients, true_of_patients),
        unpredicted=int((~predicted).sum()),
        unlabeled=int((predicted & (known == 0).cpu()).sum()),
    )


def _means(values: Floats, owners: npt.NDArray[np.generic]) -> Floats:
    """The mean of each patient, in the order of their names."""
    names, owner = np.unique(owners, return_inverse=True)
    sums: Floats = np.bincount(owner, values, len(names)) / np.bincount(owner, minlength=len(names))
    return sums


def rank_correlation(expected: npt.ArrayLike, true: npt.ArrayLike) -> float:
    """Spearman's rank correlation of what is expected and what is true.

    Args:
        expected: One number per case, ``(cases,)``.
        true: The same.

    Returns:
        From −1 to 1; NaN with fewer than three cases, or where all are alike in either.

    Example:
        >>> rank_correlation([0.8, 0.9, 0.95], [0.5, 0.7, 0.9])
        1.0
    """
    first, second = (pd.Series(np.asarray(values)).rank().to_numpy() for values in (expected, true))
    if len(first) < _FEWEST or np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(np.corrcoef(first, second)[0, 1].round(12))


def worst_found(
    expected: npt.ArrayLike, true: npt.ArrayLike, looked: float = LOOKED, worst: float = _WORST
) -> float:
    """The share of the worst cases that are found by looking at those of which the least is expected.

    Both shares are rounded up to whole cases. Cases alike are taken in part: of two of which one is
    looked at, each is looked at by half. By chance the share is that of the cases looked at.

    Args:
        expected: One number per case, ``(cases,)``, low where the case should be looked at.
        true: The same, low where the case is bad.
        looked: The share of the cases that are looked at.
        worst: The share of the cases that are to be found.

    Returns:
        From 0 to 1; NaN without a case.

    Raises:
        SettingError: If a share is not above 0 and at most 1.

    Example:
        >>> true = [0.1, 0.2, 0.7, 0.7, 0.8, 0.8, 0.8, 0.9, 0.9, 0.9]
        >>> worst_found([0.6, 0.9, 0.5, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9], true)
        1.0
    """
    for name, share in (("looked", looked), ("worst", worst)):
        if not 0 < share <= 1:
            raise SettingError(f"{name}: is {share}; use a share above 0, up to 1")
    first = _lowest(np.asarray(expected, dtype=np.float64), looked)
    bad = _lowest(np.asarray(true, dtype=np.float64), worst)
    return float(first @ bad / bad.sum()) if len(bad) else math.nan


def _lowest(values: Floats, share: float) -> Floats:
    """How much of each value is among the lowest: 1, 0, or a part where values alike share the rest."""
    number = math.ceil(round(share * len(values), 9))
    if not number:
        return np.zeros(len(values))
    last = np.sort(values)[number - 1]
    below, alike = values < last, values == last
    parts: Floats = below + alike * (number - below.sum()) / alike.sum()
    return parts
