r"""Vector scaling: a scale and a bias for each class.

.. math::

    p = \mathrm{softmax}(s \odot l + b)

Classes can change places, and with them the label map. Each bias is at most :data:`LARGEST_BIAS` from
0, so that the biases alone change the odds of two classes by a factor of :math:`e^2` at most.

References:
    On Calibration of Modern Neural Networks (Guo et al., 2017).
"""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from nacl_monai.posthoc.affine import along_classes, fit_affine, known_values
from nacl_monai.posthoc.region_logits import Voxels

#: The largest absolute bias of a class, in nats.
LARGEST_BIAS = 1.0


class VectorScaling(nn.Module):
    """Multiplies the logits of each class by its scale, and adds its bias.

    It can be scripted, traced and exported to ONNX.

    Args:
        scales: s, one per class, above 0.
        biases: b, one per class.

    Raises:
        InputError: If a scale is not a finite number above 0, a bias is not finite, or their numbers
            differ.

    Example:
        >>> VectorScaling([0.5, 1.0], [0.0, 0.25])(torch.tensor([[[4.0], [-2.0]]])).tolist()
        [[[2.0], [-1.75]]]
    """

    scales: torch.Tensor
    biases: torch.Tensor

    def __init__(self, scales: Sequence[float], biases: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("scales", known_values("scales", scales, len(biases), positive=True))
        self.register_buffer("biases", known_values("biases", biases, len(scales)))

    def forward(self, logits: torch.Tensor, image: torch.Tensor | None = None) -> torch.Tensor:  # noqa: ARG002 - see `Behind`
        """The logits with scales and biases, in their own shape and dtype."""
        return logits * along_classes(self.scales, logits) + along_classes(self.biases, logits)


def fit_vector_scaling(voxels: Iterable[Voxels]) -> VectorScaling:
    """Fits scales and biases by NLL, which is convex in them; the fit begins at the best temperature.

    Args:
        voxels: The voxels of the validation patients; read some hundred times.

    Raises:
        InputError: If no temperature fits, see `nacl_monai.posthoc.fit_temperature`.
    """
    scales, biases = fit_affine(voxels, LARGEST_BIAS)
    return VectorScaling(scales, biases)
