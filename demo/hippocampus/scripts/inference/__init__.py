"""Segmentation of new images: find them, read and check them, save four maps of each on its own grid.

This package imports only torch, MONAI, NumPy, nibabel and the standard library: every exported bundle
carries a copy of it as ``scripts/inference``, so that inference needs nothing else. Every fault that a
user can put right is one line, ``error: WHERE: what is wrong; what to do``, and exit code 1. A fault of
one image does not keep the others from being segmented.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cases import find_cases
    from .images import ReadImage
    from .saving import SaveMaps, SavePromised
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

# Loaded when one is asked for: audits read and write files by this package without MONAI.
_PLACES = {
    "Behind": "windows",
    "ReadImage": "images",
    "SaveMaps": "saving",
    "SavePromised": "saving",
    "Segmenter": "segmenter",
    "WindowInferer": "windows",
    "find_cases": "cases",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
