r"""The temperature of the smallest negative log-likelihood.

With the inverse temperature :math:`a = 1/T`, the mean NLL

.. math::

    L(a) = \sum_v w_v \Big(\log \sum_j e^{a\,l_{vj}} - a\,l_{v y_v}\Big)

is convex in :math:`a`, and the sign of

.. math::

    L'(a) = \sum_v w_v \Big(\sum_j p_{vj}\,l_{vj} - l_{v y_v}\Big), \qquad p_v = \mathrm{softmax}(a\,l_v)

says on which side the minimum lies. The root is bracketed, so that the fit is finite and exact on any
data, whereas steps along the gradient diverge where nearly all voxels are background and certain.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from scipy.optimize import brentq

from nacl_monai.errors import InputError
from nacl_monai.posthoc.region_logits import RegionLogits, Voxels

#: Between these a temperature is looked for.
SMALLEST, LARGEST = 0.01, 100.0
# Of the logarithm of the temperature.
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class TemperatureFit:
    """A fitted temperature, and on what it was fitted.

    Attributes:
        temperature: T.
        at_end: Whether T is the hottest that is tried, because hotter is always better.
        nll_before: Mean NLL without a temperature; patients weigh the same.
        nll: The same with it.
        region: The voxels that counted.
        patients: Whose they are.
        voxels: How many they are.
    """

    temperature: float
    at_end: bool
    nll_before: float
    nll: float
    region: str
    patients: tuple[str, ...]
    voxels: int


def fit_temperature(voxels: RegionLogits) -> TemperatureFit:
    """Fits one temperature by NLL over a region; every patient weighs the same.

    Where the logits are worse than chance, hotter is always better; T is then 100, at which all classes
    are nearly as probable as each other.

    Args:
        voxels: Of the validation patients.

    Raises:
        InputError: If the region is empty in all patients, or if colder is always better, as it is
            where every voxel is right.

    Example:
        >>> logits = torch.tensor([[[3.0, 3.0, 3.0, 3.0]], [[0.0, 0.0, 0.0, 0.0]]])
        >>> with RegionLogits("all") as voxels:
        ...     voxels.add(logits, torch.tensor([[[0, 0, 0, 1]]]), "patient001")
        ...     round(fit_temperature(voxels).temperature, 4)  # 3 / log(3)
        2.7307
    """
    patients = voxels.patients
    if not patients:
        raise InputError(
            f"region {voxels.region}: has no voxel in any patient of the fit; choose another region"
        )
    ends = (math.log(SMALLEST), math.log(LARGEST))
    slopes = [_slope(voxels, end) for end in ends]
    if slopes[0] >= 0:
        raise InputError(
            f"temperature: none above {SMALLEST:g} fits, since colder is always better; "
            "fit on more patients or on another region"
        )
    # Logits that are worse than none are best ignored, which the hottest temperature nearly does.
    at_end = slopes[1] <= 0
    temperature = (
        LARGEST
        if at_end
        else math.exp(brentq(lambda log: _slope(voxels, log), *ends, xtol=_TOLERANCE))
    )
    return TemperatureFit(
        temperature=temperature,
        at_end=at_end,
        nll_before=mean_nll(voxels, 1.0),
        nll=mean_nll(voxels, temperature),
        region=voxels.region,
        patients=tuple(patients),
        voxels=sum(voxels.voxels_of.values()),
    )


def mean_nll(voxels: Iterable[Voxels], temperature: float) -> float:
    """The mean NLL in nats over patients, each the mean over the patient's voxels."""
    total, patients = 0.0, 0.0
    for logits, labels, weight in voxels:
        scaled = logits.double() / temperature
        nll = scaled.logsumexp(1) - scaled.gather(1, labels[:, None])[:, 0]
        total += weight * nll.sum().item()
        patients += weight * len(labels)
    return total / patients


def _slope(voxels: Iterable[Voxels], log_temperature: float) -> float:
    """The sign and the size of the NLL's slope; positive where a hotter temperature is worse."""
    total = 0.0
    for logits, labels, weight in voxels:
        exact = logits.double()
        probs = torch.softmax(exact / math.exp(log_temperature), 1)
        of_label = exact.gather(1, labels[:, None])[:, 0]
        total -= weight * ((probs * exact).sum(1) - of_label).sum().item()
    return total
