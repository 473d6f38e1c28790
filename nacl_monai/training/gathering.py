"""What several processes know, together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import ignite.distributed as idist
import torch

Value = TypeVar("Value")


def gathered(value: Value) -> list[Value]:
    """The values of all processes, in their order."""
    if idist.get_world_size() == 1:
        return [value]
    values: list[Any] = [None] * idist.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def joined(values: Sequence[Value]) -> list[Value]:
    """The lists of all processes as one, in the order in which MONAI gathers its metrics."""
    return [value for of_process in gathered(values) for value in of_process]
