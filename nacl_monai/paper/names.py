"""The names, colors and markers that tables and figures show, from the menus in ``bundles/``."""

from __future__ import annotations

from typing import Any

from nacl_monai.errors import InputError
from nacl_monai.menus import choose_loss, read_dataset, read_menu
from nacl_monai.paper.grid import Method, read_method
from nacl_monai.reports.style import OKABE_ITO
from nacl_monai.runs import PATCHES

#: Values that say by themselves what they are a value of.
VALUE_LABELS = {"gaussian": "Gaussian prior", "l2": "L2", "softmax": "on softmax"}


def loss_label(loss: str) -> str:
    """The label of a loss: "CE+DSC".

    Raises:
        InputError: If there is no such loss.
    """
    return choose_loss(loss).label


def loss_style(loss: str) -> dict[str, Any]:
    """The color of a loss in all figures and, for gray print, its marker.

    Raises:
        InputError: If there is no such loss.
    """
    description = choose_loss(loss).description
    return {
        "color": OKABE_ITO[description.get("color", "black")],
        "marker": description.get("marker", "."),
    }


def symbol(loss: str, key: str) -> str:
    """The symbol of a loss's hyper-parameter, or its key.

    Raises:
        InputError: If there is no such loss.

    Example:
        >>> symbol("nacl", "penalty_weight")
        'λ'
    """
    return str(choose_loss(loss).description.get("symbols", {}).get(key, key))


def method_label(method: Method | str) -> str:
    """The loss, its settings that are not at their default, and what follows the training.

    Args:
        method: A method or its name.

    Raises:
        InputError: If it is not the name of a method.

    Example:
        >>> method_label("svls_sigma=1.0+temperature_union")
        'SVLS (σ = 1) + temperature (union)'
    """
    if isinstance(method, str):
        method = read_method(method)
    settings = ", ".join(
        VALUE_LABELS.get(str(value), f"{symbol(method.loss, key)} = {_number(value)}")
        for key, value in method.settings
    )
    label = loss_label(method.loss)
    trained = f"{label} ({settings})" if settings else label
    return " + ".join([trained, *map(_after_label, method.after)])


def _after_label(name: str) -> str:
    """A calibrator and the region of its fit, such as "temperature (union)"; "ensemble" as it is."""
    calibrator, _, region = name.rpartition("_")
    return f"{calibrator} ({region})" if calibrator else region


def _number(value: str | float) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def network_label(network: str) -> str:
    """The label of a network, or its name if it is not in the menu.

    Example:
        >>> network_label("unet"), network_label("unet3d")
        ('UNet', 'UNet (3-D)')
    """
    menu, name = read_menu("networks"), network.removesuffix(PATCHES)
    if name not in menu:
        return network
    return menu[name].label if name == network else f"{menu[name].label} (3-D)"


def dataset_label(dataset: str) -> str:
    """The label of a dataset, or its name if it has no folder in ``bundles/``."""
    try:
        return str(read_dataset(dataset).get("dataset_label", dataset))
    except InputError:
        return dataset
