"""Fragments are merged into the configurations of a run, with what it was trained with."""

import json

import pytest

from nacl_monai.bundles.self_contained import run_configs
from nacl_monai.errors import InputError
from tests.bundles.conftest import BUNDLES


def test_fragments_are_merged_with_overrides_and_nothing_is_evaluated(run):
    """Each configuration has the overrides of its own keys, and expressions stay expressions."""
    overrides = {"spatial_size": [32, 32], "loss": "@losses::ecp"}
    configs = run_configs("hippocampus", overrides, run, BUNDLES)

    assert list(configs) == ["train", "evaluate", "inference"]
    assert all(config["spatial_size"] == [32, 32] for config in configs.values())
    assert configs["train"]["loss"] == "@losses::ecp"
    assert "loss" not in configs["inference"]
    assert configs["inference"]["networks"]["unet"]["out_channels"] == "$len(@classes)"


def test_nested_override_changes_that_entry_alone(run):
    """An override below a menu changes that entry, in each configuration that has the menu."""
    configs = run_configs("hippocampus", {"networks#unet#num_res_units": 0}, run, BUNDLES)

    for config in configs.values():
        assert config["networks"]["unet"]["num_res_units"] == 0
        assert config["networks"]["unet"]["strides"] == [2, 2, 2, 2]


@pytest.fixture
def record(run):
    """Writes the configuration that the run was trained with."""
    return lambda **keys: (run / "config.json").write_text(json.dumps(keys))


def test_record_of_the_run_is_believed_where_keys_are_shared(run, record):
    """Training has all that the record says of its keys; the others what it says of shared ones."""
    record(spatial_size=[32, 32], loss="@losses::ecp", handlers=["trained"], seed=7, unknown=1)

    configs = run_configs("hippocampus", {}, run, BUNDLES)

    assert all(config["spatial_size"] == [32, 32] for config in configs.values())
    assert (configs["train"]["loss"], configs["train"]["seed"]) == ("@losses::ecp", 7)
    assert all(config.get("handlers") != ["trained"] for config in configs.values())
    assert not any("unknown" in config for config in configs.values())


def test_configurations_of_a_record_share_no_object(run, record):
    """An override of one configuration cannot leak into another through the record."""
    record(structures={"anterior": [1]})

    configs = run_configs("hippocampus", {"structures::anterior": [1, 2]}, run, BUNDLES)

    assert configs["train"]["structures"] == configs["inference"]["structures"]
    assert configs["train"]["structures"] is not configs["inference"]["structures"]


@pytest.mark.parametrize("key", ["imports", "losses", "unknown"])
def test_code_of_a_record_is_executed_only_if_it_is_trusted(run, record, tmp_path, key):
    """An import would be, by the very check of the configuration."""
    (tmp_path / "evil.py").write_text("raise SystemExit('executed')")
    record(**{key: ["$import evil"]})

    with pytest.raises(
        InputError, match=rf"config.json: {key}::0 is '\$import evil', code that no "
    ):
        run_configs("hippocampus", {}, run, BUNDLES)


def test_trusted_code_is_taken(run, record):
    """A network of one's own, say."""
    record(network_def={"_target_": "torch.nn.Conv2d", "in_channels": "@in_channels"})

    configs = run_configs("hippocampus", {}, run, BUNDLES, trust=True)

    assert configs["inference"]["network_def"]["_target_"] == "torch.nn.Conv2d"


def test_bare_name_in_a_record_is_refused(run, record):
    """MONAI would make its own class, whether the name is from a file or from the command line."""
    record(loss={"_target_": "FocalLoss"})

    with pytest.raises(InputError, match=r"loss::_target_: .* write nacl_monai.losses.FocalLoss"):
        run_configs("hippocampus", {}, run, BUNDLES, trust=True)
