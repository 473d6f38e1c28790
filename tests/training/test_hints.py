"""The types of values, and classes by their names."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest
from monai.bundle import ComponentLocator

from nacl_monai.errors import SettingError
from nacl_monai.training.hints import fits, is_class, parameters, taken

VALUES = {
    "True": True,
    "1": 1,
    "1.5": 1.5,
    "'a'": "a",
    "None": None,
    "[]": [],
    "[1]": [1],
    "(1, 2)": (1, 2),
    "['a']": ["a"],
    "{}": {},
    "{'a': 1}": {"a": 1},
}
FITTING = [
    (bool, "True"),
    (int, "1"),
    (float, "1; 1.5"),
    (str, "'a'"),
    (None, "None"),
    (int | None, "1; None"),
    (bool | str, "True; 'a'"),
    (Literal["a", 1.5], "1.5; 'a'"),
    (list, "[]; [1]; (1, 2); ['a']"),
    (list[int], "[]; [1]; (1, 2)"),
    (Sequence[str], "[]; ['a']"),
    (tuple[int, ...], "[]; [1]; (1, 2)"),
    (Sequence[int] | int, "1; []; [1]; (1, 2)"),
    (dict, "{}; {'a': 1}"),
    (Mapping[str, str], "{}"),
    (dict[str, int], "{}; {'a': 1}"),
    (Hashable, "True; 1; 1.5; 'a'; None; (1, 2)"),
    (Path, ""),
    (Callable[[int], int], ""),
    (Any, "; ".join(VALUES)),
    (object, "; ".join(VALUES)),
    (TypeVar("T"), "; ".join(VALUES)),
]


@pytest.mark.parametrize(("hint", "fitting"), FITTING, ids=lambda part: str(part)[:30])
def test_values_that_fit(hint, fitting):
    """The table says which, and no other does; 1 is not True, and text is not a list of letters."""
    assert "; ".join(name for name, value in VALUES.items() if fits(value, hint)) == fitting


class Parent:
    def __init__(self, width: int = 1, *, name: str = "") -> None: ...


class Child(Parent):
    def __init__(self, depth: int, *args: Any, **kwargs: Any) -> None: ...


class Closed(Child):
    def __init__(self, width: float) -> None: ...


def function(a: int, /, b: "Nix", c: int = 0, **others: str) -> None: ...  # noqa: F821


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("Parent", {"width": int, "name": str}),
        ("Child", {"depth": int, "width": int, "name": str}),
        ("Closed", {"width": float}),
        ("function", {"b": Any, "c": int}),
        ("nix", None),
    ],
)
def test_arguments_of_a_component(target, expected):
    """Those of parents too where a class hands them on; without a type where none can be read."""
    component = {"_target_": f"{__name__}.{target}"}

    assert parameters(component, ComponentLocator()) == expected


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
