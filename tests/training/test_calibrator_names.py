"""A calibrator's name says its steps, and nothing else is one."""

import itertools

import pytest

from nacl_monai.errors import SettingError
from nacl_monai.metrics import REGIONS
from nacl_monai.posthoc import METHODS
from nacl_monai.training.calibrator_names import Steps, read_name


@pytest.mark.parametrize(("method", "region"), [*itertools.product(METHODS, REGIONS)])
def test_name_says_method_region_and_where_the_ensemble_is(method, region):
    """Behind the mean, in front of it, or without one."""
    assert read_name(f"{method}_{region}") == Steps(method, region)
    assert read_name(f"ensemble_{method}_{region}") == Steps(method, region, of_mean=True)
    assert read_name(f"{method}_{region}_ensemble") == Steps(method, region, of_members=True)


def test_ensemble_alone_fits_nothing():
    """It has neither method nor region."""
    assert read_name("ensemble") == Steps("", "", of_members=True)


@pytest.mark.parametrize(
    "name",
    [
        *(None, "", "temperature", "platt_union", "temperature_edge", "_ensemble", "ensemble_"),
        *("ensemble_ensemble", "ensemble_temperature", "ensemble_temperature_union_ensemble"),
    ],
)
def test_other_names_are_refused(name):
    """The message says what a name is made of, with the choices."""
    with pytest.raises(SettingError, match="write <method>_<region> with a method out of temper"):
        read_name(name)
