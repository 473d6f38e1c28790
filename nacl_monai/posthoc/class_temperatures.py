r"""A temperature for each class.

.. math::

    p = \mathrm{softmax}(l / T), \qquad T \in \mathbb{R}^C

A network can be overconfident in one structure and not in another, which one temperature cannot mend.
Classes can change places, and with them the label map.

References:
    Network Calibration by Class-Based Temperature Scaling (Frenkel and Goldberger, 2021), which fits
    them by ECE over a grid; here they are fitted by NLL, a proper score.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from nacl_monai.posthoc.affine import along_classes, fit_affine, known_values
from nacl_monai.posthoc.region_logits import Voxels


class ClassTemperatures(nn.Module):
    """Divides the logits of each class by its temperature.

    It can be scripted, traced and exported to ONNX.

    Args:
        temperatures: T, one per class, above 0.

    Raises:
        InputError: If a temperature is not a finite number above 0.

    Example:
        >>> ClassTemperatures([2.0, 1.0])(torch.tensor([[[4.0], [-2.0]]])).tolist()
        [[[2.0], [-2.0]]]
    """

    temperatures: torch.Tensor

    def __init__(self, temperatures: Sequence[float]) -> None:
        super().__init__()
        values = known_values("temperatures", temperatures, len(temperatures), positive=True)
        self.register_buffer("temperatures", values)

    def forward(self, logits: torch.Tensor, image: torch.Tensor | None = None) -> torch.Tensor:  # noqa: ARG002 - see `Behind`
        """The logits divided by their class's temperature, in their own shape and dtype."""
        return logits / along_classes(self.temperatures, logits)


def fit_class_temperatures(voxels: Iterable[Voxels]) -> ClassTemperatures:
    """Fits the temperatures by NLL, which is convex in their inverses.

    Args:
        voxels: The voxels of the validation patients; read some hundred times.

    Raises:
        InputError: If no temperature fits, see `nacl_monai.posthoc.fit_temperature`.
    """
    scales, _ = fit_affine(voxels, largest_bias=0.0)
    return ClassTemperatures([1 / scale for scale in scales])
