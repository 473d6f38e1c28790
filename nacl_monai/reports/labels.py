"""The names that tables and figures show, after the paper's."""

from __future__ import annotations

from nacl_monai.grid import DATA_SETS, LOSSES, Method

LOSS_LABELS = dict(
    zip(LOSSES, ("CE", "CE+DSC", "FL", "ECP", "LS", "SVLS", "MbLS", "NACL"), strict=True)
)
DATA_SET_LABELS = dict(
    zip(
        DATA_SETS,
        ("ACDC", "FLARE", "BraTS", "PROSTATE", "KiTS", "MRBrainS", "Hippocampus"),
        strict=True,
    )
)
NETWORK_LABELS = {
    "unet": "UNet",
    "attention_unet": "AttUNet",
    "transunet": "TransUNet",
    "basic_unet_plus_plus": "UNet++",
    "dynunet": "nnUNet",
}
METRIC_LABELS = {
    "dice": "DSC",
    "hd95": "HD95",
    "ece": "ECE",
    "cece": "CECE",
    "ece_union": "ECE over prediction ∪ target",
    "cece_union": "CECE over prediction ∪ target",
}
HIGHER_IS_BETTER = {metric: metric == "dice" for metric in METRIC_LABELS}
DECIMALS = {metric: 2 if metric == "hd95" else 3 for metric in METRIC_LABELS}

SYMBOLS = {
    "gamma": "γ",
    "entropy_weight": "α",
    "label_smoothing": "α",
    "sigma": "σ",
    "margin": "m",
    "penalty_weight": "λ",
}
VALUES = {
    "gaussian": "Gaussian prior",
    "l2": "L2",
    "softmax": "on softmax",
}


def method_label(method: Method) -> str:
    """The loss, and its settings that are not at their default: "NACL (σ=2.0)"."""
    settings = ", ".join(_setting_label(key, value) for key, value in method.settings)
    label = LOSS_LABELS[method.loss]
    return f"{label} ({settings})" if settings else label


def _setting_label(key: str, value: str | float) -> str:
    number = f"{value:g}" if isinstance(value, float) else value
    return VALUES.get(str(value), f"{SYMBOLS.get(key, key)} = {number}")


def data_set_label(name: object) -> str:
    """The paper's name of a data set, or the name itself."""
    return DATA_SET_LABELS.get(str(name), str(name))


def metric_label(metric: str) -> str:
    """With an arrow to where better is: "DSC ↑"."""
    return f"{METRIC_LABELS[metric]} {'↑' if HIGHER_IS_BETTER[metric] else '↓'}"
