"""One error tells people what is wrong."""

import pytest

from nacl_monai.errors import InputError


def test_input_error_is_a_value_error_with_its_line():
    """Callers that know nothing of this package catch it; its text is the message alone."""
    with pytest.raises(ValueError, match=r"^a\.csv: is empty; evaluate again$") as caught:
        raise InputError("a.csv: is empty; evaluate again")

    assert str(caught.value) == "a.csv: is empty; evaluate again"
