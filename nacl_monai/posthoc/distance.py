r"""Temperatures that depend on the distance to the nearest change of the predicted label.

.. math::

    p(v) = \mathrm{softmax}\big(l(v) / T(d_v)\big), \qquad
    \log T(d) = \sum_k \varphi_k(d)\, \theta_k

:math:`d_v` is the distance of voxel :math:`v`, in mm, to the nearest voxel that has a face neighbor of
another predicted label, which has the distance 0 itself; it is at most the last knot, as it is where
nothing is predicted. The image's edge is no change of the label. :math:`\varphi_k` are the hat functions
of the knots, so that :math:`\log T` is linear between two knots. A voxel's classes share its
temperature, so that no label map changes.

A network is often overconfident at borders and underconfident far from them, which no single temperature
corrects. The prediction alone decides the distance, and with it the temperature: true probabilities keep
:math:`T = 1`.

The curve has the smallest

.. math::

    \frac{L(\theta)}{L(0)} + \frac{\rho}{2} \sum_k (\theta_k - \bar\theta)^2, \qquad
    L(\theta) = -\sum_v w_v \log p_{v y_v}

where :math:`w_v` lets each patient weigh the same. The ridge :math:`\rho` draws the knots to their mean,
not to 1, so that few patients get a flat curve rather than a wrong one. Relative to :math:`L(0)`, it
does not depend on how much certain background surrounds the structures.

Each of several structures that may overlap has a curve, and the distance to its own predicted border.

Where a network marks too much, the inside of its border is wrong far more often than the outside. Where
the knots are *signed*, the first being negative, each side has temperatures of its own: background at
distance :math:`d` is at the place :math:`d` of the curve, a predicted structure at :math:`-1 - d`. No
voxel is between -1 and 0, so that the sides share nothing but the ridge. It draws the mean of both, knot
by knot, as one curve is drawn, and each side to that mean:

.. math::

    \frac{\rho}{2} \sum_k (m_k - \bar m)^2 + \frac{\rho'}{2} \sum_k (\theta^+_k - \theta^-_k)^2, \qquad
    m_k = \frac{\theta^+_k + \theta^-_k}{2}
"""

from collections.abc import Iterable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy
import torch
from torch import nn

from nacl_monai.errors import InputError
from nacl_monai.metrics.regions import border_distances
from nacl_monai.posthoc.scaling import LARGEST, SMALLEST, known_values
from nacl_monai.posthoc.voxels import FARTHEST, FitVoxels

#: Distances between which log T is linear.
KNOTS = (0.0, 1.0, 2.0, 3.0, 5.0, FARTHEST)
#: The same on both sides of the border; predicted structures are below -1.
SIGNED_KNOTS = (*(-1 - knot for knot in reversed(KNOTS)), *KNOTS)
#: What distances are measured in.
UNITS = ("mm", "voxels")
_RIDGE = 0.01
# What draws the two sides of the border together: where they err alike, two curves cost next to nothing.
_RIDGE_OF_SIDES = 0.05
# Of the largest slope, as a share of the NLL at T = 1.
_TOLERANCE = 1e-6
_Array = npt.NDArray[np.float64]


def between_knots(
    values: torch.Tensor, knots: torch.Tensor, distances: torch.Tensor
) -> torch.Tensor:
    """Values at knots, ``(K,)``, interpolated linearly and constant beyond, at any distances."""
    found = torch.ones_like(distances) * values[0]
    for k in range(len(knots) - 1):
        share = ((distances - knots[k]) / (knots[k + 1] - knots[k])).clamp(0, 1)
        found = found + share * (values[k + 1] - values[k])
    return found


