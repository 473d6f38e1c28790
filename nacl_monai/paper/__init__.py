"""The paper's grid of experiments, its published numbers, and its tables and figures made anew.

On the command line: ``nacl-monai paper table1 RUNS --output DIR`` to ``figure11``; ``all`` of
them; and ``report``, one page.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
