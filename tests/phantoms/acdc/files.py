"""Looking into the folders of ACDC's patients."""

import numpy as np

CASES = 3
RV, MYO, LV = 1, 2, 3


def described(root):
    for patient in sorted((root / "training").iterdir()):
        lines = (patient / "Info.cfg").read_text().splitlines()
        yield patient, dict(line.split(": ") for line in lines)


def in_plane_neighbors(mask):
    """Voxels that share an edge in the plane with a voxel of the mask."""
    grown = np.zeros_like(mask)
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown & ~mask
