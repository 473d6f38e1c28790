"""One look for all progress bars."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import torch.distributed
from tqdm import tqdm

#: So many seconds a bar in a file says nothing, and then between its lines.
QUIET = 30.0


def process_rank() -> int:
    """Which of several processes this is, 0 where it is alone, as Ignite says, which loads slowly."""
    distributed = torch.distributed
    return (
        distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
    )


def progress_bar(
    iterable: Iterable[Any] | None = None, *, description: str, unit: str, total: int | None = None
) -> tqdm[Any]:
    """Returns a tqdm bar on standard error; in a file it is quiet, and has few lines.

    Only the first of several processes shows it.

    Args:
        iterable: What the bar counts; if None, the caller updates the bar.
        description: Shown in front of the bar.
        unit: What is counted, in the singular.
        total: How many there are; taken from the iterable if None.
    """
    interval = 0.1 if sys.stderr.isatty() else QUIET
    return tqdm(
        iterable,
        desc=description,
        unit=unit,
        total=total,
        mininterval=interval,
        delay=0 if sys.stderr.isatty() else interval,
        disable=process_rank() > 0,
    )
