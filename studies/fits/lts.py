"""Local temperature scaling as its authors publish it, beside the package's own local temperatures.

References:
    Local Temperature Scaling for Probability Calibration (Ding et al., ICCV 2021) and their program,
    whose temperatures begin at 2.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

#: Steps of the authors: 200 epochs of 23 batches. Their batch, and their rate of Adam.
EPOCHS, STEPS, BATCH, RATE = 200, 23, 4, 1e-4
#: The share of the volumes that choose the epoch; theirs is 11 of 101 images.
CHOOSING = 0.11
_TINY = 1e-8


class TemperatureTree(nn.Module):
    r"""Divides the logits of each voxel by a temperature from a tree of convolutions.

    .. math::

        T(v) = \operatorname{relu}\big(1 + g_4 [g_3 (g_1 a_1 + \bar g_1 a_2) +
        \bar g_3 (g_2 a_3 + \bar g_2 a_4)] + \bar g_4 b\big), \qquad \bar g = 1 - g

    The leaves :math:`a_i` are 1 and a convolution of the logits, the leaf :math:`b` is 1 and one of the
    image, the gates :math:`g_i` are sigmoids of convolutions of the logits. All are of 5×5 voxels with
    dilation 2, and begin at 0.

    Args:
        classes: Channels of the logits.
        channels: Those of the image.
    """

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.of_logits = _convolution(classes, 8)
        self.of_image = _convolution(channels, 1)

    def forward(self, logits: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, C, H, W)`` over their temperatures.

        Args:
            logits: Those of the network.
            image: ``(B, M, H, W)``.
        """
        leaves, gates = self.of_logits(logits).split(4, 1)
        leaves, gates = 1 + leaves, gates.sigmoid()
        halves = leaves[:, 1::2].lerp(leaves[:, ::2], gates[:, :2])
        seen = halves[:, 1:].lerp(halves[:, :1], gates[:, 2:3])
        temperature = (1 + self.of_image(image)).lerp(seen, gates[:, 3:])
        return logits / ((1 + temperature).relu() + _TINY)


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 5, padding=4, dilation=2, padding_mode="reflect")
    for values in layer.parameters():
        nn.init.zeros_(values)
    return layer


Volume = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def fit_tree(volumes: Sequence[Volume], epochs: int = EPOCHS) -> TemperatureTree:
    """Fits a tree by the NLL over all voxels, and keeps its best epoch on volumes without a part in it.

    Args:
        volumes: Logits ``(C, H, W, D)``, image ``(M, H, W, D)``, label ``(1, H, W, D)`` of each. The
            slices of a batch are of one volume, since sizes differ.
        epochs: Of 23 batches.
    """
    slices = [tuple(part.movedim(-1, 0) for part in volume) for volume in volumes]
    choosing = max(1, round(CHOOSING * len(slices)))
    chosen_by, trained_on = slices[:choosing], slices[choosing:]
    logits, image, _ = slices[0]
    tree = TemperatureTree(logits.shape[1], image.shape[1])
    optimizer = torch.optim.Adam(tree.parameters(), lr=RATE)
    generator = torch.Generator().manual_seed(0)
    best, smallest = tree.state_dict(), math.inf
    for epoch in range(epochs + 1):
        for _ in range(STEPS if epoch else 0):
            drawn = int(torch.randint(len(trained_on), (), generator=generator))
            planes = torch.randperm(len(trained_on[drawn][0]), generator=generator)[:BATCH]
            optimizer.zero_grad()
            _nll(tree, *(part[planes] for part in trained_on[drawn])).backward()
            optimizer.step()
        with torch.no_grad():
            nll = sum(float(_nll(tree, *volume)) for volume in chosen_by)
        if nll < smallest:
            smallest = nll
            best = {name: values.clone() for name, values in tree.state_dict().items()}
    tree.load_state_dict(best)
    return tree


def _nll(
    tree: TemperatureTree, logits: torch.Tensor, image: torch.Tensor, label: torch.Tensor
) -> torch.Tensor:
    return F.cross_entropy(tree(logits, image), label[:, 0].long())
