"""What no name of a training says is said once: lengths that differ, networks unlike the menu's."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from nacl_monai.errors import InputError
from nacl_monai.paper.grid import Method, Setup, read_name
from nacl_monai.paper.remarks import remarks

MENU = yaml.safe_load(Path("bundles/common/model.yaml").read_text(encoding="utf-8"))["networks"]


@pytest.fixture
def run(tmp_path):
    """Writes the configuration of a training; returns what names it."""

    def write(name, config, dataset="acdc"):
        folder = tmp_path / dataset / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config))
        return {read_name(dataset, name): folder}

    return write


def changed(network, /, **settings):
    return {"networks": {**MENU, network: {**MENU[network], **settings}}}


def test_lengths_are_told_once_each_where_they_differ(run):
    """Shortest first; a record that has none says nothing."""
    forty = run("unet_nacl_seed0", {"max_epochs": 40}) | run("unet_svls_seed0", {"max_epochs": 40})
    fewer, none = run("unet_nacl_seed1", {"max_epochs": 9}), run("unet_ecp_seed0", {})

    assert remarks({}) == remarks(forty | none) == []
    assert remarks(forty | fewer | none) == ["Trained for 9 or 40 epochs."]
    more = run("unet_focal_seed0", {"max_epochs": 100})
    assert remarks(more | forty | fewer) == ["Trained for 9, 40 or 100 epochs."]


def test_means_over_different_seeds_are_told(run):
    """Where trainings have no common seed; an ensemble has several anyhow."""
    first, second = run("unet_nacl_seed0", {}), run("unet_svls_seed1", {})
    ensemble = {
        replace(one, setup=Setup(Method("nacl", after=("ensemble",)))): path
        for one, path in run("unet_nacl_seed2", {}).items()
    }
    unlike = "no seed in common."

    assert remarks(first | ensemble) == remarks(second | ensemble) == remarks(ensemble) == []
    assert remarks(first | second) == [f"The trainings have {unlike}"]
    assert remarks(first | second | run("unet_svls_seed0", {})) == []
    other = run("unet_nacl_seed0", {}, "hippocampus")
    assert remarks(first | second | other) == [f"The trainings on ACDC have {unlike}"]


def test_network_of_another_size_is_told_with_what_was_changed(run):
    """Once, however many were trained; not those that are as in the menu, nor those of another run."""
    small = {"embed_dim": 192, "depth": 4}
    runs = run("transunet_nacl_seed0", changed("transunet", **small))
    runs |= run("transunet_svls_seed0", changed("transunet", **small))
    runs |= run("unet_nacl_seed0", changed("transunet", **small))

    assert remarks(runs) == ["TransUNet with embed_dim 192, depth 4."]


def test_change_within_an_argument_is_told_alone(run):
    """A change in a network that is wrapped."""
    inner = {**MENU["basic_unet_plus_plus"]["network"], "features": [8, 8, 16, 32, 64, 8]}
    runs = run("basic_unet_plus_plus_nacl_seed0", changed("basic_unet_plus_plus", network=inner))

    assert remarks(runs) == ["UNet++ with features [8, 8, 16, 32, 64, 8]."]


def test_argument_or_class_that_the_menu_lacks_is_told(run):
    """Whatever makes the network another one."""
    runs = run("unet_nacl_seed0", changed("unet", _target_="mine.Net", dropout=0.1))

    assert remarks(runs) == ["UNet with _target_ mine.Net, dropout 0.1."]


def test_value_is_compared_whatever_way_it_is_written(run):
    """An earlier version wrote the value where there is a reference now; descriptions are no change."""
    settings = {"spatial_dims": 2, "in_channels": 1, "_desc_": {"label": "Mine"}}
    record = {**changed("unet", **settings), "in_channels": 1}

    assert remarks(run("unet_nacl_seed0", record)) == []
    assert remarks(run("unet_svls_seed0", {**record, "in_channels": 4})) == [
        "UNet with in_channels 1."
    ]


def test_dataset_is_named_where_there_are_several(run):
    """Its network alone was changed."""
    runs = run("unet_nacl_seed0", changed("unet", dropout=0.1), "kits")
    runs |= run("unet_nacl_seed0", changed("unet"), "acdc")

    assert remarks(runs) == ["UNet (KiTS) with dropout 0.1."]


def test_network_on_patches_is_that_of_the_menu(run):
    """With its label in 3-D."""
    runs = run("unet3d_nacl_seed0", changed("unet", dropout=0.1))

    assert remarks(runs) == ["UNet (3-D) with dropout 0.1."]


@pytest.mark.parametrize(
    "record", [{}, {"networks": 5}, {"networks": {"unet": 5}}, changed("unet")]
)
def test_nothing_is_said_of_what_is_not_known_or_not_changed(run, record):
    """A record of an earlier version lacks keys."""
    assert remarks(run("unet_nacl_seed0", record) | run("mine_nacl_seed0", record)) == []


def test_damaged_record_is_refused(run, tmp_path):
    """As wherever it is read."""
    runs = run("unet_nacl_seed0", {})
    (tmp_path / "acdc/unet_nacl_seed0/config.json").write_text("{")

    with pytest.raises(InputError, match="config.json"):
        remarks(runs)
