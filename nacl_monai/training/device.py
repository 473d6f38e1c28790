"""Where a network runs."""

from __future__ import annotations

import torch


def default_device() -> torch.device:
    """The GPU if there is one that CUDA or ROCm can use, else the CPU.

    Ignite's ``idist.device()`` prefers Apple's GPU to the CPU; it lacks float64, which transforms need.
    """
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
