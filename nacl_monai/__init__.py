"""Audit, calibrate and guarantee the probabilities of medical image segmentation, and train networks.

`metrics`, `posthoc`, `audits` and `promises` measure saved predictions, and need neither MONAI nor a
network; `losses`, `networks` and `training` make networks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from nacl_monai import audits as audits
    from nacl_monai import losses as losses
    from nacl_monai import metrics as metrics
    from nacl_monai import networks as networks
    from nacl_monai import posthoc as posthoc
    from nacl_monai import promises as promises
    from nacl_monai import training as training
    from nacl_monai.audits import Audit, audit, merge, read_audit
    from nacl_monai.promises import Promise, promise, read_promise
    from nacl_monai.promises.verbs import calibrate, report, triage, view

__version__ = "0.5.0"

_PACKAGES = ("losses", "metrics", "posthoc", "networks", "training", "audits", "promises")
_NAMES = {
    "audits": ["Audit", "audit", "merge", "read_audit"],
    "promises": ["Promise", "promise", "read_promise"],
    "promises.verbs": ["calibrate", "report", "triage", "view"],
}
# What matters most of the two, and packages; loaded when one is asked for.
_load, _list, _ = lazy_loader.attach(__name__, _PACKAGES, _NAMES)
if not TYPE_CHECKING:  # which would take any other name for one of these
    __getattr__ = _load
__all__ = [
    "Audit",
    "Promise",
    "audit",
    "calibrate",
    "merge",
    "promise",
    "read_audit",
    "read_promise",
    "report",
    "triage",
    "view",
]


def __dir__() -> list[str]:
    return [*_list(), "__version__"]
