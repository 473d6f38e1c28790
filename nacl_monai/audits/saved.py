"""A case whose probabilities were saved, and what they are once they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Affine = npt.NDArray[np.float64] | None


@dataclass(frozen=True)
class Prediction:
    """The files of a case.

    Attributes:
        case: Its name.
        files: The class of each file, or "" for one file with all classes → the file.
    """

    case: str
    files: Mapping[str, Path]

    @property
    def file(self) -> Path:
        """The first file."""
        return next(iter(self.files.values()))


@dataclass(frozen=True)
class Probabilities:
    """The voxels of a case.

    Attributes:
        voxels: ``(C, z, y, x)``, as they were stored: half precision stays, and uint8 counts 255ths.
        affine: From ``(x, y, z)`` to mm, RAS+; None where no file says.
        file: The file of the voxels.
        source: The file that says where they are.
        turned: Whether the axes were turned to run right, anterior and superior before; the affine is
            that of the image all the same.
        whole: Whether whole numbers are stored.
        segmentation: The file of the most probable classes, if there is one.
        step: The step between stored probabilities, where the dtype does not say, as of integers that
            a file scales.
    """

    voxels: npt.NDArray[Any]
    affine: Affine
    file: Path
    source: Path
    turned: bool = False
    whole: bool = False
    segmentation: Path | None = None
    step: float | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along x, y and z."""
        return tuple(self.voxels.shape[:0:-1])
