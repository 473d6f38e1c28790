from .arrays import audit
from .result import Audit, merge, read_audit

__all__ = ["Audit", "audit", "merge", "read_audit"]
