"""Tables and figures from the numbers that `nacl_monai.evaluations` reads; no model is loaded.

On the command line: ``nacl-monai compare RUN [RUN ...] --output DIR``, and ``nacl-monai draw``
``reliability`` (any region, any class), ``selective`` (risk and coverage) and ``logits``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
