r"""Smooth ECE: a kernel in place of bins, as wide as the error is large.

With the confidence :math:`c_v` of each of :math:`N` voxels, and :math:`h_v` = 1 where it is predicted
rightly, the error at the width :math:`\sigma` is

.. math::

    \mathrm{smECE}_\sigma =
    \int_0^1 \Big| \frac{1}{N} \sum_v K_\sigma(t, c_v) (c_v - h_v) \Big| dt, \qquad
    K_\sigma(t, c) = \sum_k \varphi_\sigma(t - c - 2k) + \varphi_\sigma(t + c - 2k)

where :math:`K_\sigma` is the Gaussian :math:`\varphi_\sigma`, reflected at 0 and at 1. It falls as the
kernel widens, and smooth ECE is the one number for which

.. math::

    \mathrm{smECE} = \mathrm{smECE}_\sigma = \sigma.

No bins are to be chosen, and voxels that move a little change it a little, whereas a voxel that crosses
the edge of a bin may change ECE by any amount.

The residuals :math:`c - h` are a sum of cosine waves, whose images at both ends are those waves again.

References:
    Smooth ECE: Principled Reliability Diagrams via Kernel Smoothing (Błasiok and Nakkiran, 2023),
    https://arxiv.org/abs/2309.12236. Their package relplot 1.0.3 halves the width ten times, down to
    0.001, and gives what is exactly at an end of its grid no mirror image, so that it differs where
    confidences saturate; here the root is found to 1e-7, down to :data:`NARROWEST`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from scipy.fft import dct, idct
from scipy.integrate import trapezoid
from scipy.optimize import brentq

#: The narrowest kernel. A smaller error is known to this number only.
NARROWEST = 1e-4
_STEPS_PER_WIDTH = 32

Array = npt.NDArray[np.float64]


def smooth_ece(counts: torch.Tensor, excess: torch.Tensor, errors: torch.Tensor) -> torch.Tensor:
    """Smooth ECE of voxels in fine bins, each of which is at the mean confidence of its voxels.

    Args:
        counts: Voxels per fine bin, ``(..., M)``.
        excess: Sum of their confidences minus the number of hits, same shape.
        errors: Those whose predicted class is wrong, same shape.

    Returns:
        The error in [0, 1], ``(...)``, float64; NaN without voxels.

    Example:
        Always certain, and right in three of four voxels:

        >>> counts, errors = torch.tensor([4]), torch.tensor([1])
        >>> round(smooth_ece(counts, torch.tensor([1.0]), errors).item(), 6)
        0.25
    """
    shape = (math.prod(counts.shape[:-1]), counts.shape[-1])
    histograms = (sums.reshape(shape).cpu().double().numpy() for sums in (counts, excess, errors))
    values = [_of_histogram(*one) for one in zip(*histograms, strict=True)]
    return torch.tensor(values, dtype=torch.float64, device=counts.device).view(counts.shape[:-1])


def _of_histogram(counts: Array, excess: Array, errors: Array) -> float:
    filled = counts > 0
    if not filled.any():
        return math.nan
    counts, excess, errors = counts[filled], excess[filled], errors[filled]
    # A confidence is 1 + (its excess) where the prediction is right, and its excess where it is wrong.
    return _fixed_point(1 + (excess - errors) / counts, excess / counts.sum())


def _fixed_point(places: Array, residuals: Array) -> float:
    """The width that is equal to the error at this width.

    It is at least the size of the sum of the residuals, which no kernel changes, and at most the sum
    of their sizes, which smoothing can only lessen. From there the width is halved until the error is
    larger, since only narrow kernels need a fine grid.
    """
    lowest = max(abs(residuals.sum()), NARROWEST)
    width = np.abs(residuals).sum()
    if width <= lowest:
        return float(width)
    while width > lowest:
        narrower = max(width / 2, lowest)
        waves = _waves(places, residuals, 2 ** math.ceil(math.log2(_STEPS_PER_WIDTH / narrower)))
        surplus = _surplus(narrower, waves)
        if surplus > 0:  # on the coarser grid before, it was off by much less than a thousandth
            return float(brentq(_surplus, narrower, 1.001 * width, args=(waves,), xtol=1e-7))
        width = narrower
    return float(width + surplus)


def _waves(places: Array, residuals: Array, steps: int) -> Array:
    """The cosine waves that make up the residuals, on a grid of ``steps + 1`` points.

    A residual is shared between the two nearest points, so that its place is kept.
    """
    position = places.clip(0, 1) * steps
    left = np.minimum(position.astype(np.int64), steps - 1)
    share = position - left
    masses = np.bincount(left, residuals * (1 - share), steps + 1)
    masses += np.bincount(left + 1, residuals * share, steps + 1)
    masses[[0, -1]] *= 2  # the mirror images of the ends are on them
    return np.asarray(dct(masses, type=1))


def _surplus(width: float, waves: Array) -> float:
    """The error at a width, less the width. A reflected Gaussian damps each wave by itself."""
    steps = len(waves) - 1
    damping = np.exp(-((width * math.pi * np.arange(steps + 1)) ** 2) / 2)
    density = steps * idct(damping * waves, type=1)
    return float(trapezoid(np.abs(density), dx=1 / steps)) - width
