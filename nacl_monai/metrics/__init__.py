"""Exact calibration errors by region, proper scores and surface distances.

Functions take probabilities ``(B, C, *spatial)`` and labels ``(B, 1, *spatial)`` or
``(B, *spatial)``; the metric classes accumulate them over a dataset, in MONAI's handlers as well. NumPy
arrays, one-hot labels, probabilities in a byte and a single case without batch axis are taken, too.
MONAI is loaded only with the metric classes.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
