"""Overrides may say what the configuration has, within its limits, and nothing else."""

import pytest
import torch
from monai.bundle import ConfigParser

from nacl_monai.bundles import overrides as dimensions
from nacl_monai.bundles.overrides import LIMITS, check_dims, check_limits, checked_overrides
from nacl_monai.errors import InputError, SettingError
from tests.configurations.conftest import ROOT


def test_overrides_are_returned_with_one_separator():
    """MONAI accepts two; the rest of the package knows one. The configuration stays as it is."""
    config = {"a": {"b": [1, 2]}}

    assert checked_overrides(config, {"a#b#1": 3, "a::b::0": 4}) == {"a::b::1": 3, "a::b::0": 4}
    assert config == {"a": {"b": [1, 2]}}


PAIRS = [
    ("FocalLoss", "nacl_monai.losses.FocalLoss"),
    ("CalibrationError", "nacl_monai.training.CalibrationError"),
    ("CalibrationMetric", "nacl_monai.metrics.CalibrationMetric"),
    ("TransUNet", "nacl_monai.networks.TransUNet"),
    ("LoadCase", "nacl_monai.data.LoadCase"),
]


@pytest.mark.parametrize(("name", "full_name"), PAIRS)
def test_class_of_this_package_without_its_module_is_refused(name, full_name):
    """In an override or in a file; MONAI would make its own class of that name, if it has one."""
    for config, overrides in (
        ({"loss": {}}, {"loss": {"_target_": name}}),
        ({"a": [{"loss": {"_target_": name}}]}, {}),
    ):
        message = rf"_target_: {name} alone .*; write {full_name}, or"
        with pytest.raises(SettingError, match=message):
            checked_overrides(config, overrides)


@pytest.mark.parametrize(
    "name", [*(full_name for _, full_name in PAIRS), "monai.losses.FocalLoss", "UNet", "MeanDice"]
)
def test_full_names_and_names_of_monai_alone_are_accepted(name):
    """So is a name of this package that is not a `_target_`."""
    config = {"x": {"_target_": name}, "name": "NACLLoss", "list": ["FocalLoss"]}

    assert checked_overrides(config, {}) == {}


def test_import_that_fails_is_refused():
    """MONAI notices only where the module is used."""
    checked_overrides({"imports": ["$import os", "$from math import pi"], "text": "import nix"}, {})

    with pytest.raises(SettingError, match=r"imports::1: import nix fails \(No module.*; correct"):
        checked_overrides({"imports": ["$import os", "$import nix"]}, {})


def test_choice_is_a_reference_an_expression_or_a_definition():
    """Only a bare word in place of a reference to a menu is a slip."""
    config = {"menu": {"a": 1, "b": 2}, "choice": "@menu::a", "word": "x"}

    for value in ("@menu::b", "$1 + 1", {"_target_": "UNet"}, 3):
        assert checked_overrides(config, {"choice": value}) == {"choice": value}
    assert checked_overrides(config, {"word": "b"}) == {"word": "b"}


