from .arrays import audit
from .layouts import LAYOUTS, Layout
from .merging import merge
from .result import Audit, read_audit

__all__ = ["LAYOUTS", "Audit", "Layout", "audit", "merge", "read_audit"]
