"""Every key that has a range is held to it, whoever set it."""

import pytest
import torch
from monai.bundle import ConfigParser

from nacl_monai.bundles.overrides import LIMITS, check_limits
from nacl_monai.errors import SettingError
from tests.configurations.conftest import ROOT


@pytest.mark.parametrize("key", [key for key, limit in LIMITS.items() if limit.high < float("inf")])
def test_both_ends_are_allowed_and_nothing_beyond(key):
    """The ends themselves are allowed; what is beyond is refused, be it from a file or a command."""
    limit = LIMITS[key]
    length = limit.length

    def check(number):
        config = {}
        ConfigParser(config).set(number if length is None else [number] * length, key)
        check_limits(ConfigParser(config), {})

    for end in (limit.low, limit.high):
        check(end)
    for beyond in (limit.low - 1, limit.high + 1, -limit.high):
        if not limit.low <= beyond <= limit.high:
            with pytest.raises(SettingError, match=f"--{key} .*: is not .* from .* to"):
                check(beyond)


@pytest.mark.parametrize("size", [[8], [8, 8, 8], [], [8, "8"], 8])
def test_length_of_a_list_is_held(size):
    """A slice has two sides."""
    with pytest.raises(SettingError, match="--spatial_size .*: is not a list of 2 whole numbers"):
        check_limits(ConfigParser({"spatial_size": size}), {"spatial_size": [1, 1]})


def test_every_limit_is_of_a_key_of_the_bundles():
    """A key that is no more, or misspelled, is not a limit."""
    files = [str(file) for file in (ROOT / "bundles").rglob("*.yaml")]
    parser = ConfigParser(ConfigParser.load_config_files(files))

    assert [key for key in LIMITS if key not in parser] == ["inferer::overlap"]  # which MONAI takes


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), "$torch.device('cpu')"])
def test_device_that_is_there_is_accepted(device):
    """As text, as a device, or as an expression of one."""
    check_limits(ConfigParser({"device": device}), {})


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta", "", "cpu:x", "$'nix'"])
def test_device_that_is_not_there_is_refused_with_those_that_are(device):
    """Before MONAI says so in its own words."""
    with pytest.raises(SettingError, match="--device .*: is not there; choose from: cpu"):
        check_limits(ConfigParser({"device": device}), {})


def test_gpu_is_told_by_its_number(monkeypatch):
    """Without taking memory of it."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    for device in ("cuda", "cuda:1"):
        check_limits(ConfigParser({"device": device}), {})
    with pytest.raises(
        SettingError, match="cuda:2: is not there; choose from: cpu, cuda:0, cuda:1$"
    ):
        check_limits(ConfigParser({"device": "cuda:2"}), {})


def test_choices_are_held():
    """A set of a split is one of three."""
    check_limits(ConfigParser({"cases_to_evaluate": "val"}), {})
    with pytest.raises(SettingError, match="tset: is not one of train, val, test"):
        check_limits(ConfigParser({"cases_to_evaluate": "tset"}), {})
