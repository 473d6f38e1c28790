"""Which slices to correct: a fifth of each case's, by four orders."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from nacl_monai.evaluations.slices import confidence_of, doubt_near, doubtful_planes, thick_axis

Array = npt.NDArray[np.float64]
#: Doubt, the predicted area, chance, and the true number of errors.
ORDERS = ("doubt", "area", "chance", "errors")
CORRECTED, _DRAWS = 0.2, 20


def corrected(
    probs: torch.Tensor,
    label: torch.Tensor,
    structures: dict[str, list[int]],
    spacing: Sequence[float],
    drawn: np.random.Generator,
) -> list[float]:
    """The mean Dice of a case as it is, and once a fifth of its slices has its labels, by order.

    The slices are those with any doubt, at least one of which is corrected.

    Args:
        probs: ``(C, *spatial)``.
        label: ``(*spatial)``.
        structures: Name → classes.
        spacing: Size of a voxel in mm.
        drawn: What chance draws.
    """
    axis, predicted = thick_axis(spacing), probs.argmax(0)
    doubt = doubt_near(confidence_of(probs, False), predicted > 0, spacing).numpy()
    ranked = [k for k, _, _ in doubtful_planes(doubt, axis)]
    if not ranked:
        return [_dice(predicted, label, structures)] * (1 + len(ORDERS))
    number = max(1, round(CORRECTED * len(ranked)))
    area, errors = (
        part.movedim(axis, 0).flatten(1).sum(1)[ranked].numpy()
        for part in (predicted > 0, predicted != label)
    )
    by_order = {
        "doubt": [ranked],
        "area": [np.array(ranked)[np.argsort(-area, kind="stable")]],
        "chance": [drawn.permutation(ranked) for _ in range(_DRAWS)],
        "errors": [np.array(ranked)[np.argsort(-errors, kind="stable")]],
    }
    found = [_dice(predicted, label, structures)]
    for order in ORDERS:
        tried = []
        for planes in by_order[order]:
            mended = predicted.movedim(axis, 0).clone()
            first = torch.as_tensor(np.array(planes[:number]))
            mended[first] = label.movedim(axis, 0)[first]
            tried.append(_dice(mended.movedim(0, axis), label, structures))
        found.append(float(np.mean(tried)))
    return found


def _dice(predicted: torch.Tensor, label: torch.Tensor, structures: dict[str, list[int]]) -> float:
    """The mean over structures that the label has."""
    values = []
    for classes in structures.values():
        found, true = (torch.isin(part, torch.tensor(classes)) for part in (predicted, label))
        if true.any():
            values.append((2 * (found & true).sum() / (found.sum() + true.sum())).item())
    return float(np.mean(values))