UNET = {
    "_target_": "UNet",
    "spatial_dims": 2,
    "channels": [4, 8],
    "out_channels": "$len(@names)",
    "in_channels": "@max_epochs",
}
CONFIG = {
    "net": UNET,
    "max_epochs": 100,
    "learning_rate": 0.1,
    "flag": False,
    "names": ["a", "b"],
    "sets": {"a": [1]},
    "anything": None,
    "dataset_dir": None,
    "window": {"_target_": "SliceInferer", "roi_size": [8, 8]},
    "loss": {"_target_": "nacl_monai.losses.NACLLoss", "sigma": 1.0},
    "output_dir": "$'runs/{}'.format(@max_epochs)",
    "device": "cpu",
    "described": {"_desc_": {"label": "A"}, "mark": 1},
}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("net::dropout", 0.1),
        ("net::norm", "BATCH"),
        ("net::norm", ("group", {"num_groups": 2})),
        ("net::bias", False),
        ("net::in_channels", 3),
        ("net", {**UNET, "bias": True}),
        ("window::overlap", 0.5),
        ("window::overlap", [0.5, 0.5]),
        ("loss::ignore_index", 3),
        ("loss::ignore_index", "$None"),
        ("loss::class_weights", [1.0, 2]),
        ("learning_rate", 1),
        ("learning_rate", "$0.1 / 2"),
        ("max_epochs", "@net::spatial_dims"),
        ("sets", {"b": [1, 2], "c": [3]}),
        ("names", ("x", "y")),
        ("anything", [1, "x", {"k": True}]),
        ("output_dir", "runs/x"),
        ("max_epochs", "@net#spatial_dims"),
        ("device", "$torch.device('cpu')"),
    ],
)
def test_values_that_fit_are_accepted(key, value):
    """By the type of what they replace, or by what the class takes, though the file does not list it."""
    assert checked_overrides(CONFIG, {key: value}) == {key: value}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("net::drop_out", 0.1, "--net::drop_out: there is no such .*did you mean --net::dropout"),
        (
            "described::labels",
            1,
            "--described::labels: there is no such .*did you mean --described::mark",
        ),
        ("net::bias", "false", "--net::bias false: is not True or False; write --net::bias True"),
        ("net::dropout", "x", "--net::dropout x: is not a number"),
        ("net::channels", 16, "--net::channels 16: is not a list of whole numbers; write one, as"),
        ("net", {**UNET, "bias": "false"}, "--net::bias false: is not True or False"),
        ("net", {"a": {"_target_": "UNet", "bias": "no"}}, "--net::a::bias no: is not"),
        ("net", 5, "--net 5: is not a list or a mapping"),
        ("window::nix", 1, "window takes: .*overlap"),
        ("loss::sigma", "ten", "--loss::sigma ten: is not a number"),
        ("max_epochs", "ten", "--max_epochs ten: is not a whole number; write .* --max_epochs 100"),
        ("max_epochs", "@learning_rate", "--max_epochs 0.1: is not a whole number from 1 to"),
        ("max_epochs", "$1 / 0", "cannot be evaluated .division by zero.; correct it"),
        ("max_epochs", "$1 +", "max_epochs: .* is not an expression of Python .invalid syntax."),
        ("learning_rate", float("nan"), "--learning_rate: nan is not a finite number"),
        ("anything", [1, {"k": float("inf")}], "--anything: inf is not a finite number"),
        ("anything", {1: 2}, "--anything {1: 2}: 1 is not text; put it in quotes"),
        ("anything", {1, 2}, "is neither text, a number, a list nor a mapping"),
        ("anything", b"x", "is neither text"),
        ("output_dir", "a#1", "--output_dir a#1: MONAI would take # for ::; choose a name without"),
        ("anything", [{"k": "a#1"}], "--anything a#1: MONAI would take # for ::"),
        ("flag", "false", "--flag false: is not True or False; write --flag True or --flag False"),
        ("names", "a", r"--names a: is not a list of texts; write .* --names \['a', 'b'\]"),
        ("sets", {"a": ["x"]}, "is not a mapping of lists of whole numbers"),
        ("output_dir", 2024, "--output_dir 2024: is not text; write it in quotes: .*'2024'"),
    ],
)
def test_values_of_another_type_are_refused(key, value, message):
    """In one line, which says what is expected and what to write."""
    with pytest.raises(SettingError, match=message) as refusal:
        checked_overrides(CONFIG, {key: value})

    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["$1 / 0", "@nowhere", "%nowhere"])
def test_folder_of_data_whose_name_is_code_is_refused(name):
    """It is a folder, and no expression: nothing is evaluated."""
    with pytest.raises(InputError, match="^--dataset_dir .* by which MONAI evaluates a text"):
        checked_overrides(CONFIG, {"dataset_dir": name})


def test_part_of_what_is_replaced_as_a_whole_is_refused():
    """Before the whole it would be lost; behind it, it counts."""
    whole = {"_target_": "UNet", "spatial_dims": 2}

    checked_overrides(CONFIG, {"net": whole, "net::spatial_dims": 3})
    with pytest.raises(SettingError, match="--net::spatial_dims: is replaced by --net behind it"):
        checked_overrides(CONFIG, {"net::spatial_dims": 3, "net": whole})


def test_component_that_cannot_be_found_takes_nothing():
    """MONAI says so when it is made; until then none of its arguments is known."""
    with pytest.raises(SettingError, match="--net::bias: there is no such key"):
        checked_overrides({"net": {"_target_": "torch.nn.Nix"}}, {"net::bias": True})


