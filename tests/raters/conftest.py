"""Folders of raters whose borders are, independently, some mm away from a true one."""

import nibabel
import numpy as np
import pytest


def disc(shape, spacing, radius, shift):
    """A disc in every slice, whose radius a rater missed by ``shift`` mm, ``(x, y, z)``."""
    x, y = (
        (np.arange(n) - (n - 1) / 2) * size for n, size in zip(shape[:2], spacing[:2], strict=True)
    )
    distance = np.hypot(x[:, None], y[None])[..., None]
    return (distance < radius + shift).astype(np.uint8)


def write_raters(
    root, raters=2, cases=12, error=1.0, spacing=(1.0, 1.0, 4.0), shape=(48, 48, 5), seed=0
):
    """Writes ``root/RATER/CASE.nii.gz``; returns the folders."""
    rng = np.random.default_rng(seed)
    folders = [root / f"rater{k}" for k in range(raters)]
    for folder in folders:
        folder.mkdir(parents=True)
    for case in range(cases):
        radius = rng.uniform(9, 13)
        for folder in folders:
            label = disc(shape, spacing, radius, error * rng.standard_normal(shape[2]))
            image = nibabel.Nifti1Image(label, np.diag([*spacing, 1.0]))
            nibabel.save(image, folder / f"case{case:02d}.nii.gz")
    return folders


@pytest.fixture
def write():
    return write_raters
