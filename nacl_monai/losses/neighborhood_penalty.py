"""The penalty of neighbor-aware calibration (NACL), without the loss that it is added to.

References:
    Neighbor-Aware Calibration of Segmentation Networks with Penalty-Based Constraints
    (Murugesan et al., 2024), equation 9, https://arxiv.org/abs/2401.14487
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nacl_monai.losses.composed import Penalty
from nacl_monai.losses.neighborhood import (
    PerAxis,
    check_neighborhood,
    member_proportions,
    window_in_voxels,
)
from nacl_monai.losses.penalties import PENALTIES, SPACES
from nacl_monai.losses.settings import check_option, require
from nacl_monai.losses.voxels import convert_inputs, memberships, split_image, voxel_mean
from nacl_monai.losses.widths import check_width
from nacl_monai.losses.windows import IMAGE_PRIORS


def neighborhood_penalty(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    prior: str = "mean",
    kernel_size: PerAxis[int] = 3,
    sigma: PerAxis[float] = 1.0,
    penalty: str = "l1",
    space: str = "logits",
    border: str = "valid",
    ignore_index: int | None = None,
    image: torch.Tensor | None = None,
    intensity_sigma: float = 0.1,
    sharpness: float = 5.0,
    width_mm: float | None = None,
    spacing: Sequence[float] | None = None,
) -> torch.Tensor:
    r"""Computes the penalty of NACL, :math:`\frac{1}{K} \sum_k \mathcal{P}(|\tau_j^k - l_j^k|)`.

    It is averaged over voxels :math:`j`. Arguments are those of :func:`nacl_loss`.

    Raises:
        InputError: If a setting or a shape cannot be used.

    Example:
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> penalty = neighborhood_penalty(logits, torch.zeros(1, 1, 4, 4))
        >>> penalty.detach()
        tensor(0.5000)
        >>> penalty.backward()
    """
    _check_penalty(penalty, space, sharpness)
    given = labels  # which may know the size of their voxels
    logits, labels = convert_inputs(logits, labels, ignore_index)
    axes = logits.ndim - 2
    kernel_size, sigma = window_in_voxels(given, axes, prior, kernel_size, sigma, width_mm, spacing)
    members = memberships(labels, logits.shape[1], ignore_index)
    proportions = member_proportions(
        members, kernel_size, prior, sigma, border, image, intensity_sigma, logits.dtype
    )
    scores = SPACES[space](logits)
    penalize = PENALTIES[penalty]
    if ignore_index is None:
        return penalize(scores, proportions, "mean", sharpness)
    penalties = penalize(scores, proportions, "none", sharpness)
    return voxel_mean(penalties, labels, ignore_index)


def _check_penalty(penalty: str, space: str, sharpness: float) -> None:
    check_option("penalty", PENALTIES, penalty)
    check_option("space", SPACES, space)
    require(sharpness > 0, "sharpness", sharpness, "a positive number")


class NeighborhoodPenalty(Penalty):
    """The penalty of NACL as a module, to be added to any loss by :class:`ComposedLoss`.

    Args:
        weight: What the penalty is multiplied with, 0 or more.

    All other arguments are those of :func:`nacl_loss`.

    Shape:
        logits ``(B, C, *spatial)``; labels ``(B, 1, *spatial)`` or ``(B, *spatial)``, or soft ones
        ``(B, C, *spatial)``; a scalar out.
        With ``prior="bilateral"``, labels are ``(B, 1 + M, *spatial)``: class indices, then the
        image's :math:`M` channels, as MONAI's ``ConcatItemsd(keys=["label", "image"],
        name="label")`` makes them at the end of a training pipeline.

    Raises:
        InputError: If a setting or a shape cannot be used.

    Example:
        >>> logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        >>> NeighborhoodPenalty(weight=0.1)(logits, torch.zeros(1, 1, 4, 4)).backward()
    """

    def __init__(
        self,
        *,
        weight: float = 0.1,
        prior: str = "mean",
        kernel_size: PerAxis[int] = 3,
        sigma: PerAxis[float] = 1.0,
        penalty: str = "l1",
        space: str = "logits",
        border: str = "valid",
        ignore_index: int | None = None,
        intensity_sigma: float = 0.1,
        sharpness: float = 5.0,
        width_mm: float | None = None,
        spacing: Sequence[float] | None = None,
    ) -> None:
        check_neighborhood(kernel_size, prior, sigma, border, intensity_sigma)
        _check_penalty(penalty, space, sharpness)
        check_width(width_mm, spacing)
        super().__init__(
            weight,
            prior=prior,
            kernel_size=kernel_size,
            sigma=sigma,
            penalty=penalty,
            space=space,
            border=border,
            ignore_index=ignore_index,
            intensity_sigma=intensity_sigma,
            sharpness=sharpness,
            width_mm=width_mm,
            spacing=spacing,
        )

    @property
    def needs_image(self) -> bool:
        """Whether ``labels`` carry the image in their further channels."""
        return self.settings["prior"] in IMAGE_PRIORS

    def value(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean penalty over classes and voxels."""
        image = None
        if self.needs_image:
            labels, image = split_image(labels, logits.ndim)
        return neighborhood_penalty(logits, labels, image=image, **self.settings)
