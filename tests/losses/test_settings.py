"""Settings are refused in one line that names them."""

import pytest

from nacl_monai.errors import InputError
from nacl_monai.losses.inputs import check_option, check_weights, require


def test_valid_settings_pass():
    """Nothing happens if there is nothing wrong."""
    require(True, "gamma", 1, "0 or more")
    check_option("prior", ["mean", "gaussian"], "gaussian")


def test_invalid_setting_is_named_with_its_value_and_remedy():
    """WHERE: what is wrong; what to do."""
    with pytest.raises(InputError) as caught:
        require(False, "gamma", -1, "0 or more")
    assert str(caught.value) == "gamma: is -1; pass 0 or more"


@pytest.mark.parametrize("weights", [(1.0, -0.1), (0, 0.0), (), (1.0, float("nan"))])
def test_weights_are_not_negative_and_not_all_zero(weights):
    """What has a negative weight is unlearned, and nothing is learned of zeros."""
    with pytest.raises(InputError) as caught:
        check_weights("weights", weights)
    assert str(caught.value) == (
        f"weights: is {list(weights)!r}; pass weights of 0 or more, not all of them 0"
    )


def test_some_weights_may_be_zero():
    """What has none is left out."""
    check_weights("weights", (0, 0.5))


def test_unknown_option_is_refused_with_all_options():
    """Whoever misspells an option sees those that there are, in their order."""
    with pytest.raises(InputError) as caught:
        check_option("prior", ["mean", "gaussian"], "median")
    assert str(caught.value) == "prior: is 'median'; pass one of mean, gaussian"
