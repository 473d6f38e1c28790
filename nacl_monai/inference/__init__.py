"""Segmentation of new images: find them, read and check them, save four maps of each on its own grid.

This package imports only torch, MONAI, NumPy, nibabel and the standard library: every exported bundle
carries a copy of it as ``scripts/inference``, so that inference needs nothing else. Every fault that a
user can put right is one line, ``error: WHERE: what is wrong; what to do``, and exit code 1. A fault of
one image does not keep the others from being segmented.
"""

from .cases import find_cases
from .images import ReadImage
from .promised import SavePromised
from .saving import SaveMaps
from .segmenter import Segmenter
from .windows import Behind, WindowInferer

__all__ = [
    "Behind",
    "ReadImage",
    "SaveMaps",
    "SavePromised",
    "Segmenter",
    "WindowInferer",
    "find_cases",
]
