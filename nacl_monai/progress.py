"""One look for all progress bars."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import ignite.distributed as idist
from tqdm import tqdm


def progress_bar(
    iterable: Iterable[Any] | None = None, *, description: str, unit: str, total: int | None = None
) -> tqdm[Any]:
    """A tqdm bar on standard error; where that is a file, a line every 30 seconds instead.

    Of several processes the first alone shows it.
    """
    interval = 0.1 if sys.stderr.isatty() else 30.0
    return tqdm(
        iterable,
        desc=description,
        unit=unit,
        total=total,
        mininterval=interval,
        disable=idist.get_rank() > 0,
    )
