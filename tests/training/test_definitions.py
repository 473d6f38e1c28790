"""The configuration that is running, its classes and types, and voxels that nobody labeled."""

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import monai.bundle
import pytest
import yaml
from monai.bundle import ComponentLocator, ConfigParser

from nacl_monai.bundles.overrides import checked_overrides
from nacl_monai.errors import SettingError
from nacl_monai.training.definitions import (
    WITHOUT,
    completed,
    given_overrides,
    ignoring,
    running_parser,
)
from nacl_monai.training.hints import fits, is_class, parameters, taken
from tests.conftest import ROOT

SEEN = []


def look():
    """What a configuration calls in these tests."""
    SEEN[:] = [running_parser(), given_overrides()]


CONFIG = {"rate": 1, "sizes": {"a": 2}, "doing": [{"_target_": f"{__name__}.look"}]}


def test_parser_is_the_one_that_makes_the_call():
    """From Python, there is no command."""
    parser = ConfigParser(CONFIG)
    parser.get_parsed_content("doing::0")

    assert [parser, None] == SEEN


def test_overrides_are_those_of_the_command_and_its_file(tmp_path):
    """Those of the command above those of the file; old and new separators are one."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "arguments.json").write_text('{"rate": 2, "sizes#a": 3}')
    files = {"config_file": "config.json", "args_file": "arguments.json"}
    files = {option: str(tmp_path / name) for option, name in files.items()}
    monai.bundle.run("doing", **files, rate=4)

    assert SEEN[0].get("rate") == 4
    assert SEEN[1] == {"rate": 4, "sizes::a": 3}


COMMON = ROOT / "bundles/common"
KNOWN = {
    key: yaml.safe_load((COMMON / file).read_text(encoding="utf-8"))[key]
    for key, file in (("network_arguments", "model.yaml"), ("loss_arguments", "train.yaml"))
}


OWN = """
import torch

class Net(torch.nn.Module):
    def __init__(self, num_classes, width=8, **more):
        super().__init__()

class Narrow(Net):
    def __init__(self, in_channels, **more):
        super().__init__(**more)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of one's own on the path, beside one that cannot be imported."""
    (tmp_path / "own_definitions.py").write_text(OWN)
    (tmp_path / "own_broken.py").write_text("import nix")
    monkeypatch.syspath_prepend(tmp_path)
    return "own_definitions"


def complete(key, definition):
    return completed({**KNOWN, key: definition})[key]


CLASSES, IMAGE = {"num_classes": "$len(@classes)"}, {"in_channels": "@in_channels"}
SEGRESNET = {"spatial_dims": "@dims", **IMAGE, "out_channels": "$len(@classes)"}


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("target", "settings", "added"),
    [
        ("own_definitions.Net", {}, CLASSES),
        ("own_definitions.Narrow", {}, {**IMAGE, **CLASSES}),
        ("SegResNet", {"init_filters": 8}, SEGRESNET),
        ("SegResNet", {"out_channels": 7}, {"spatial_dims": "@dims", **IMAGE}),
    ],
)
def test_class_is_given_what_it_takes(target, settings, added):
    """It gets what the configuration knows, by the names of its parameters and its parents'."""
    whole = {"_target_": target, **settings, **added}

    assert complete("network_def", {"_target_": target, **settings}) == whole
    assert completed({**KNOWN, "network_def": whole}) == {}
    assert settings or complete("network_def", target) == whole


@pytest.mark.parametrize("value", ["@networks::unet", "$make()", "%file::key", None, 3])
def test_what_is_no_definition_stays(value):
    """References to the menu above all."""
    assert completed({**KNOWN, "network_def": value}) == {}


def test_definition_within_a_wrapper_of_this_package_is_completed():
    """Within anybody else's class nobody knows what the arguments mean."""
    inner = {"_target_": "monai.losses.DiceLoss"}

    whole = complete("loss", {"_target_": "nacl_monai.losses.ComposedLoss", "base": inner})
    assert whole["base"] == {**inner, "to_onehot_y": True, "softmax": True}
    foreign = {"_target_": "monai.losses.MaskedLoss", "loss": inner}
    assert completed({**KNOWN, "loss": foreign}) == {}


