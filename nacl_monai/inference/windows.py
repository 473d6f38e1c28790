r"""How a network sees a volume: window by window, with what overlapping windows say averaged.

Where windows overlap, their **probabilities** are averaged:

.. math::

    p(v) = \frac{\sum_i w_i(v)\, \mathrm{softmax}(l_i(v))}{\sum_i w_i(v)},

with weights :math:`w_i` that fall off from the middle of a window like a Gaussian. The mean of their
logits would be a geometric mean of the probabilities, which makes a voxel *more* certain where windows
disagree: of 0.99 and 0.6 the mean is 0.795, but the mean of their logits is that of 0.924.

Later steps take logits, so a mean of probabilities is handed on as logits whose softmax it is:

.. math::

    l(v) = \log p(v) + \frac{\sum_i w_i(v) \log \sum_c \exp l_{i,c}(v)}{\sum_i w_i(v)}.

Where windows agree these are the logits of the network itself.

Like `nacl_monai.inference`, this module travels with an exported bundle and needs only MONAI.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from torch import nn

AVERAGES = ("probabilities", "logits")


def spacing_of(image: torch.Tensor) -> list[float] | None:
    """The size of a voxel of an image, in mm, as MONAI's metadata say; None where there are none.

    Args:
        image: ``(B, M, *spatial)``, of one image or of several with the same spacing.

    Example:
        >>> spacing_of(torch.zeros(1, 1, 4, 4, 4)) is None
        True
    """
    if not isinstance(image, MetaTensor):
        return None
    of_first = image.pixdim[0] if image.is_batch else image.pixdim
    return [float(size) for size in of_first[: image.ndim - 2]]


def without_spacing(image: torch.Tensor) -> torch.Tensor:
    """The same voxels, which know no spacing."""
    return image.as_tensor() if isinstance(image, MetaTensor) else image


class Behind(nn.Module):
    """A network with a calibrator behind it: together a network again.

    A calibrator is called with the logits, the image and its spacing; each looks at what it needs.
    TorchScript and ONNX know no spacing, so that they hold only a calibrator that needs none.

    Args:
        network: From image (B, M, ...) to logits (B, C, ...).
        calibrator: From logits, image, and spacing in mm or None, to logits.

    Example:
        >>> halved = Behind(torch.nn.Identity(), lambda logits, image, spacing: logits / 2)
        >>> halved(torch.ones(1, 2)).tolist()
        [[0.5, 0.5]]
    """

    def __init__(self, network: nn.Module, calibrator: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.calibrator = calibrator

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The calibrated logits (B, C, ...)."""
        logits: torch.Tensor = self.network(image)
        if torch.jit.is_scripting():
            return self.calibrator(logits, image)  # type: ignore[no-any-return]
        return self.calibrator(logits, image, spacing_of(image))  # type: ignore[no-any-return]


