"""Segmentation of new images: find them, read and check them, save four maps of each on its own grid.

This package imports only torch, MONAI, NumPy, nibabel, the standard library and `nacl_monai.errors`:
every exported bundle carries a copy of it as ``scripts/inference``, and inference needs nothing else.
Every fault that a user can put right is an `InputError`, which `monai.bundle run` ends with in one line
and exit code 1, and which a host of the bundle can catch. A fault of one image does not keep the others
from being segmented.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cases import find_cases
    from .images import ReadImage
    from .saving import SaveMaps, SavePromised
    from .segmenter import Segmenter
    from .windows import Behind, CalibratedInferer, WindowInferer, bundled

__all__ = [
    "Behind",
    "CalibratedInferer",
    "ReadImage",
    "SaveMaps",
    "SavePromised",
    "Segmenter",
    "WindowInferer",
    "bundled",
    "find_cases",
]

# Loaded when one is asked for: audits read and write files by this package without MONAI.
_PLACES = {
    "Behind": "windows",
    "CalibratedInferer": "windows",
    "ReadImage": "images",
    "SaveMaps": "saving",
    "SavePromised": "saving",
    "Segmenter": "segmenter",
    "WindowInferer": "windows",
    "bundled": "windows",
    "find_cases": "cases",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
