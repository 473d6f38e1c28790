from .cases import Applied, applied, promise
from .curves import Curves, read_curves
from .fit import Promise, fit, read_promise

__all__ = [
    "Applied",
    "Curves",
    "Promise",
    "applied",
    "fit",
    "promise",
    "read_curves",
    "read_promise",
]
