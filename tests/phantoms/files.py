"""Looking into a phantom's files."""

import nibabel
import numpy as np


def contents(root):
    """Each file's bytes, by its path below ``root``."""
    paths = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def voxels(path):
    """The values of an image, of the type on disk."""
    return np.asarray(nibabel.load(path).dataobj)


def neighbors(mask):
    """Voxels outside the mask that share a face with one of its voxels."""
    padded = np.pad(mask, 1)
    near = np.zeros_like(padded)
    for axis in range(mask.ndim):
        near |= np.roll(padded, 1, axis) | np.roll(padded, -1, axis)
    return near[(slice(1, -1),) * mask.ndim] & ~mask
