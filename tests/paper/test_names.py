"""Labels, colors and markers are those of the menus."""

import pytest

from nacl_monai.errors import InputError
from nacl_monai.menus import read_menu
from nacl_monai.paper.grid import MAIN_LOSSES, method
from nacl_monai.paper.names import (
    dataset_label,
    loss_label,
    loss_style,
    method_label,
    network_label,
    symbol,
)
from nacl_monai.reports.style import OKABE_ITO


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


def test_method_and_its_name_have_the_same_label():
    """Either may be given."""
    assert method_label(method("nacl", sigma=2.0)) == method_label("nacl_sigma=2.0")


def test_losses_of_the_main_tables_look_different():
    """No two losses share a color or a marker."""
    styles = [loss_style(loss) for loss in MAIN_LOSSES]

    for key in ("color", "marker"):
        assert len({style[key] for style in styles}) == len(MAIN_LOSSES)


def test_style_is_the_description_in_the_menu():
    """Colors are of Okabe and Ito's palette."""
    for loss, choice in read_menu("losses").items():
        assert loss_style(loss)["color"] == OKABE_ITO[choice.description["color"]]
        assert loss_style(loss)["marker"] == choice.description["marker"]
        assert loss_label(loss) == choice.description["label"]


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
def test_loss_of_the_menu_alone_has_label_color_marker_and_symbol():
    """So has a network; a loss without description has the plainest."""
    assert method_label("toy_strength=3.0") == "Toy (s = 3)"
    assert loss_style("toy") == {"color": OKABE_ITO["green"], "marker": "h"}
    assert symbol("toy", "strength") == "s"
    assert symbol("toy", "other") == "other"
    assert network_label("toynet") == "ToyNet"
    assert (loss_label("plain"), loss_style("plain")["color"]) == ("plain", OKABE_ITO["black"])