def test_running_configuration_is_completed():
    """What is made after that is made of the complete definition."""
    known = {**KNOWN, "dims": 2, "window": [32, 32], "in_channels": 2, "classes": ["a", "b", "c"]}
    network = {"_target_": "SegResNet", "init_filters": 8}
    step = {"_target_": "nacl_monai.training.definitions.complete_definitions"}
    parser = ConfigParser({**known, "network_def": network, "complete": step})

    parser.get_parsed_content("complete")

    network = parser.get_parsed_content("network_def")
    assert network.convInit.conv.weight.shape == (8, 2, 3, 3)


MENU = {"networks": {"unet": {"_target_": "UNet"}}, "network_def": "@networks::unet"}


def test_name_of_a_class_on_the_command_line_is_its_definition(own):
    """A class of MONAI's, or one with a module."""
    for name in ("SegResNet", f"{own}.Net"):
        asked = checked_overrides(MENU, {"network_def": name})
        assert asked == {"network_def": {"_target_": name}}


def test_parts_behind_a_name_are_refused(own):
    """MONAI would fail on the text; a definition has parts."""
    with pytest.raises(SettingError, match=r"without parts; write --network_def \"\{'_target_'"):
        checked_overrides(MENU, {"network_def": f"{own}.Net", "network_def::width": 4})


NACL = {"_target_": "nacl_monai.losses.NACLLoss"}
COMPOSED = {"_target_": "nacl_monai.losses.ComposedLoss"}


def test_configuration_of_other_datasets_stays_as_it_is():
    """Whether it lacks the key or has none."""
    assert ignoring({"loss": NACL}) == ignoring({"loss": NACL, "ignore_index": None}) == {}


def test_every_loss_that_takes_it_is_told():
    """However deep, of this package or not; what is set stays, and others are left alone."""
    penalties = [{"_target_": "nacl_monai.losses.MarginPenalty"}]
    config = {
        "ignore_index": 9,
        "losses": {"nacl": NACL, "mine": {**NACL, "ignore_index": 3}},
        "loss": {**COMPOSED, "base": NACL, "penalties": penalties},
        "other": {"_target_": "torch.nn.CrossEntropyLoss"},
    }
    keys = ("losses::nacl", "loss::base", "loss::penalties::0")
    assert ignoring(config) == {f"{key}::ignore_index": "@ignore_index" for key in keys}
    torchs = {"_target_": "torch.nn.CrossEntropyLoss"}
    assert ignoring({"ignore_index": 9, "loss": torchs}) == {"loss::ignore_index": "@ignore_index"}


def test_structures_of_monais_metrics_end_where_labels_end():
    """They know no voxels to be ignored, whoever added them."""
    compared = "$monai.handlers.from_engine(['pred', 'label'])"
    metrics = {"iou": {"_target_": "MeanIoUHandler", "output_transform": compared}}
    changes = ignoring({"ignore_index": 9, "validate": {"additional_metrics": metrics}})
    (transform,) = changes.values()

    assert list(changes) == ["validate::additional_metrics::iou::output_transform"]
    assert (transform["_target_"], transform["keys"]) == (WITHOUT, ["pred", "label"])


def test_metrics_that_know_such_voxels_see_all():
    """They are told which these are, unless they were already."""
    metric = {
        "_target_": "monai.handlers.IgniteMetricHandler",
        "metric_fn": {"_target_": "nacl_monai.metrics.CalibrationMetric"},
        "output_transform": "$monai.handlers.from_engine(['pred', 'label'])",
    }
    changes = ignoring({"ignore_index": 9, "metrics": {"mine": metric}})
    assert changes == {"metrics::mine::metric_fn::ignore_index": "@ignore_index"}
    metric["metric_fn"]["ignore_index"] = 3
    assert ignoring({"ignore_index": 9, "metrics": {"mine": metric}}) == {}


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


def function(a: int, /, b: "Nix", c: int = 0, **rest: str) -> None: ...  # noqa: F821


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


def test_names_of_classes(own):
    """One without a module is MONAI's, and nobody else's."""
    assert is_class("SegResNet")
    assert is_class(f"{own}.Net")
    none = ["Net", "nix", "print", "os", "torch.pi", "monai.networks.nets.Nix", f"{own}.Nix"]
    assert not any(map(is_class, none))


def test_arguments_of_a_class(own):
    """None of a name that is not a class; a module that cannot be imported is one line."""
    assert list(taken("key", {"_target_": f"{own}.Net"})) == ["num_classes", "width"]
    assert taken("key", {"_target_": f"{own}.Nix"}) is None
    with pytest.raises(SettingError, match="^key: own_broken.Net cannot be imported"):
        taken("key", {"_target_": "own_broken.Net"})
