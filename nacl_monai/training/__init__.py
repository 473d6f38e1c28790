"""For the configurations: strictness, errors in one line, a run's folder, processes, weights."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
