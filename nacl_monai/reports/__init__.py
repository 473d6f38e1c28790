"""Tables and figures from the numbers that `nacl_monai.evaluations` reads; no model is loaded.

On the command line: ``nacl-monai compare RUN [RUN ...] --output DIR``, and ``nacl-monai draw``
``reliability`` (any region, any class), ``selective`` (risk and coverage) and ``logits``.
"""

from typing import Any

import lazy_loader

from nacl_monai import evaluations

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    """A name of this package, or of `nacl_monai.evaluations`, whose names this package once had."""
    return getattr(evaluations, name) if name in evaluations.__all__ else _load(name)
