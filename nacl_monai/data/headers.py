"""What a file says about its voxels before any of them is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from nacl_monai.data.faults import SPATIAL_AXES, VoxelGrid, check_three_axes, not_real_numbers
from nacl_monai.data.reading import readable


@dataclass(frozen=True)
class Header:
    """The header of a NIfTI file.

    Attributes:
        grid: The file's voxels, with an affine in SimpleITK's coordinates (LPS+).
        spacing: Size of a voxel along each axis, in mm.
        channels: Length of the fourth axis, or 1.
    """

    grid: VoxelGrid
    spacing: tuple[float, ...]
    channels: int

    @classmethod
    def read(cls, file: str) -> Header:
        """Reads a header alone.

        Raises:
            InputError: If the file cannot be read, is not 3-D, or its voxels are not plain numbers.
        """
        reader: Any = sitk.ImageFileReader()  # type: ignore[no-untyped-call]
        reader.SetFileName(file)
        with readable(file):
            reader.ReadImageInformation()
        if reader.GetNumberOfComponents() != 1:
            kind = sitk.GetPixelIDValueAsString(reader.GetPixelIDValue())  # type: ignore[no-untyped-call]
            raise not_real_numbers(file, kind)
        size, axes = reader.GetSize(), reader.GetDimension()
        check_three_axes(file, size[:-1] if axes > SPATIAL_AXES else size)
        spacing = reader.GetSpacing()[:SPATIAL_AXES]
        direction = np.reshape(reader.GetDirection(), (axes, axes))[:SPATIAL_AXES, :SPATIAL_AXES]
        affine = np.column_stack([direction * spacing, reader.GetOrigin()[:SPATIAL_AXES]])
        grid = VoxelGrid(file, size[:SPATIAL_AXES], affine)
        return cls(grid, spacing, int(np.prod(size[SPATIAL_AXES:])))
