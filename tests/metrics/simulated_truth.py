r"""Images whose true probabilities are known, as no data set's are.

The border of a structure at the angle θ is shifted by

    s Σ_j (a_j cos jθ + b_j sin jθ) / √6,   j = 1 … 6,   a, b normal,

which is N(0, s²) at every angle: a voxel at the depth d inside the border belongs to the structure
with the probability Φ(d / s), exactly. Within an image the shift is smooth, so that errors go together
as those of a rater do. In 3-D two such shifts are mixed by the sine and cosine of the other angle, which
is normal with the same variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.special import log_ndtr

_HARMONICS = 6


@dataclass(frozen=True)
class Truth:
    """True log-probabilities ``(B, C, *spatial)`` and labels ``(B, *spatial)``, as a softmax has them.

    And those of a sigmoid, whose structures overlap: logits and masks ``(B, structures, *spatial)``.
    Labels of several raters are ``(B, raters, *spatial)``.
    """

    logits: torch.Tensor
    labels: torch.Tensor
    sigmoid_logits: torch.Tensor
    masks: torch.Tensor

    def probs(self, temperature=1.0):
        """Of a model that divides the true logits: below 1 it is overconfident."""
        return (self.logits / temperature).softmax(1)


def simulated(images, spread, *, dims=2, structures=1, seed=0, size=48, raters=1):
    """Images with one ball per structure, side by side along the first axis, each in a part of its own.

    Args:
        images: How many.
        spread: The standard deviation s of the border, in voxels.
        dims: 2 or 3.
        structures: How many; each is the only one in its part, so that the classes are exclusive.
        seed: Of radii, places and shifts.
        size: Voxels of each part along each axis.
        raters: How many draw borders of their own around each ball.
    """
    generator = torch.Generator().manual_seed(seed)
    log_inside, log_outside, inside = [], [], []
    for _ in range(structures):
        depth, shifts = _ball(images, dims, size, raters, generator)
        log_inside.append(log_ndtr(depth / spread))
        log_outside.append(log_ndtr(-depth / spread))
        drawn = torch.stack([depth + spread * shift > 0 for shift in shifts], 1)
        inside.append(drawn if raters > 1 else drawn[:, 0])
    never = torch.full_like(log_inside[0], -1e4)
    channels = [torch.cat(log_outside, 1)]
    for k in range(structures):
        channels.append(
            torch.cat([log_inside[k] if j == k else never for j in range(structures)], 1)
        )
    labels = torch.cat([(k + 1) * mask.long() for k, mask in enumerate(inside)], -dims)
    overlapping = torch.stack([a - b for a, b in zip(log_inside, log_outside, strict=True)], 1)
    return Truth(
        torch.stack(channels, 1).float(),
        labels,
        overlapping.float(),
        torch.stack(inside, -dims - 1).to(torch.uint8),
    )


def _ball(images, dims, size, raters, generator):
    """Depth inside the border, ``(B, *spatial)``, and how each rater shifts it at that angle."""

    def uniform(low, high):
        drawn = torch.rand(images, *[1] * dims, generator=generator, dtype=torch.float64)
        return low + (high - low) * drawn

    axis = torch.arange(size, dtype=torch.float64)
    grids = [
        axis.reshape([-1 if k == d else 1 for k in range(dims)])[None] - uniform(0.45, 0.55) * size
        for d in range(dims)
    ]
    depth = uniform(0.2, 0.3) * size - sum(grid**2 for grid in grids).sqrt()
    theta = torch.atan2(grids[0], grids[1])
    shifts = [_harmonics(theta, generator) for _ in range(raters)]
    if dims == 3:
        tilt = torch.atan2(grids[2], (grids[0] ** 2 + grids[1] ** 2).sqrt())
        shifts = [axis * tilt.cos() + _harmonics(theta, generator) * tilt.sin() for axis in shifts]
    return depth, shifts


def _harmonics(theta, generator):
    """N(0, 1) at every angle; theta ``(B, …)``."""
    shape = (2, _HARMONICS, len(theta), *[1] * (theta.ndim - 1))
    a, b = torch.randn(shape, generator=generator, dtype=torch.float64)
    waves = (a[j - 1] * (j * theta).cos() + b[j - 1] * (j * theta).sin() for j in range(1, 7))
    return sum(waves) / _HARMONICS**0.5
