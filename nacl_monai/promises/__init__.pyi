from .cases import Applied, applied, promise
from .curves import Curves, read_curves
from .fit import Promise, fit, read_promise
from .handler import CaseCurves
from .page import promise_page

__all__ = [
    "Applied",
    "CaseCurves",
    "Curves",
    "Promise",
    "applied",
    "fit",
    "promise",
    "promise_page",
    "read_curves",
    "read_promise",
]
