r"""Saved probabilities as logits, so that what calibrates logits calibrates them.

.. math::

    l_j = \log p_j

The softmax of these logits is :math:`p`. They differ from the network's by a number per voxel that all
classes share. A temperature, and scales and biases that all classes share, do not see it; scales that
differ between classes do, and so mean something else here than behind the network.

Where structures overlap, one sigmoid each, the logits are the network's own:

.. math::

    l_k = \log p_k - \log (1 - p_k)
"""

import math

import torch

from nacl_monai.metrics.voxels import dequantized, rounded_to_one, rounded_to_zero


def logits_of(probs: torch.Tensor, step: float | None = None) -> torch.Tensor:
    """The logarithms of probabilities, in single precision.

    A probability that was rounded to 0 counts as half of the smallest that its dtype can hold: 1/510 of
    a byte, 3e-8 of half precision, and 1e-38 of any other; or as half of a coarser step.

    Args:
        probs: ``(C, *spatial)``, float, or uint8 for 255ths.
        step: The step between stored probabilities, where the dtype does not say.

    Example:
        >>> probs = torch.tensor([[0.25], [0.75], [0.0]], dtype=torch.float16)
        >>> [round(value, 6) for value in logits_of(probs).softmax(0).flatten().tolist()]
        [0.25, 0.75, 0.0]
    """
    values = dequantized(probs[None])[0][0].float()
    return values.clamp(min=rounded_to_zero(probs.dtype, step)).log()


def structure_logits_of(probs: torch.Tensor, step: float | None = None) -> torch.Tensor:
    """The logits of probabilities by a sigmoid, in single precision.

    A probability that was rounded to 0 counts as in `logits_of`. One that was rounded to 1 counts as 1
    less half of the distance to the next smaller number: 1/510 of a byte, 2e-4 of half precision,
    3e-8 of single precision, or half of a coarser step.

    Args:
        probs: ``(S, *spatial)``, float, or uint8 for 255ths.
        step: As there.

    Example:
        >>> logits = structure_logits_of(torch.tensor([0.25, 0.5, 1.0]))
        >>> [round(value, 4) for value in logits.tolist()]
        [-1.0986, 0.0, 17.3287]
    """
    values = dequantized(probs[None])[0][0].double()
    low, high = rounded_to_zero(probs.dtype, step), 1 - rounded_to_one(probs.dtype, step)
    below = math.nextafter(1, 0)  # half of double precision's last distance is not a number below 1
    return values.clamp(low, min(high, below)).logit().float()
