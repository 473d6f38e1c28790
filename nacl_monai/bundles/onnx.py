"""The exported network, with its calibrator behind it, as ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nacl_monai.errors import SettingError
from nacl_monai.posthoc import Behind, module_of

_PACKAGES = ("onnx", "onnxscript")


def check_onnx() -> None:
    """Refuses where what torch writes ONNX with is missing.

    Raises:
        SettingError: Then.
    """
    if not all(map(find_spec, _PACKAGES)):
        raise SettingError(
            f"--onnx: needs the packages {' and '.join(_PACKAGES)}; pip install {' '.join(_PACKAGES)}"
        )


def write_onnx(
    models: Path,
    network: nn.Module,
    image: Mapping[str, Any],
    calibrator: Mapping[str, Any] | None = None,
) -> None:
    """Writes ``model.onnx``, and with a calibrator ``plain.onnx``, the network alone.

    Both take an ``image`` of one slice, and give its ``logits``.

    Args:
        models: The folder.
        network: With its weights.
        image: What the metadata say of the input.
        calibrator: The record of the calibrator that is put behind.
    """
    example = torch.zeros(1, image["num_channels"], *image["spatial_shape"])
    files = {"model.onnx" if calibrator is None else "plain.onnx": network}
    if calibrator is not None:
        files["model.onnx"] = Behind(network, module_of(calibrator))
    for name, module in files.items():
        torch.onnx.export(
            module.eval(),
            (example,),
            models / name,
            input_names=["image"],
            output_names=["logits"],
            external_data=False,
            verbose=False,
        )