@pytest.mark.parametrize("key", [key for key, limit in LIMITS.items() if limit.high < float("inf")])
def test_both_ends_are_allowed_and_nothing_beyond(key):
    """The ends themselves are allowed; what is beyond is refused, be it from a file or a command."""
    limit = LIMITS[key]
    length = limit.length

    def check(number):
        config = {}
        ConfigParser(config).set(number if length is None else [number] * length, key)
        check_limits(ConfigParser(config), {})

    for end in (limit.low, limit.high):
        check(end)
    for beyond in (limit.low - 1, limit.high + 1, -limit.high):
        if not limit.low <= beyond <= limit.high:
            with pytest.raises(SettingError, match=f"--{key} .*: is not .* from .* to"):
                check(beyond)


@pytest.mark.parametrize("size", [[8], [8, 8, 8], [], [8, "8"], 8])
def test_length_of_a_list_is_held(size):
    """A slice has two sides."""
    with pytest.raises(SettingError, match="--spatial_size .*: is not a list of 2 whole numbers"):
        check_limits(ConfigParser({"spatial_size": size}), {"spatial_size": [1, 1]})


def test_every_limit_is_of_a_key_of_the_bundles():
    """A key that is no more, or misspelled, is not a limit."""
    files = [str(file) for file in (ROOT / "bundles").rglob("*.yaml")]
    parser = ConfigParser(ConfigParser.load_config_files(files))

    assert [key for key in LIMITS if key not in parser] == ["inferer::overlap"]  # which MONAI takes


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), "$torch.device('cpu')"])
def test_device_that_is_there_is_accepted(device):
    """As text, as a device, or as an expression of one."""
    check_limits(ConfigParser({"device": device}), {})


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta", "", "cpu:x", "$'nix'"])
def test_device_that_is_not_there_is_refused_with_those_that_are(device):
    """Before MONAI says so in its own words."""
    with pytest.raises(SettingError, match="--device .*: is not there; choose from: cpu"):
        check_limits(ConfigParser({"device": device}), {})


def test_gpu_is_told_by_its_number(monkeypatch):
    """Without taking memory of it."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    for device in ("cuda", "cuda:1"):
        check_limits(ConfigParser({"device": device}), {})
    with pytest.raises(SettingError, match="cuda:2: is .* choose from: cpu, cuda:0, cuda:1$"):
        check_limits(ConfigParser({"device": "cuda:2"}), {})


def test_choices_are_held():
    """A set of a split is one of three."""
    check_limits(ConfigParser({"cases_to_evaluate": "val"}), {})
    with pytest.raises(SettingError, match="tset: is not one of train, val, test"):
        check_limits(ConfigParser({"cases_to_evaluate": "tset"}), {})


@pytest.fixture
def check(monkeypatch):
    """`check_dims` as a configuration calls it, after a command with some overrides."""

    def run(dims, *keys, preprocessing=("@to_ras",)):
        monkeypatch.setattr(dimensions, "given_overrides", lambda: dict.fromkeys(keys))
        config = {"preprocessing": list(preprocessing), "cropping": []}
        monkeypatch.setattr(dimensions, "running_parser", lambda: config)
        check_dims(dims)

    return run


@pytest.mark.parametrize("key", ["patch", "patch::0", "patches_per_volume", "class_centered"])
def test_words_of_patches_need_three_dimensions(check, key):
    """They are refused where slices are trained on."""
    check(3, key, "seed")
    name = key.partition(":")[0]
    with pytest.raises(SettingError, match=f"^--{name}: is of patches; add --dims 3"):
        check(2, "seed", key)


@pytest.mark.parametrize("key", ["spatial_size", "discard_empty_slices"])
def test_words_of_slices_need_two_dimensions(check, key):
    """They are refused where patches are trained on."""
    check(2, key)
    with pytest.raises(SettingError, match=f"^--{key}: is of slices, and --dims 3 trains"):
        check(3, key)


def test_size_to_which_volumes_are_brought_is_of_both(check):
    """As where a dataset's slices are resized before patches are cut."""
    resize = {"_target_": "Resized", "spatial_size": "$[*@spatial_size, -1]"}
    check(3, "spatial_size", preprocessing=["@to_ras", resize])


def test_run_without_a_command_is_not_checked(monkeypatch):
    """As from Python, where nothing says what was overridden."""
    monkeypatch.setattr(dimensions, "given_overrides", lambda: None)
    check_dims(2)
