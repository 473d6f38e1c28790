"""Classes are found by their names, and tell which arguments they take."""

import pytest

from nacl_monai.errors import SettingError
from nacl_monai.training.classes import is_class, taken

OWN = """
class Net:
    def __init__(self, width=8):
        pass
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of one's own on the path."""
    (tmp_path / "own_classes.py").write_text(OWN)
    (tmp_path / "own_broken.py").write_text("import nix")
    monkeypatch.syspath_prepend(tmp_path)
    return "own_classes"


def test_names_of_classes(own):
    """One without a module is MONAI's, and nobody else's."""
    assert is_class("SegResNet")
    assert is_class(f"{own}.Net")
    for name in ("Net", "nix", "print", "os", f"{own}.Nix", "monai.networks.nets.Nix", "torch.pi"):
        assert not is_class(name)


def test_arguments_of_a_class(own):
    """None of a name that is not a class; a module that cannot be imported is one line."""
    assert list(taken("key", {"_target_": f"{own}.Net"})) == ["width"]
    assert taken("key", {"_target_": f"{own}.Nix"}) is None
    with pytest.raises(SettingError, match="^key: own_broken.Net cannot be imported"):
        taken("key", {"_target_": "own_broken.Net"})
