"""Saved predictions of any tool → the numbers, files and figures of an evaluation.

On the command line: ``nacl-monai audit PREDICTIONS [PREDICTIONS …] LABELS``, and ``nacl-monai merge``.
In Python, arrays or folders:

    found = audit(probs, labels)
    found.ece("foreground")
    found.plot().savefig("reliability.png")
"""

from nacl_monai.predictions.arrays import audit
from nacl_monai.predictions.layouts import LAYOUTS, Layout
from nacl_monai.predictions.merging import merge
from nacl_monai.predictions.result import Audit, read_audit

__all__ = ["LAYOUTS", "Audit", "Layout", "audit", "merge", "read_audit"]
