"""The demo: from the package's MRI data to a table and three pictures, in minutes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
