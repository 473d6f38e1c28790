r"""Priors: how one rater's mask becomes a probability of what another rater says.

Let the border of another rater be :math:`\delta` mm away from that of this one, with a standard
deviation :math:`w` over patients and places. Across a straight border, at the signed distance :math:`d`
inside,

.. math::

    P(\text{other marks it} \mid d) = P(\delta < d) = F(d / w)

A blur by a Gaussian of :math:`\sigma = w` is this probability for :math:`\delta` normal, a mean over a
window for :math:`\delta` uniform, and a logistic function of :math:`d` for :math:`\delta` logistic. So
that their widths compare, the width of each is the standard deviation of that :math:`\delta`, in mm.
SVLS gives half the weight to a voxel's own label, so that no probability crosses one half smoothly: half
of all borders would be exactly where this rater's is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit

from nacl_monai.errors import SettingError
from nacl_monai.losses.neighborhood import member_proportions, unresolved_window, window_of_width
from nacl_monai.raters.masks import Planes

Probs = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Prior:
    """A prior of some width.

    Attributes:
        family: What it is called but for its width.
        label: What a table calls it.
        width: In mm, the standard deviation of the distance between borders; NaN where it has none of
            its own.
        soften: From planes ``(n, *spatial)`` to the probability of another rater's answer in each voxel.
    """

    family: str
    label: str
    width: float
    soften: Callable[[Planes], Probs]


def hard() -> Prior:
    """The mask itself: what cross-entropy holds a network to."""
    return Prior("hard", "hard labels", math.nan, lambda planes: planes.masks.astype(np.float32))


def svls(sigma: float = 1.0, kernel_size: int = 3) -> Prior:
    """The labels of SVLS, in voxels."""
    return Prior(
        "svls",
        f"SVLS {_window(kernel_size)}, σ {sigma:g}",
        math.nan,
        lambda planes: _proportions(planes, "gaussian", [kernel_size] * _axes(planes), sigma),
    )


def window(kernel_size: int = 3) -> Prior:
    """The paper's prior, the mean over a window of so many voxels."""
    return Prior(
        "window",
        f"NACL {_window(kernel_size)}",
        math.nan,
        lambda planes: _proportions(planes, "mean", [kernel_size] * _axes(planes)),
    )


def gaussian(sigma: float = 1.0) -> Prior:
    """A blur by a Gaussian, in voxels."""
    size = window_of_width("blur", sigma, (1.0,))[0]
    return Prior(
        "gaussian",
        f"Gaussian, σ {sigma:g}",
        math.nan,
        lambda planes: _proportions(planes, "blur", size * _axes(planes), sigma),
    )


def mean(width: float) -> Prior:
    """The mean over the window, odd along each axis, whose width is nearest."""
    return Prior(
        "mean", f"mean, {width:.2f} mm", width, lambda planes: _of_width(planes, "mean", width)
    )


def blur(width: float) -> Prior:
    """A blur by a Gaussian.

    Example:
        >>> mask = np.zeros((1, 9, 9), bool)
        >>> mask[:, :, 5:] = True
        >>> planes = Planes(mask, mask.astype(int), (0.5, 0.5))
        >>> [f"{p:.2f}" for p in blur(0.5).soften(planes)[0, 4, 3:7]]
        ['0.06', '0.30', '0.70', '0.94']
    """
    return Prior(
        "blur", f"blur, {width:.2f} mm", width, lambda planes: _of_width(planes, "blur", width)
    )


def logistic(width: float) -> Prior:
    """A logistic function of the distance to the rater's border, however it bends."""
    scale = width * math.sqrt(3) / math.pi
    return Prior(
        "distance",
        f"distance, {width:.2f} mm",
        width,
        lambda planes: expit(planes.distances / scale),
    )


def bilateral(width: float, intensity_sigma: float = 0.1) -> Prior:
    """A Gaussian of the distance times one of the difference of intensities; needs an image.

    Raises:
        SettingError: When it is used without.
    """

    def soften(planes: Planes) -> Probs:
        if planes.image is None:
            raise SettingError("bilateral: needs images; give them, or leave this prior out")
        return _of_width(planes, "bilateral", width, intensity_sigma)

    return Prior("bilateral", f"bilateral, {width:.2f} mm", width, soften)


#: The families that a width is fitted to, by name.
FAMILIES: dict[str, Callable[[float], Prior]] = {"blur": blur, "distance": logistic, "mean": mean}


def _axes(planes: Planes) -> int:
    return len(planes.spacing)


def _window(kernel_size: int) -> str:
    return f"{kernel_size}×{kernel_size}"


def _of_width(planes: Planes, prior: str, width: float, intensity_sigma: float = 0.1) -> Probs:
    sizes, sigma = unresolved_window(prior, width, planes.spacing)
    if max(sizes) == 1:  # narrower than a voxel: the mask itself
        return planes.masks.astype(np.float32)
    return _proportions(planes, prior, sizes, sigma, intensity_sigma)


def _proportions(
    planes: Planes,
    prior: str,
    kernel_size: list[int],
    sigma: list[float] | float = 1.0,
    intensity_sigma: float = 0.1,
) -> Probs:
    """What the losses compute; outside a box is what is at its border."""
    inside = torch.from_numpy(planes.masks)
    members = torch.stack([~inside, inside], 1)
    image = None if planes.image is None else torch.from_numpy(planes.image)[:, None].float()
    shares = member_proportions(
        members, kernel_size, prior, sigma, "replicate", image, intensity_sigma
    )
    probs: Probs = shares[:, 1].numpy()
    return probs
