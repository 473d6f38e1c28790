"""Changes of an image that a scanner, a protocol or a patient makes, in four degrees each."""

from collections.abc import Callable

import numpy as np
import torch
from monai.transforms import (
    AdjustContrast,
    GaussianSmooth,
    RandBiasField,
    RandGaussianNoise,
    RandSimulateLowResolution,
)
from torch import Tensor

Change = Callable[[Tensor, tuple[float, ...], int], Tensor]


def noise(share: float) -> Change:
    """Gaussian noise, whose standard deviation is a share of the range of intensities."""

    def change(image: Tensor, spacing: tuple[float, ...], seed: int) -> Tensor:  # noqa: ARG001
        drawn = RandGaussianNoise(prob=1, std=share, sample_std=False)
        return drawn.set_random_state(seed)(image)

    return change


def blur(mm: float) -> Change:
    """A Gaussian blur of a width in mm."""

    def change(image: Tensor, spacing: tuple[float, ...], seed: int) -> Tensor:  # noqa: ARG001
        return GaussianSmooth([mm / size for size in spacing])(image)

    return change


def bias(coefficient: float) -> Change:
    """A bias field: the exponential of a polynomial of degree 3 with drawn coefficients."""

    def change(image: Tensor, spacing: tuple[float, ...], seed: int) -> Tensor:  # noqa: ARG001
        drawn = RandBiasField(prob=1, degree=3, coeff_range=(-coefficient, coefficient))
        return drawn.set_random_state(seed)(image)

    return change


def gamma(power: float) -> Change:
    """Intensities to a power."""

    def change(image: Tensor, spacing: tuple[float, ...], seed: int) -> Tensor:  # noqa: ARG001
        return AdjustContrast(power)(image)

    return change


def resolution(factor: float) -> Change:
    """Voxels so many times as large, on the image's own grid."""

    def change(image: Tensor, spacing: tuple[float, ...], seed: int) -> Tensor:  # noqa: ARG001
        zoom = 1 / factor
        drawn = RandSimulateLowResolution(prob=1, downsample_mode="area", zoom_range=(zoom, zoom))
        return drawn.set_random_state(seed)(image)

    return change


def ghosting(strength: float, ghosts: int = 4) -> Change:
    """Motion in a rhythm: every fourth line of k-space along the second axis is weakened by a share.

    The center, by which the image keeps its brightness, stays.
    """

    def change(image: Tensor, spacing: tuple[float, ...], seed: int) -> Tensor:  # noqa: ARG001
        spectrum = torch.fft.fft(image, dim=2)
        lines = torch.ones(image.shape[2])
        lines[::ghosts] = 1 - strength
        lines[0] = 1
        return torch.fft.ifft(spectrum * lines[None, None, :, None], dim=2).real

    return change


#: Kind → its four degrees.
CHANGES: dict[str, list[Change]] = {
    "noise": [noise(share) for share in (0.02, 0.05, 0.1, 0.2)],
    "blur": [blur(mm) for mm in (0.5, 1.0, 1.5, 2.0)],
    "bias field": [bias(coefficient) for coefficient in (0.1, 0.2, 0.4, 0.6)],
    "gamma": [gamma(power) for power in (1.25, 1.5, 2.0, 3.0)],
    "resolution": [resolution(factor) for factor in (1.5, 2.0, 3.0, 4.0)],
    "ghosting": [ghosting(strength) for strength in (0.2, 0.4, 0.6, 0.8)],
}


class Corrupt:
    """Changes the image of a case, of its intensities from the 0.5th to the 99.5th percentile as 0 to 1.

    Args:
        kind: A key of `CHANGES`; empty for none.
        degree: 1 to 4.
    """

    def __init__(self, kind: str, degree: int) -> None:
        self.change = CHANGES[kind][degree - 1] if kind else None

    def __call__(self, data: dict[str, object]) -> dict[str, object]:
        """Changes ``image``; the same case is always changed alike."""
        image = data["image"]
        if self.change is None or not isinstance(image, torch.Tensor):
            return data
        low, high = np.percentile(image.cpu().numpy(), [0.5, 99.5]).tolist()
        plain = torch.as_tensor(image.as_tensor().float() - low) / (high - low or 1)
        spacing = tuple(image.pixdim.tolist())
        seed = sum(map(ord, str(data.get("case", ""))))
        changed = torch.as_tensor(np.asarray(self.change(plain.clip(0, 1), spacing, seed)))
        return {**data, "image": type(image)(changed * (high - low) + low, meta=image.meta)}
