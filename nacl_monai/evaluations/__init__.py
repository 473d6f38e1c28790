"""The folder of an evaluation or an audit, written and read in one place, and its statistics.

Numbers alone: whatever draws them is in `nacl_monai.reports`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
