"""The learning rate falls after half of the epochs."""

import pytest

from nacl_monai.runtime import half_of_epochs


@pytest.mark.parametrize(("epochs", "half"), [(100, 50), (3, 1), (2, 1), (1, 1), (0, 1)])
def test_half_is_a_whole_number_of_at_least_one(epochs, half):
    """The scheduler takes no other."""
    assert half_of_epochs(epochs) == half
