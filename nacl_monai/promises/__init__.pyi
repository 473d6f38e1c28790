from .cases import Applied, Curves, applied, promise, read_curves
from .check import Check, check_promise
from .command import promise_page
from .record import Promise, read_promise
from .rules import fit

__all__ = [
    "Applied",
    "Check",
    "Curves",
    "Promise",
    "applied",
    "check_promise",
    "fit",
    "promise",
    "promise_page",
    "read_curves",
    "read_promise",
]
