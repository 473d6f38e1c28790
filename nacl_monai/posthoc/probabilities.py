r"""Saved probabilities as logits, so that what calibrates logits calibrates them.

.. math::

    l_j = \log p_j

The softmax of these logits is :math:`p`. They differ from the network's by a number per voxel that all
classes share. A temperature, and scales and biases that all classes share, do not see it; scales that
differ between classes do, and so mean something else here than behind the network.
"""

import torch

from nacl_monai.metrics.inputs import dequantized

# Half of the smallest number above 0 that is told from 0.
_ROUNDED_TO_ZERO = {torch.uint8: 1 / 1020, torch.float16: 2.0**-25}
_OTHERS = torch.finfo(torch.float32).tiny


def logits_of(probs: torch.Tensor) -> torch.Tensor:
    """The logarithms of probabilities, in single precision.

    A probability that was rounded to 0 counts as half of the smallest that its dtype can hold: 1/1020 of
    a byte, 3e-8 of half precision, and 1e-38 of any other.

    Args:
        probs: ``(C, *spatial)``, float, or uint8 for 255ths.

    Example:
        >>> probs = torch.tensor([[0.25], [0.75], [0.0]], dtype=torch.float16)
        >>> [round(value, 6) for value in logits_of(probs).softmax(0).flatten().tolist()]
        [0.25, 0.75, 0.0]
    """
    values = dequantized(probs[None])[0][0].float()
    return values.clamp(min=_ROUNDED_TO_ZERO.get(probs.dtype, _OTHERS)).log()
