r"""The ensemble: the mean of several networks' probabilities.

.. math::

    p = \frac{1}{M} \sum_m \mathrm{softmax}(l_m)

References:
    Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles (Lakshminarayanan et
    al., 2017).
"""

import math
from collections.abc import Iterable

import torch
from torch import nn

from nacl_monai.errors import InputError

#: Its name, where a calibrator's could be.
ENSEMBLE = "ensemble"


class Ensemble(nn.Module):
    """Networks whose probabilities are averaged.

    Its outputs are the logarithms of the mean probabilities, which are logits whose softmax is that
    mean; so whatever takes a network's logits takes the ensemble's, a temperature among it.

    Args:
        networks: The members; each returns logits (B, C, ...).

    Raises:
        InputError: If there is no network.

    Example:
        >>> certain, undecided = (nn.Conv2d(1, 2, 1) for _ in range(2))
        >>> _ = nn.init.zeros_(undecided.weight), nn.init.zeros_(undecided.bias)
        >>> _ = nn.init.zeros_(certain.weight), certain.bias.data.copy_(torch.tensor([50.0, 0.0]))
        >>> Ensemble([certain, undecided])(torch.zeros(1, 1, 1, 1)).exp().flatten().tolist()
        [0.75, 0.25]
    """

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(networks)
        if not len(self.members):
            raise InputError("ensemble: has no network; name one at least")

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The logarithm of the mean probabilities (B, C, ...), in the dtype of the logits."""
        return self.mean_of([member(image) for member in self.members])

    def mean_of(self, logits: list[torch.Tensor]) -> torch.Tensor:
        """The logarithm of the mean probabilities, of what each member says (B, C, ...).

        A window inferer asks each member for a whole volume before it calls this.
        """
        mean = logits[0].log_softmax(1)
        for member in logits[1:]:  # one by one, since volumes are large
            mean = torch.logaddexp(mean, member.log_softmax(1))
        return mean - math.log(len(logits))
