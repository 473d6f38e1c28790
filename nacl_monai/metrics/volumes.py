r"""What several raters say of a structure as a whole: its volume, and where all of them agree.

The continuous ranked probability score (CRPS) of a volume :math:`x` and the empirical distribution
:math:`F` of the volumes :math:`y_1, …, y_R` of the raters is

.. math::

    \mathrm{CRPS} = \int \left(F(y) - [x \le y]\right)^2 \mathrm{d}y
    = \frac{1}{R} \sum_r |x - y_r| - \frac{1}{2 R^2} \sum_r \sum_s |y_r - y_s|

in the unit of the volumes. The sums are exact, and nothing is assumed of the distribution. The code of
the CURVAS challenge integrates against a normal distribution, within three standard deviations of its
mean alone: whatever is further out scores alike, and 0 where all raters agree.

References:
    Strictly Proper Scoring Rules, Prediction, and Estimation (Gneiting and Raftery, 2007), equation 21.
    Calibration and Uncertainty for multiRater Volume Assessment in multiorgan Segmentation (CURVAS)
    challenge results (Riera-Marín et al., 2025), https://arxiv.org/abs/2505.08685
"""

from __future__ import annotations

import torch
from monai.metrics import compute_dice

from nacl_monai.errors import InputError


def volume_crps(predicted: torch.Tensor, labeled: torch.Tensor) -> torch.Tensor:
    """The CRPS of volumes and those of several raters.

    Args:
        predicted: The predicted volume, a single number: ``(...)``. For probabilities it is
            their sum, the expected number of voxels.
        labeled: The volume by every rater, ``(..., raters)``, in the same unit.

    Returns:
        ``(...)``, float64, in that unit. It is 0 only where all raters have the predicted volume; the
        smallest that can be reached, by the median of the raters, grows with their spread.

    Raises:
        InputError: If the shapes do not fit, or there is no rater.

    Example:
        >>> raters = torch.tensor([90.0, 100, 110])
        >>> [round(volume_crps(torch.tensor(x), raters).item(), 3) for x in (100.0, 200, 900)]
        [2.222, 95.556, 795.556]
    """
    if labeled.shape[:-1] != predicted.shape or not labeled.ndim or not labeled.shape[-1]:
        raise InputError(
            f"labeled: volumes have the shape {tuple(labeled.shape)}, but predicted ones "
            f"{tuple(predicted.shape)}; give the same with a last axis of raters"
        )
    volume, volumes = predicted.double(), labeled.double()
    distance = (volume[..., None] - volumes).abs().mean(-1)
    spread = (volumes[..., None] - volumes[..., None, :]).abs().mean((-2, -1))
    return distance - spread / 2


def agreed_dice(prediction: torch.Tensor, raters: torch.Tensor) -> torch.Tensor:
    """Dice of each structure over the voxels that all raters put inside it, or all of them outside.

    Args:
        prediction: Masks of 0 and 1, ``(B, structures, *spatial)``.
        raters: Those of every rater, ``(raters, B, structures, *spatial)``.

    Returns:
        ``(B, structures)``; NaN where the raters share no voxel of the structure.

    Example:
        >>> raters = torch.tensor([[[[1, 1, 0, 0]]], [[[1, 0, 0, 0]]]])
        >>> agreed_dice(torch.tensor([[[1, 0, 0, 1]]]), raters).item()  # the second voxel is disputed
        0.6666666865348816
    """
    votes = raters.sum(0)
    inside, outside = votes == len(raters), votes == 0
    kept = prediction.bool() & (inside | outside)
    dice: torch.Tensor = compute_dice(
        kept.to(torch.uint8), inside.to(torch.uint8), include_background=True
    )
    return dice