class DistanceTemperatures(nn.Module):
    """Divides the logits of each voxel by the temperature of its distance to the predicted border.

    It sees a whole image: a window's edge hides borders. It can be scripted.

    Args:
        temperatures: T at the knots, above 0, ``(K,)``; of structures that may overlap
            ``(structures, K)``, one curve each.
        knots: Distances, increasing from 0, ``(K,)``; or, if the first is negative, `signed` ones.
        unit: The unit of the distances, "mm"; or "voxels", if the spacing is unknown.

    Raises:
        InputError: If a temperature is not a finite number above 0, the knots do not increase from 0, or
            their numbers differ; or if there is no such unit.

    Example:
        >>> cooler = DistanceTemperatures([2.0, 1.0], [0.0, 2.0])
        >>> logits = torch.tensor([[[4.0, 4.0, 4.0, -4.0], [0.0, 0.0, 0.0, 0.0]]])
        >>> [round(one, 3) for one in cooler(logits, spacing=[1.0])[0, 0].tolist()]
        [4.0, 2.828, 2.0, -2.0]
    """

    # TorchScript reads these annotations, which must therefore be no strings.
    temperatures: torch.Tensor
    knots: torch.Tensor
    unit: str

    def __init__(
        self,
        temperatures: Sequence[float] | Sequence[Sequence[float]],
        knots: Sequence[float] = KNOTS,
        unit: str = "mm",
    ) -> None:
        super().__init__()
        count = len(knots)
        self.register_buffer("knots", known_values("knots", knots, count))
        if count < 2 or knots[0] > 0 or not (self.knots.diff() > 0).all():
            raise InputError(f"knots: are {list(knots)}; choose two or more that increase from 0")
        if knots[0] < 0 and not {-1.0, 0.0} <= {*map(float, knots)}:
            raise InputError(f"knots: are {list(knots)}; signed ones have -1 and 0 among them")
        if unit not in UNITS:
            raise InputError(f"unit: is {unit!r}; choose from {', '.join(UNITS)}")
        self.unit = unit
        curves: Any = temperatures if np.ndim(temperatures[0]) else [temperatures]
        values = [known_values("temperatures", curve, count, positive=True) for curve in curves]
        stacked = torch.stack(values) if np.ndim(temperatures[0]) else values[0]
        self.register_buffer("temperatures", stacked)

    def forward(
        self,
        logits: torch.Tensor,
        image: torch.Tensor | None = None,  # noqa: ARG002 - see `Behind`
        spacing: list[float] | None = None,
    ) -> torch.Tensor:
        """The logits over their voxels' temperatures, in their own shape and dtype.

        Args:
            logits: Of whole images, (B, C, H, W), or (B, C, H, W, D).
            image: Not looked at.
            spacing: Size of a voxel along each axis, in mm; None where it is unknown.

        Raises:
            ValueError: If the knots are in mm and the spacing is unknown, or in voxels and it is known.
        """
        if self.unit == "mm" and spacing is None:
            raise ValueError("spacing: is unknown, but the calibrator's distances are in mm")
        if self.unit == "voxels" and spacing is not None:
            raise ValueError("spacing: is known, but the calibrator's distances are in voxels")
        farthest = float(self.knots[-1])
        if self.temperatures.dim() == 1:
            prediction = logits.max(1)[1]
            distances = border_distances(prediction, farthest, spacing)
            places = self.signed(distances, prediction > 0)[:, None]
            return self.divided(logits, places, self.temperatures)
        parts: list[torch.Tensor] = []
        for place, curve in enumerate(self.temperatures):
            inside = logits[:, place]
            distances = self.signed(border_distances(inside > 0, farthest, spacing), inside > 0)
            parts.append(self.divided(inside, distances, curve))
        return torch.stack(parts, 1)

    def signed(self, distances: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        """Places on the curve: with signed knots, -1 less the distance in predicted structures."""
        if float(self.knots[0]) < 0:
            return torch.where(inside, -1 - distances, distances)
        return distances

    def divided(
        self, logits: torch.Tensor, distances: torch.Tensor, temperatures: torch.Tensor
    ) -> torch.Tensor:
        """Logits over the temperatures of a curve at distances that are known, in their own dtype."""
        log_temperature = between_knots(temperatures.log(), self.knots, distances.to(torch.float32))
        return (logits.to(torch.float32) / log_temperature.exp()).to(logits.dtype)


def fit_curve(
    voxels: Iterable[FitVoxels],
    knots: Sequence[float] = KNOTS,
    ridge: float = _RIDGE,
    start: Sequence[float] | None = None,
    ridge_of_sides: float = _RIDGE_OF_SIDES,
) -> list[float]:
    """The temperatures at the knots.

    Args:
        voxels: The voxels of the validation patients with their distances; read some ten times.
        knots: Distances, increasing from 0, or signed ones.
        ridge: What draws their logarithms to their mean.
        ridge_of_sides: What draws those of both sides together, if the knots are signed.
        start: Temperatures that are near, as those of a fit to some more patients; by default 1.

    Raises:
        InputError: If colder is always better, as it is where every voxel is right.

    Example:
        >>> logits, labels = torch.tensor([[3.0, 0.0]] * 8), torch.tensor([0, 0, 0, 1] * 2)
        >>> voxels = [FitVoxels(logits, labels, 0.125, torch.tensor([0.0] * 4 + [8.0] * 4))]
        >>> [round(one, 3) for one in fit_curve(voxels, [0.0, 8.0])]  # 3 / log(3)
        [2.731, 2.731]
    """
    blocks = (block for volume in voxels for block in volume.blocks())
    wrong = (outputs.amax(0) > outputs.gather(0, labels[None])[0] for outputs, labels in blocks)
    if not any(bool(misses.any()) for misses in wrong):
        raise InputError(
            "temperatures: none fit, since colder is always better; fit on more patients"
        )
    places, zeros = torch.tensor(knots, dtype=torch.float64), np.zeros(len(knots))
    unit = _sums(voxels, places, zeros)[0]
    drawn = _drawn(knots, ridge, ridge_of_sides)

    @cache
    def objective(theta: tuple[float, ...]) -> tuple[float, _Array, _Array]:
        values = np.array(theta)
        nll, slopes, curvature = (part / unit for part in _sums(voxels, places, values))
        return nll + values @ drawn @ values / 2, slopes + drawn @ values, curvature + drawn

    found: Any = scipy.optimize.minimize(
        lambda theta: objective((*theta,))[:2],
        zeros if start is None else np.log(start),
        jac=True,
        hess=lambda theta: objective((*theta,))[2],
        method="trust-exact",
        options={"gtol": _TOLERANCE, "max_trust_radius": 4.0},
    )
    return np.exp(found.x).clip(SMALLEST, LARGEST).tolist()  # type: ignore[no-any-return]


def _drawn(knots: Sequence[float], ridge: float, ridge_of_sides: float) -> _Array:
    """The second derivatives of the ridge by log T at the knots."""
    if knots[0] == 0:
        return ridge * (np.eye(len(knots)) - 1 / len(knots))
    side = np.eye(len(knots) // 2)
    mean, difference = np.hstack([side[::-1], side]) / 2, np.hstack([-side[::-1], side])
    drawn: _Array = ridge * mean.T @ (side - 1 / len(side)) @ mean
    return drawn + ridge_of_sides * difference.T @ difference


def _sums(voxels: Iterable[FitVoxels], knots: torch.Tensor, theta: _Array) -> tuple[Any, Any, Any]:
    """The mean NLL, its slopes and its second derivatives by log T at the knots."""
    # log T is that of the first knot, and of each step to the next the share that a voxel has passed.
    steps = np.eye(len(theta)) - np.eye(len(theta), k=-1)
    curve, weights = torch.from_numpy(steps @ theta), 0.0
    totals: list[Any] = [0.0, torch.zeros_like(curve), curve.new_zeros(2 * curve.shape)]
    for volume in voxels:
        compute = partial(_volume_sums, volume, knots, curve)
        parts: tuple[Any, ...] = volume.once((*theta, *knots.tolist()), compute)
        totals = [total + volume.weight * part for total, part in zip(totals, parts, strict=True)]
        weights += volume.weight * len(volume.labels)
    nll, slopes, curvature = totals
    by_knot = steps.T @ slopes.numpy(), steps.T @ curvature.numpy() @ steps
    return nll / weights, by_knot[0] / weights, by_knot[1] / weights


def _volume_sums(
    volume: FitVoxels, knots: torch.Tensor, curve: torch.Tensor
) -> tuple[float, torch.Tensor, torch.Tensor]:
    """The NLL of a volume, its slopes and its second derivatives by log T of the steps."""
    total, widths = 0.0, knots.diff()[:, None]
    slopes, curvature = torch.zeros_like(curve), curve.new_zeros(2 * curve.shape)
    for (logits, labels), distances in volume.blocks_with_distances():
        if knots[0] < 0:
            inside = logits[1:].amax(0) > logits[0]  # seventy times as fast as `argmax`
            distances = torch.where(inside, -1 - distances, distances)  # noqa: PLW2901
        shares = ((distances - knots[:-1, None]) / widths).clamp_(0, 1)
        shares = torch.cat([torch.ones_like(distances)[None], shares])
        scaled = (logits - logits.gather(0, labels[None])) * (-(curve @ shares)).exp()
        nll = scaled.logsumexp(0)
        weighted = (scaled - nll).exp() * scaled
        mean = weighted.sum(0)
        bent = (weighted * scaled).sum(0) - mean**2 + mean
        total += nll.sum().item()
        slopes -= shares @ mean
        curvature += (shares * bent) @ shares.T
    return total, slopes, curvature
