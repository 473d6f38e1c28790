"""Reports are drawn without pixels, but for tests that ask for them."""

import pytest


@pytest.fixture(autouse=True)
def _unpainted(unpainted):
    """Figures without pixels take a tenth of the time."""
