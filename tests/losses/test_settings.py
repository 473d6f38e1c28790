"""Settings are refused in one line that names them."""

import pytest

from nacl_monai.errors import InputError
from nacl_monai.losses.settings import check_option, require


def test_valid_settings_pass():
    """Nothing happens if there is nothing wrong."""
    require(True, "gamma", 1, "0 or more")
    check_option("prior", ["mean", "gaussian"], "gaussian")


def test_invalid_setting_is_named_with_its_value_and_remedy():
    """WHERE: what is wrong; what to do."""
    with pytest.raises(InputError) as caught:
        require(False, "gamma", -1, "0 or more")
    assert str(caught.value) == "gamma: is -1; pass 0 or more"


def test_unknown_option_is_refused_with_all_options():
    """Whoever misspells an option sees those that there are, in their order."""
    with pytest.raises(InputError) as caught:
        check_option("prior", ["mean", "gaussian"], "median")
    assert str(caught.value) == "prior: is 'median'; pass one of mean, gaussian"
