"""What MONAI lacks: TransUNet, one output from networks with many, and a check of image sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nacl_monai.networks.input_size import check_input_size
from nacl_monai.networks.single_output import SingleOutput

if TYPE_CHECKING:
    from nacl_monai.networks.transunet import TransUNet

__all__ = ["SingleOutput", "TransUNet", "check_input_size"]


def __getattr__(name: str) -> Any:
    """TransUNet when it is asked for: only it needs ``timm``, which takes a second to import."""
    if name != "TransUNet":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nacl_monai.networks.transunet import TransUNet  # noqa: PLC0415

    return TransUNet
