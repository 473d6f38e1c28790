"""Experiments, their names and their labels."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nacl_monai.errors import InputError
from nacl_monai.menus import read_menu
from nacl_monai.paper.exhibits import proposed_and
from nacl_monai.paper.figures import loss_style
from nacl_monai.paper.grid import (
    MAIN_LOSSES,
    PAPER_DATASETS,
    PAPER_LOSSES,
    PAPER_NETWORKS,
    Experiment,
    Grid,
    Setup,
    choose_loss,
    dataset_label,
    followed,
    loss_label,
    main_grid,
    method,
    method_label,
    network_label,
    read_method,
    read_name,
    symbol,
)
from nacl_monai.reports.style import OKABE_ITO


@given(
    loss=st.sampled_from(MAIN_LOSSES),
    network=st.sampled_from(PAPER_NETWORKS),
    value=st.floats(0.01, 99).map(lambda value: round(value, 3)),
    fraction=st.sampled_from([0.25, 0.5, 1.0]),
    fold=st.none() | st.integers(0, 6),
    seed=st.integers(0, 10**6),
)
def test_name_of_any_experiment_is_read_back(loss, network, value, fraction, fold, seed):
    """A name says everything about an experiment but its dataset, also of those in no table."""
    defaults = choose_loss(loss).settings
    keys = [key for key, default in defaults.items() if isinstance(default, float)]
    chosen = method(loss, **dict.fromkeys(keys[-1:], value))
    experiment = Experiment("acdc", Setup(chosen, network, fraction), fold, seed)

    assert read_name("acdc", experiment.name) == experiment
    assert read_method(chosen.name) == chosen


def test_what_follows_a_training_is_in_the_method_s_name_but_not_in_the_run_s():
    """It is another method, of the same training, in a folder within the run's."""
    calibrated = replace(method("nacl", prior="gaussian"), after=("temperature_union",))
    experiment = Experiment("acdc", Setup(calibrated), seed=2)

    assert calibrated.name == "nacl_prior=gaussian+temperature_union"
    assert read_method(calibrated.name) == calibrated
    assert experiment.name == "unet_nacl_prior=gaussian_seed2"
    folder = experiment.folder(Path("run")).evaluation.path
    assert folder == Path("run/calibrated/temperature_union/evaluation")
    plain = Experiment("acdc", Setup(method("nacl")))
    assert plain.folder(Path("run")).path == Path("run")


def test_ensemble_is_one_experiment_of_all_seeds():
    """It is found in the folder of the first; a single seed has none."""
    grid = Grid((replace(method("nacl"), after=("ensemble",)),))

    (found,) = grid.experiments(datasets=["acdc"], seeds=(2, 0, 1))
    assert (found.seed, found.method.joins_seeds) == (2, True)
    assert found.folder(Path("run")).path == Path("run/calibrated/ensemble")
    assert not list(grid.experiments(datasets=["acdc"], seeds=(2,)))
    folds = list(grid.experiments(datasets=["mrbrains"], seeds=(0, 1)))
    assert [entry.fold for entry in folds] == list(range(len(folds)))
    assert {entry.seed for entry in folds} == {0}


@pytest.mark.parametrize("loss", MAIN_LOSSES)
def test_settings_at_their_defaults_have_no_place_in_a_name(loss):
    """The defaults of the menu are what a training does without the setting."""
    assert method(loss, **choose_loss(loss).settings) == method(loss)
    assert method(loss).name == loss


def test_kind_and_order_of_settings_do_not_count():
    """Whole numbers are decimal ones where the default is; the order is the menu's."""
    assert method("focal", gamma=3) == method("focal")
    assert method("focal", gamma=2) == method("focal", gamma=2.0)
    both = method("nacl", sigma=2.0, prior="gaussian"), method("nacl", prior="gaussian", sigma=2.0)
    assert both[0].name == both[1].name == "nacl_prior=gaussian_sigma=2.0"


def test_settings_that_the_menu_lacks_follow_in_alphabetical_order():
    """A setting without a default is always in the name."""
    assert method("nacl", zeta=1, alpha=2, sigma=2).name == "nacl_sigma=2.0_alpha=2_zeta=1"


def test_unknown_loss_is_named_with_the_choices():
    """A misspelled loss is one line."""
    known = ", ".join(read_menu("losses"))
    with pytest.raises(InputError, match=f"^nalc: no such loss; choose from: {known}$"):
        method("nalc")


def test_overrides_are_what_the_variables_of_make_do_not_say():
    """Settings of the loss carry its name; those of the training do not."""
    name = "attention_unet_nacl_prior=gaussian_train_fraction=0.5_fold=2_seed1"
    experiment = read_name("mrbrains", name)

    assert (experiment.setup.network, experiment.method.loss) == ("attention_unet", "nacl")
    assert (experiment.setup.fraction, experiment.fold, experiment.seed) == (0.5, 2, 1)
    assert experiment.overrides == [
        *("--losses::nacl::prior", "gaussian"),
        *("--train_fraction", "0.5"),
        *("--fold", "2"),
    ]


@pytest.mark.parametrize("name", ["probe", "unet_nalc_seed0", "unet_nacl", "unet_nacl_seedx", ""])
def test_other_folder_is_refused(name):
    """The folder of something else is refused in one line."""
    with pytest.raises(InputError, match="not the name of a run"):
        read_name("acdc", name)