class WindowInferer(SlidingWindowInferer):
    """Applies a network of slices or of patches to a volume ``(B, M, H, W, D)``.

    A volume that one window covers, or that a network of slices sees in one window per slice, keeps the
    network's logits to the bit. A smaller one is padded with zeros.

    A calibrator behind the network (`Behind`) sees the logits of the whole volume, averaged where
    several windows cover it, and its spacing if the volume knows it, as where it was fitted. A
    temperature then changes no label map. Each network of an ensemble (``mean_of`` beside ``members``)
    sees such a volume by itself, so that what was fitted behind it sees its averaged logits.

    Args:
        roi_size: Two sides for a network of slices, stacked along the last axis; or three.
        sw_batch_size: How many windows pass the network at once; None for 16 slices, or 1 patch, which
            fills a device by itself.
        average: "probabilities" or "logits", see above.
        settings: Settings of MONAI's ``SlidingWindowInferer``, such as ``overlap``, 0.25 by default.

    Attributes:
        spatial_dim: The axis along which slices are stacked; None for patches.

    Raises:
        ValueError: If there is no such average.

    Example:
        >>> inferer = WindowInferer(roi_size=[8, 8, 8], overlap=0.5)
        >>> network = torch.nn.Conv3d(1, 3, kernel_size=3, padding=1)
        >>> inferer(torch.rand(1, 1, 12, 9, 5), network).shape
        torch.Size([1, 3, 12, 9, 5])
    """

    def __init__(
        self,
        roi_size: Sequence[int],
        sw_batch_size: int | None = None,
        average: str = "probabilities",
        **settings: Any,
    ) -> None:
        if average not in AVERAGES:
            raise ValueError(f"average: is {average!r}; choose from: {', '.join(AVERAGES)}")
        self.spatial_dim = 2 if len(roi_size) == 2 else None
        self.average = average
        self.sides = list(roi_size)
        slices = self.spatial_dim is not None
        size = [*roi_size, 1] if slices else list(roi_size)
        at_once = sw_batch_size or (16 if slices else 1)
        super().__init__(size, at_once, **{"mode": "gaussian", **settings})
        self.one_by_one = SlidingWindowInferer(size, at_once, **{**settings, "mode": "constant"})

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> Any:
        """The logits of the volume, ``(B, C, H, W, D)``."""

        def logits_of(windows: torch.Tensor) -> torch.Tensor:
            if self.spatial_dim is None:
                return network(windows, *args, **kwargs)  # type: ignore[no-any-return]
            return network(windows.squeeze(-1), *args, **kwargs).unsqueeze(-1)  # type: ignore[no-any-return]

        def probabilities_of(windows: torch.Tensor) -> torch.Tensor:
            logits = logits_of(windows)
            return torch.cat([logits.softmax(1), logits.logsumexp(1, keepdim=True)], 1)

        if (mean_of := getattr(network, "mean_of", None)) is not None:
            return mean_of([self(inputs, member, *args, **kwargs) for member in network.members])
        if (calibrator := getattr(network, "calibrator", None)) is not None:
            logits = self(inputs, network.network, *args, **kwargs)
            return calibrator(logits, without_spacing(inputs), spacing_of(inputs))
        inputs = without_spacing(inputs)  # with them a network is slower
        if all(n <= side for n, side in zip(inputs.shape[2:], self.sides, strict=False)):
            return self.one_by_one(inputs, logits_of)
        if self.average == "logits":
            return super().__call__(inputs, logits_of)
        means: Any = super().__call__(inputs, probabilities_of)
        probs, size = means[:, :-1], means[:, -1:]
        return probs.clamp(min=torch.finfo(probs.dtype).tiny).log() + size


class CalibratedInferer(WindowInferer):
    """A `WindowInferer` with a calibrator behind whichever network it is called with.

    A host of bundles makes the network by itself, and has the calibrator by this. A network that has one
    behind it already (`Behind`, as ``model.ts`` may) is not calibrated twice.

    Args:
        roi_size: As in `WindowInferer`, and so are all settings.
        calibrator: From the logits of the whole volume, the image and its spacing to logits.
        calibrated: Whether to do so.

    Example:
        >>> inferer = CalibratedInferer([8, 8, 8], lambda logits, image, spacing: logits / 2)
        >>> inferer(torch.ones(1, 1, 2, 1, 1), torch.nn.Identity()).flatten().tolist()
        [0.5, 0.5]
    """

    def __init__(
        self, roi_size: Sequence[int], calibrator: Any, calibrated: bool = True, **settings: Any
    ) -> None:
        super().__init__(roi_size, **settings)
        self.calibrator = calibrator if calibrated else None

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> Any:
        """The calibrated logits of the volume, ``(B, C, H, W, D)``."""
        alone = network.network if hasattr(network, "calibrator") else network
        logits = super().__call__(inputs, alone, *args, **kwargs)
        if self.calibrator is None:
            return logits
        if isinstance(self.calibrator, nn.Module):  # a host may choose another device each time
            self.calibrator.to(logits.device)
        return self.calibrator(logits, without_spacing(inputs), spacing_of(inputs))


def bundled(file: str) -> Any:
    """A module of TorchScript in the bundle in which this file travels.

    MONAI Deploy leaves ``bundle_root`` as it is, so that no path in a configuration can begin with it.
    """
    file = str(Path(__file__).parents[2] / file)
    return torch.jit.load(file, map_location="cpu")  # type: ignore[no-untyped-call]
