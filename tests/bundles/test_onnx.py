"""ONNX is written where torch can write it, and refused in one line elsewhere."""

import pytest

from nacl_monai.bundles import export as onnx
from nacl_monai.errors import SettingError


def test_missing_package_is_named(monkeypatch):
    """Before anything is exported."""
    monkeypatch.setattr(onnx, "find_spec", lambda name: None if name == "onnxscript" else name)

    with pytest.raises(SettingError, match="--onnx: needs the packages onnx and onnxscript; pip"):
        onnx.check_onnx()
