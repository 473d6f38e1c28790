"""The grid: names say what differs from the defaults, and every table has its experiments."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nacl_monai.errors import InputError
from nacl_monai.paper.grid import (
    DEFAULTS,
    HYPER_PARAMETERS,
    LOSSES,
    NETWORKS,
    PAPER_DATASETS,
    TARGETS,
    Experiment,
    experiments,
    method,
    read_name,
)

ROOT = Path(__file__).parents[2]
MENU, BACKBONES = (
    yaml.safe_load((ROOT / f"bundles/common/{file}.yaml").read_text(encoding="utf-8"))[menu]
    for file, menu in (("train", "losses"), ("model", "networks"))
)


@pytest.mark.parametrize("target", TARGETS)
def test_names_are_read_back(target):
    """A experiment's name says everything about it but its dataset."""
    for experiment in experiments(target, seeds=(0, 12)):
        assert read_name(experiment.dataset, experiment.name) == experiment


@given(
    loss=st.sampled_from(LOSSES),
    network=st.sampled_from(NETWORKS),
    value=st.floats(0.01, 99).map(lambda value: round(value, 3)),
    seed=st.integers(0, 10**6),
)
def test_names_of_any_cell_are_read_back(loss, network, value, seed):
    """So do those of experiments in no table."""
    settings = dict.fromkeys(list(DEFAULTS.get(loss, {}))[-1:], value)
    experiment = Experiment("acdc", method(loss, **settings), network, (("fold", 3),), seed)

    assert read_name("acdc", experiment.name) == experiment


def test_defaults_are_those_of_the_bundles():
    """A setting left out of a name is what a training does without it; every loss is in the menu."""
    assert set(LOSSES) == set(MENU)
    assert set(NETWORKS) <= set(BACKBONES)
    for loss, defaults in DEFAULTS.items():
        assert defaults == {key: MENU[loss][key] for key in defaults}


def test_settings_at_their_default_are_the_same_training():
    """Figure 6's third focal loss is that of table 1; the order and kind of numbers do not count."""
    assert method("focal", gamma=3.0) == method("focal")
    assert method("focal", gamma=2) == method("focal", gamma=2.0)
    both = method("nacl", sigma=2.0, prior="gaussian"), method("nacl", prior="gaussian", sigma=2.0)
    assert both[0].name == both[1].name == "nacl_prior=gaussian_sigma=2.0"
    for loss, (key, values) in HYPER_PARAMETERS.items():
        assert DEFAULTS[loss][key] in values


def test_overrides():
    """What the variables of make do not say stands behind the command."""
    experiment = read_name(
        "mrbrains", "attention_unet_nacl_prior=gaussian_train_fraction=0.5_fold=2_seed1"
    )

    assert (experiment.network, experiment.method.loss, experiment.seed) == (
        "attention_unet",
        "nacl",
        1,
    )
    assert experiment.overrides == [
        *("--losses::nacl::prior", "gaussian"),
        *("--train_fraction", "0.5"),
        *("--fold", "2"),
    ]


@pytest.mark.parametrize("name", ["probe", "unet_nalc_seed0", "unet_nacl", "unet_nacl_seedx", ""])
def test_other_folders(name):
    """The folder of something else is refused in one line."""
    with pytest.raises(InputError, match="not the name of a run"):
        read_name("acdc", name)


def test_main_table():
    """Table 1: six datasets, the paper's losses and plain cross-entropy; seven folds of MRBrainS."""
    table = list(experiments("table1"))

    assert {experiment.dataset for experiment in table} == set(PAPER_DATASETS)
    assert {experiment.method.loss for experiment in table} == set(LOSSES)
    assert len(table) == 5 * 8 + 7 * 8
    assert len(set(table)) == len(table)


def test_narrowing():
    """Datasets, losses, networks and seeds narrow a figure; data that the paper lacks may be named."""
    found = list(
        experiments(
            "figure8", datasets=["hippocampus"], losses=["nacl"], networks=["unet"], seeds=(0, 1)
        )
    )

    assert [experiment.name for experiment in found] == ["unet_nacl_seed0", "unet_nacl_seed1"]
    assert {experiment.dataset for experiment in found} == {"hippocampus"}


def test_number_of_cells():
    """Counted by hand from the paper's section 4."""
    counts = {name: len(list(experiments(name, datasets=["acdc"]))) for name in TARGETS}

    assert counts["table3"] == counts["table4"] == counts["figure3"] == 2
    assert counts["figure6"] == 6 * 3
    assert counts["figure7"] == 3 * 2
    assert counts["figure8"] == 5 * 3
    assert counts["figure9"] == 4 * 7
    shared = {experiment for name in TARGETS for experiment in experiments(name, datasets=["acdc"])}
    assert len(shared) == 59  # said in docs/reproduce.md