@pytest.mark.parametrize("setting", ["train_fraction=half", "fold=a", "fold=1.5"])
def test_setting_of_another_kind_is_refused(setting):
    """A fraction is a number, and a fold a whole one."""
    with pytest.raises(InputError, match="train_fraction must be a number and fold a whole one"):
        read_name("acdc", f"unet_nacl_{setting}_seed0")


def test_main_grid_has_six_datasets_and_eight_losses():
    """The paper's losses and plain cross-entropy; seven folds of MRBrainS."""
    table = list(main_grid().experiments())

    assert {experiment.dataset for experiment in table} == set(PAPER_DATASETS)
    assert {experiment.method.loss for experiment in table} == {"cross_entropy", *PAPER_LOSSES}
    assert {experiment.fold for experiment in table} == {None, *range(7)}
    assert len(set(table)) == len(table) == 5 * 8 + 7 * 8


def test_datasets_losses_networks_and_seeds_narrow_a_grid():
    """Data that the paper lacks may be named."""
    grid = Grid((method("svls"), method("nacl")), networks=PAPER_NETWORKS)
    names = [
        (experiment.dataset, experiment.name)
        for experiment in grid.experiments(
            datasets=["hippocampus"], losses=["nacl"], networks=["transunet"], seeds=(0, 1)
        )
    ]

    assert names == [
        ("hippocampus", "transunet_nacl_seed0"),
        ("hippocampus", "transunet_nacl_seed1"),
    ]


def test_ablation_narrowed_to_runs_of_the_main_tables_is_empty():
    """It would show nothing that they do not; the main tables may be narrowed to anything."""
    ablation = Grid((method("nacl"),), networks=PAPER_NETWORKS)

    assert not list(ablation.experiments(networks=["unet"]))
    assert list(ablation.experiments(networks=["unet", "transunet"]))
    assert list(main_grid().experiments(losses=["nacl"]))


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("cross_entropy", "CE"),
        ("nacl", "NACL"),
        ("focal_gamma=2.0", "FL (γ = 2)"),
        ("svls_sigma=0.5", "SVLS (σ = 0.5)"),
        ("mbls_margin=3.0", "MbLS (m = 3)"),
        ("nacl_penalty_weight=0.2", "NACL (λ = 0.2)"),
        ("nacl_prior=gaussian", "NACL (Gaussian prior)"),
        ("nacl_prior=gaussian_sigma=2.0", "NACL (Gaussian prior, σ = 2)"),
        ("nacl_penalty=l2", "NACL (L2)"),
        ("nacl_space=softmax", "NACL (on softmax)"),
        ("nacl_zeta=7", "NACL (zeta = 7)"),
        ("nacl+temperature_union", "NACL + temperature (union)"),
        ("svls_sigma=1.0+temperature_all", "SVLS (σ = 1) + temperature (all)"),
    ],
)
def test_label_of_a_method_says_what_is_not_at_its_default(name, label):
    """Symbols are those of the loss; values that speak for themselves are alone, as are calibrators."""
    assert method_label(name) == label


def test_losses_of_the_main_tables_look_different():
    """No two losses share a color or a marker."""
    styles = [loss_style(loss) for loss in MAIN_LOSSES]

    for key in ("color", "marker"):
        assert len({style[key] for style in styles}) == len(MAIN_LOSSES)


def test_labels_are_the_paper_s():
    """Read by eye from the paper."""
    datasets = ["acdc", "flare", "brats", "prostate", "kits", "mrbrains"]
    networks = ["unet", "attention_unet", "transunet", "basic_unet_plus_plus", "dynunet"]

    labels = ["ACDC", "FLARE", "BraTS", "PROSTATE", "KiTS", "MRBrainS"]
    assert [dataset_label(name) for name in datasets] == labels
    labels = ["UNet", "AttUNet", "TransUNet", "UNet++", "nnUNet"]
    assert [network_label(name) for name in networks] == labels
    labels = ["CE", "CE+DSC", "FL", "ECP", "LS", "SVLS", "MbLS", "NACL"]
    assert [loss_label(name) for name in MAIN_LOSSES] == labels


def test_name_that_is_nowhere_is_its_own_label():
    """Data and networks of one's own need no label; a loss must be in the menu."""
    assert dataset_label("mine") == "mine"
    assert network_label("mine") == "mine"
    with pytest.raises(InputError, match="mine: no such loss"):
        loss_label("mine")


@pytest.mark.usefixtures("toy_menu")
def test_loss_of_the_menu_alone_has_name_label_color_marker_and_symbol():
    """So has a network; a loss without description has the plainest."""
    experiment = read_name("acdc", "unet_toy_strength=3_seed1")

    assert experiment.method == method("toy", strength=3.0)
    assert experiment.name == "unet_toy_strength=3.0_seed1"
    assert method_label("toy_strength=3.0") == "Toy (s = 3)"
    assert loss_style("toy") == {"color": OKABE_ITO["green"], "marker": "h"}
    assert symbol("toy", "strength") == "s"
    assert symbol("toy", "other") == "other"
    assert network_label("toynet") == "ToyNet"
    assert (loss_label("plain"), loss_style("plain")["color"]) == ("plain", OKABE_ITO["black"])


def test_any_grid_is_followed():
    """Its methods keep their settings and their order."""
    names = [one.name for one in followed(proposed_and(penalty="l2"), ("vector_all",)).methods]

    assert names == ["nacl", "nacl+vector_all", "nacl_penalty=l2", "nacl_penalty=l2+vector_all"]
