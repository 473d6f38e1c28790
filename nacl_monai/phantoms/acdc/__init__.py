"""Short-axis cine MRI of hearts, in ACDC's official layout.

A case is made in five steps:

1. anatomy: which tissue is where in a patient's heart and chest at a phase of the beat
   (`heart`, `contours`, `patient`);
2. signal: each tissue's signal on a finer grid, averaged to the scan's (`sampling`, `rendering`);
3. scanner: blur, texture, coil sensitivity and Rician noise (`scanner`);
4. annotator: labels that miss the true boundary by a smooth error (`annotator`);
5. layout: the official folders and files (`layout`).

Lengths are in millimeters. In the plane, x points to the right of the displayed image and y down;
z points from the base of the heart to its apex. Arrays are indexed (x, y, z).
"""

from nacl_monai.phantoms.acdc.layout import ACDC

__all__ = ["ACDC"]
