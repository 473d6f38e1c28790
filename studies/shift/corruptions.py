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

#: An image, the size of its voxels in mm, a seed and a strength → the image, changed.
Change = Callable[[Tensor, tuple[float, ...], int, float], Tensor]


def noise(image: Tensor, _spacing: tuple[float, ...], seed: int, share: float) -> Tensor:
    """Gaussian noise, whose standard deviation is a share of the range of intensities."""
    drawn = RandGaussianNoise(prob=1, std=share, sample_std=False)
    return drawn.set_random_state(seed)(image)


def blur(image: Tensor, spacing: tuple[float, ...], _seed: int, mm: float) -> Tensor:
    """A Gaussian blur of a width in mm."""
    return GaussianSmooth([mm / size for size in spacing])(image)


def bias(image: Tensor, _spacing: tuple[float, ...], seed: int, coefficient: float) -> Tensor:
    """A bias field: the exponential of a polynomial of degree 3 with drawn coefficients."""
    drawn = RandBiasField(prob=1, degree=3, coeff_range=(-coefficient, coefficient))
    return drawn.set_random_state(seed)(image)


def gamma(image: Tensor, _spacing: tuple[float, ...], _seed: int, power: float) -> Tensor:
    """Intensities to a power."""
    return AdjustContrast(power)(image)


def resolution(image: Tensor, _spacing: tuple[float, ...], seed: int, factor: float) -> Tensor:
    """Voxels so many times as large, on the image's own grid."""
    zoom = 1 / factor
    drawn = RandSimulateLowResolution(prob=1, downsample_mode="area", zoom_range=(zoom, zoom))
    return drawn.set_random_state(seed)(image)


def ghosting(image: Tensor, _spacing: tuple[float, ...], _seed: int, strength: float) -> Tensor:
    """Motion in a rhythm: every fourth line of k-space along the second axis is weakened by a share.

    The center, by which the image keeps its brightness, stays.
    """
    spectrum = torch.fft.fft(image, dim=2)
    lines = torch.ones(image.shape[2])
    lines[::4] = 1 - strength
    lines[0] = 1
    return torch.fft.ifft(spectrum * lines[None, None, :, None], dim=2).real


#: Kind → the change, and its strength in four degrees.
CHANGES: dict[str, tuple[Change, tuple[float, ...]]] = {
    "noise": (noise, (0.02, 0.05, 0.1, 0.2)),
    "blur": (blur, (0.5, 1.0, 1.5, 2.0)),
    "bias field": (bias, (0.1, 0.2, 0.4, 0.6)),
    "gamma": (gamma, (1.25, 1.5, 2.0, 3.0)),
    "resolution": (resolution, (1.5, 2.0, 3.0, 4.0)),
    "ghosting": (ghosting, (0.2, 0.4, 0.6, 0.8)),
}


class Corrupt:
    """Changes the image of a case, of its intensities from the 0.5th to the 99.5th percentile as 0 to 1.

    Args:
        kind: A key of `CHANGES`; empty for none.
        degree: 1 to 4.
    """

    def __init__(self, kind: str, degree: int) -> None:
        self.kind, self.degree = kind, degree

    def __call__(self, data: dict[str, object]) -> dict[str, object]:
        """Changes ``image``; the same case is always changed alike."""
        image = data["image"]
        if not self.kind or not isinstance(image, torch.Tensor):
            return data
        low, high = np.percentile(image.cpu().numpy(), [0.5, 99.5]).tolist()
        plain = torch.as_tensor(image.as_tensor().float() - low) / (high - low or 1)
        spacing = tuple(image.pixdim.tolist())
        seed = sum(map(ord, str(data.get("case", ""))))
        change, strengths = CHANGES[self.kind]
        strength = strengths[self.degree - 1]
        changed = torch.as_tensor(np.asarray(change(plain.clip(0, 1), spacing, seed, strength)))
        return {**data, "image": type(image)(changed * (high - low) + low, meta=image.meta)}
