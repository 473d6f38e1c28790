from .arrays import audit
from .layouts import LAYOUTS, Layout
from .result import Audit, merge, read_audit

__all__ = ["LAYOUTS", "Audit", "Layout", "audit", "merge", "read_audit"]
