"""Scales and biases of classes: the NLL is convex in both, and they are fitted by its exact gradient."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize

from nacl_monai.errors import InputError
from nacl_monai.posthoc.region_logits import Voxels
from nacl_monai.posthoc.temperature import LARGEST, SMALLEST, fit_temperature

# Tolerances of the NLL and of its largest slope, both as shares of the NLL at the start.
_TOLERANCES = {"ftol": 1e-12, "gtol": 1e-7, "maxiter": 500, "maxfun": 1000}


def along_classes(values: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """One value per class in the shape (C, 1, ...) and the dtype of logits (B, C, ...)."""
    return values.to(logits.dtype).reshape([-1] + [1] * (logits.dim() - 2))


def known_values(
    name: str, values: Sequence[float], count: int, *, positive: bool = False
) -> torch.Tensor:
    """The parameters of a calibrator, one per class.

    Raises:
        InputError: If there are not as many, or if one is not finite or, where it must be, positive.
    """
    wanted = "finite numbers above 0" if positive else "finite numbers"
    known = all(math.isfinite(value) and (value > 0 or not positive) for value in values)
    if not (known and len(values) == count and count):
        raise InputError(f"{name}: are {list(values)}; choose {wanted}, one for each class")
    return torch.tensor(list(values), dtype=torch.float32)


def fit_affine(voxels: Iterable[Voxels], largest_bias: float) -> tuple[list[float], list[float]]:
    r"""The scales and biases of the smallest mean NLL of :math:`\mathrm{softmax}(s \odot l + b)`.

    The fit begins at the best single temperature, so that it is never worse. A common bias changes no
    probability; those that are returned have mean 0, or are bounded.

    Args:
        voxels: Read at every step.
        largest_bias: The bound of each absolute bias; 0 for none.

    Raises:
        InputError: If no temperature fits.
    """
    temperature = fit_temperature(voxels).temperature.item()
    classes = next(iter(voxels)).logits.shape[1]
    start = np.concatenate([np.full(classes, 1 / temperature), np.zeros(classes)])
    # Where few voxels are in doubt, the mean over all is small, and its slopes as well.
    unit = _nll(voxels, start)[0] or 1.0
    bounds = [(1 / LARGEST, 1 / SMALLEST)] * classes + [(-largest_bias, largest_bias)] * classes
    found: Any = minimize(
        lambda theta: tuple(part / unit for part in _nll(voxels, theta)),
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options=_TOLERANCES,
    )
    scales, biases = np.split(found.x, 2)
    return scales.tolist(), biases.tolist()


def _nll(
    voxels: Iterable[Voxels], theta: npt.NDArray[np.float64]
) -> tuple[float, npt.NDArray[np.float64]]:
    """The mean NLL, and its slopes in scales and biases."""
    scales, biases = torch.from_numpy(theta)[:, None].chunk(2)
    total, patients = 0.0, 0.0
    slopes = torch.zeros(2, len(scales), dtype=torch.float64)
    for volume in voxels:
        patients += volume.weight * len(volume.labels)
        for logits, labels in volume.blocks():
            logs = torch.log_softmax(logits * scales + biases, 0)
            total -= volume.weight * logs.gather(0, labels[None]).sum().item()
            surplus = logs.exp()
            surplus[labels, torch.arange(len(labels))] -= 1
            slopes += volume.weight * torch.stack([(surplus * logits).sum(1), surplus.sum(1)])
    return total / patients, (slopes / patients).flatten().numpy()
