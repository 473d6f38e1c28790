"""The distance that a command may be given."""

import pytest

from nacl_monai.data.cases import distance


@pytest.mark.parametrize(("text", "number"), [("0", 0.0), ("0.01", 0.01), ("1e2", 100.0)])
def test_distance_is_a_number(text, number):
    """It is in millimeters."""
    assert distance(text) == number


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "-0.001", "near"])
def test_what_is_no_distance_is_refused(text):
    """Nothing is within NaN of anything, and everything within infinity."""
    with pytest.raises(ValueError, match=text):
        distance(text)
