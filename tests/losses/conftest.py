"""What the tests of losses share."""

import importlib.util
from pathlib import Path

import pytest
import torch


def load_reference():
    """The module of slow forms beside this file."""
    path = Path(__file__).with_name("reference.py")
    spec = importlib.util.spec_from_file_location("losses_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def reference():
    """Slow, obvious forms of the equations."""
    return load_reference()


@pytest.fixture(autouse=True)
def _same_numbers_every_time():
    """Every test draws the same numbers, whichever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(params=[(6, 5), (4, 3, 5)], ids=["2-D", "3-D"])
def batch(request):
    """Logits ``(2, 3, *spatial)`` in double and labels ``(2, 1, *spatial)``."""
    logits = 3 * torch.randn(2, 3, *request.param, dtype=torch.float64)
    return logits, torch.randint(3, (2, 1, *request.param))
