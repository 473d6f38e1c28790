"""Processes that share the work on cases, as long as a block runs."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

import torch

from nacl_monai.errors import InputError
from nacl_monai.tensors import keep_freed_memory

Map = Callable[..., Iterable[Any]]
#: The processes of the blocks around, by their number.
_SHARED: dict[int, Map] = {}


@contextmanager
def processes(jobs: int) -> Iterator[Map]:
    """Yields a function like `map` that shares the work among processes, as long as the block runs.

    A block within another of as many processes has the same ones, which import all once.

    Raises:
        InputError: If a process was killed.
    """
    if jobs in _SHARED:
        yield _SHARED[jobs]
        return
    if jobs < 2:
        _start()
        yield map
        return
    # A process that is forked after torch has started threads may hang.
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // jobs)
    try:
        with ProcessPoolExecutor(jobs, context, _start, (threads,)) as pool:
            _SHARED[jobs] = pool.map
            yield pool.map
    except BrokenProcessPool as error:
        raise InputError(
            f"--jobs: one of {jobs} processes was killed, most likely for its memory; give fewer"
        ) from error
    finally:
        _SHARED.pop(jobs, None)


def _start(threads: int | None = None) -> None:
    """Prepares a process that reads volumes."""
    keep_freed_memory()
    if threads is not None:
        torch.set_num_threads(threads)
