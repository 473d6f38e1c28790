"""Neighbor-aware calibration of segmentation networks, as a MONAI application.

Packages, in the direction in which data flows; each imports only from those before it:
``losses``, ``metrics`` → ``posthoc`` → ``inference`` → ``data`` → ``reports`` → ``training``
→ ``audits`` → ``bundles`` → ``paper`` → ``dicom``, ``raters``, ``nnunet``.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.2.0"

_AUDITS = ("Audit", "audit", "merge", "read_audit")


def __getattr__(name: str) -> Any:
    """The names of `nacl_monai.audits` that matter most; loaded when one is asked for."""
    if name not in _AUDITS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nacl_monai import audits  # noqa: PLC0415

    return getattr(audits, name)
