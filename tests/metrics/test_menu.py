"""The menu of errors: each has sums that somebody collects, and a name that is known."""

import pytest

from nacl_monai.errors import InputError
from nacl_monai.metrics.columns import COLLECTORS, DEFAULT_ERRORS, ERRORS, named_errors


@pytest.mark.parametrize("name", ERRORS)
def test_sums_of_every_error_are_collected(name):
    """Else its metric would wait for them in vain."""
    assert ERRORS[name].sums in COLLECTORS


def test_defaults_are_on_the_menu():
    """In the order of an evaluation's columns."""
    assert list(named_errors(DEFAULT_ERRORS)) == list(DEFAULT_ERRORS)


@pytest.mark.parametrize("names", [[], ["ece", "ecce"], "ece"])
def test_unknown_error_is_refused_with_the_choices(names):
    """A string is not a list, though it has letters."""
    with pytest.raises(InputError, match="errors: is .*; choose a list from ece, ace"):
        named_errors(names)
