r"""Expected Dice: the overlap that a network promises, from its probabilities alone.

With the probability :math:`p_v` that voxel :math:`v` belongs to a structure, the sum over its classes,
and :math:`\hat y_v` = 1 where the most probable class is one of them:

.. math::

    \widehat{\mathrm{Dice}} = \frac{2 \sum_v p_v \hat y_v}{\sum_v p_v + \sum_v \hat y_v}

It is the ratio of the expectations of numerator and denominator of Dice, for labels that are drawn voxel
by voxel from :math:`p`. It needs no label, so that it can say of a new case how much its segmentation is
to be trusted. It is 0 where the structure is not predicted.

References:
    Soft Dice Confidence: A Near-Optimal Confidence Estimator for Selective Prediction in Semantic
    Segmentation (Borges et al., 2024), https://arxiv.org/abs/2402.10665
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from monai.metrics.metric import CumulativeIterationMetric

from nacl_monai.errors import InputError
from nacl_monai.metrics.gathering import GatheredTogether
from nacl_monai.metrics.inputs import Voxels, as_tensor, class_indices, dequantized, softmax
from nacl_monai.metrics.voxels import aligned
from nacl_monai.tensors import check_probabilities, is_label, without_metadata


def expected_dice(
    probs: Voxels,
    structures: Mapping[str, Sequence[int]],
    mask: Voxels | None = None,
    *,
    from_logits: bool = False,
) -> torch.Tensor:
    """The expected Dice of each case and structure.

    Args:
        probs: Probabilities after softmax, ``(B, C, *spatial)``; a single case, too, has a batch axis.
        structures: The classes of each structure, in the order of the result.
        mask: The voxels that count, ``(B, 1, *spatial)`` or ``(B, *spatial)``.
        from_logits: Whether logits are given in place of probabilities.

    Returns:
        Numbers in [0, 1], ``(B, len(structures))``, float64; NaN where the probability of a structure is
        0 in every voxel.

    Raises:
        InputError: If the input is not a probability, or a structure names a class that there is not.

    Example:
        >>> probs = torch.tensor([[[0.1, 0.4, 0.9], [0.9, 0.6, 0.1]]])  # two voxels are predicted
        >>> round(expected_dice(probs, {"LV": [1]}).item(), 6)  # 2 · 1.5 / (1.6 + 2)
        0.833333
    """
    probs = without_metadata(as_tensor(probs).detach())
    probs, tolerance = dequantized(softmax(probs) if from_logits else probs)
    check_probabilities(probs, tolerance)
    _check_classes(structures, probs.shape[1])
    predicted = probs.max(1).indices
    if mask is not None:  # what does not count is neither probable nor predicted
        counted = aligned("mask", mask, probs).bool()
        probs, predicted = probs * counted.unsqueeze(1), predicted.where(counted, -1)
    return torch.stack([_of_classes(probs, predicted, list(c)) for c in structures.values()], dim=1)


def _check_classes(structures: Mapping[str, Sequence[int]], number: int) -> None:
    for name, classes in structures.items():
        if not classes or not set(classes) <= {*range(number)}:
            raise InputError(
                f"structures: {name} is of the classes {list(classes)}; choose from 0 to {number - 1}"
            )


def _of_classes(
    probs: torch.Tensor, predicted: torch.Tensor, classes: Sequence[int]
) -> torch.Tensor:
    """The expected Dice of one structure, ``(B,)``."""
    exact = torch.promote_types(probs.dtype, torch.float32)
    structure = probs[:, classes].sum(1, dtype=exact).flatten(1)
    # For the few classes of a structure many times as fast as `isin`.
    chosen = reduce(torch.logical_or, (predicted == index for index in classes)).flatten(1)
    promised = structure.where(chosen, 0).sum(1, dtype=torch.float64)
    return 2 * promised / (structure.sum(1, dtype=torch.float64) + chosen.sum(1))


class ExpectedDiceMetric(GatheredTogether, CumulativeIterationMetric):
    """`expected_dice` of every case as a MONAI metric; only the ignored voxels of the labels matter.

    Args:
        structures: The classes of each structure.
        ignore_index: Voxels with this label do not count.
        from_logits: Whether logits are given in place of probabilities.

    Example:
        >>> metric = ExpectedDiceMetric({"LV": [1]})
        >>> _ = metric(torch.tensor([[[0.1, 0.4, 0.9], [0.9, 0.6, 0.1]]]))
        >>> round(metric.aggregate().item(), 6)
        0.833333
    """

    def __init__(
        self,
        structures: Mapping[str, Sequence[int]],
        ignore_index: int | None = None,
        from_logits: bool = False,
    ) -> None:
        super().__init__()
        self.structures = structures
        self.ignore_index = ignore_index
        self.from_logits = from_logits

    def _compute_tensor(
        self,
        y_pred: torch.Tensor,
        y: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        **_: Any,
    ) -> torch.Tensor:
        if y is not None and self.ignore_index is not None:
            indices = aligned("labels", class_indices(y, y_pred, self.ignore_index), y_pred)
            labeled = ~is_label(indices, self.ignore_index)
            mask = labeled if mask is None else labeled & aligned("mask", mask, y_pred).bool()
        return expected_dice(y_pred, self.structures, mask, from_logits=self.from_logits)

    def aggregate(self) -> torch.Tensor:
        """The mean over cases and structures, 0-d; NaN is left out."""
        buffer: Any = self.get_buffer()  # type: ignore[no-untyped-call]
        if buffer is None:
            raise InputError("expected Dice: has seen no case; call it before asking for numbers")
        return torch.as_tensor(buffer).nanmean()
