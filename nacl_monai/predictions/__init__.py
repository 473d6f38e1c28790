"""A study: predictions of any tool, found once, named once, read in one loop.

Every command on saved predictions, with labels or without, through a calibrator or as an ensemble,
begins with `find` and loops by `Study.each`. A new layout is a row of `LAYOUTS`, a new option
a row of `nacl_monai.predictions.options`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
