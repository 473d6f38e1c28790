"""Saved predictions of any tool → the numbers, files and figures of an evaluation.

On the command line: ``nacl-monai audit PREDICTIONS [PREDICTIONS …] LABELS``, and ``nacl-monai merge``.
In Python, arrays or folders::

    found = audit(probs, labels)
    found.ece("foreground")
    found.plot().savefig("reliability.png")
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
