"""The names that tables and figures show, after the paper's."""

from __future__ import annotations

from nacl_monai.paper.grid import DATASETS, LOSSES, Method

LOSS_LABELS = dict(
    zip(LOSSES, ("CE", "CE+DSC", "FL", "ECP", "LS", "SVLS", "MbLS", "NACL"), strict=True)
)
DATASET_LABELS = dict(
    zip(
        DATASETS,
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


def dataset_label(name: object) -> str:
    """The paper's name of a dataset, or the name itself."""
    return DATASET_LABELS.get(str(name), str(name))
