"""One is one, and none are several."""

import pytest

from nacl_monai.counting import counted


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 cases"), (1, "1 case"), (2, "2 cases"), (21, "21 cases")]
)
def test_noun_is_in_the_plural_unless_there_is_one(number, words):
    """In tables, captions and what commands print."""
    assert counted(number, "case") == words
