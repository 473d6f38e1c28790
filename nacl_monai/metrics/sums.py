"""Sums over voxels, which add up over cases: what a metric keeps instead of the voxels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
import torch

SumsT = TypeVar("SumsT", bound="VoxelSums")


@dataclass(frozen=True)
class VoxelSums:
    """Tensors with the same leading axes (cases, regions), each entry a sum over voxels.

    Adding two objects gives the sums over both sets of voxels.
    """

    def tensors(self) -> list[torch.Tensor]:
        """The tensors in the order of the attributes."""
        return list(vars(self).values())

    def __add__(self: SumsT, other: SumsT) -> SumsT:
        pairs = zip(self.tensors(), other.tensors(), strict=True)
        return type(self)(*(one + another for one, another in pairs))

    def __getitem__(self: SumsT, index: Any) -> SumsT:
        return type(self)(*(tensor[index] for tensor in self.tensors()))

    def pooled(self: SumsT, dim: int = 0) -> SumsT:
        """The sums over all voxels along one leading axis, by default over all cases."""
        return type(self)(*(tensor.sum(dim) for tensor in self.tensors()))

    @classmethod
    def joined(cls: type[SumsT], parts: Sequence[SumsT]) -> SumsT:
        """The cases of several objects, one after the other along the first axis."""
        return cls(*map(torch.cat, zip(*(part.tensors() for part in parts), strict=True)))

    def arrays(self, prefix: str = "") -> dict[str, np.ndarray[Any, Any]]:
        """The tensors as arrays under their names, as an NPZ file holds them."""
        return {f"{prefix}{name}": tensor.cpu().numpy() for name, tensor in vars(self).items()}

    @classmethod
    def from_arrays(
        cls: type[SumsT], arrays: Mapping[str, np.ndarray[Any, Any]], prefix: str = ""
    ) -> SumsT:
        """The inverse of :meth:`arrays`; other keys of the mapping are ignored."""
        return cls(*(torch.from_numpy(arrays[f"{prefix}{field.name}"]) for field in fields(cls)))

    @classmethod
    def take(cls: type[SumsT], tensors: Iterator[torch.Tensor]) -> SumsT:
        """Takes as many tensors from an iterator as there are attributes, in their order."""
        return cls(*(next(tensors) for _ in fields(cls)))
