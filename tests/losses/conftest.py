"""What the tests of losses share."""

import pytest
import torch

from tests.losses import reference as slow_forms


@pytest.fixture(scope="session")
def reference():
    """Slow, obvious forms of the equations."""
    return slow_forms


@pytest.fixture(autouse=True)
def _same_numbers_every_time():
    """Every test draws the same numbers, whichever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(params=[(6, 5), (4, 3, 5)], ids=["2-D", "3-D"])
def batch(request):
    """Logits ``(2, 3, *spatial)`` in double and labels ``(2, 1, *spatial)``."""
    logits = 3 * torch.randn(2, 3, *request.param, dtype=torch.float64)
    return logits, torch.randint(3, (2, 1, *request.param))
