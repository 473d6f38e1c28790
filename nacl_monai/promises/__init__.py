"""Contours, volumes and bounds of Dice with a guarantee, for the predictions of any tool.

On the command line: ``nacl-monai promise PREDICTIONS LABELS``, then ``nacl-monai promise --apply
promise.json NEW``, and ``nacl-monai triage promise.json NEW``. In Python::

    promise = nacl_monai.promise(probs, labels, spacing=(1, 1, 1))
    applied(promise, new_probs, spacing=(1, 1, 1))[0].contours["outer"]
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
