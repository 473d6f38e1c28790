"""The command line may say what the configuration has, and nothing else."""

import sys

import pytest

from nacl_monai.errors import InputError
from nacl_monai.runtime import check_command_line
from nacl_monai.runtime.command_line import check_run, checked_overrides, keys_and_values, leaves


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(
        "losses: {nacl: {weight: 0.1}, dice: {}}\n"
        "loss: '@losses::nacl'\n"
        "epochs: 10\n"
        "flag: true\n"
        "size: [1, 2]\n"
        "double: $@epochs * 2\n"
        "handlers: [{name: a}, {name: b}]\n"
    )
    return str(file)


def check(config, *words):
    check_command_line(["monai/bundle/__main__.py", "run", "x", "--config_file", config, *words])


@pytest.mark.parametrize(
    "words",
    [
        ["--epochs", "3"],
        ["--epochs=3"],
        ["--losses::nacl::weight", "0.3"],
        ["--losses#nacl#weight", "-0.3"],
        ["--loss", "@losses::dice"],
        ["--size", "[3, 4]"],
        ["--handlers::1::name", "c"],
        ["--meta_file", "x.json", "--logging_file", "y.conf"],
        ["--tracking", "mlflow", "--experiment_name", "e", "--tracking_uri", "u"],
        ["--double", "$@epochs + 1"],
        ["--_meta_::version", "2"],
    ],
)
def test_keys_of_the_configuration_and_of_monai_are_accepted(config, words):
    """Keys of the configuration, and MONAI's own arguments, are accepted in every spelling."""
    check(config, *words)


def test_tracking_without_mlflow_is_refused(config, monkeypatch):
    """Where MLflow is not installed, tracking by it is refused with what installs it."""
    monkeypatch.setitem(sys.modules, "mlflow", None)

    with pytest.raises(InputError, match=r"--tracking mlflow: .* pip install"):
        check(config, "--tracking", "mlflow")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--epoch", "3"],
            r"--epoch: there is no such key in the configuration; did you mean --epochs\?",
        ),
        (["--losses::nacl::wieght", "1"], r"did you mean --losses::nacl::weight\?"),
        (["--losses::nalc::weight", "1"], "--losses::nalc::weight: there is no such key"),
        (["--handlers::2::name", "c"], "--handlers::2::name: there is no such key"),
        (["--loss", "@losses::dcie"], "loss: there is no losses::dcie .*choose from: nacl, dice"),
        (["--loss", "dice"], "--loss dice: .*write it as a reference, --loss @losses::dice"),
        (["--double", "$@epoch"], "double: there is no epoch .*; did you mean @epochs"),
        (["--qqqqq", "1"], "--qqqqq: there is no such key .*; leave it out, or add the key"),
        (["--double", "$@epochz * 2"], "double: there is no epochz in the configuration"),
        (["--experiment_name", "e"], "--experiment_name: there is no such key"),
    ],
)
def test_what_the_configuration_has_not_is_refused(config, words, message):
    """An unknown key, a reference to nothing and a choice without its menu are refused."""
    with pytest.raises(InputError, match=message):
        check(config, *words)


def test_arguments_file_is_held_to_the_same_rule(config, tmp_path):
    """Overrides in it are checked; those of the command line go above them."""
    file = tmp_path / "args.json"
    file.write_text(f'{{"config_file": "{config}", "epochz": 3}}')

    with pytest.raises(InputError, match="--epochz: there is no such key"):
        check_command_line(["monai/bundle/__main__.py", "run", "x", "--args_file", str(file)])

    file.write_text(f'{{"config_file": "{config}", "loss": "nix"}}')
    words = ["monai/bundle/__main__.py", "run", "x", "--args_file", str(file)]
    check_command_line([*words, "--loss", "@losses::dice"])


def test_key_may_be_in_any_of_several_files(config, tmp_path):
    """All files of the command are one configuration."""
    other = tmp_path / "other.yaml"
    other.write_text("rate: 0.1\n")

    check(str([config, str(other)]), "--rate", "0.2", "--epochs", "3")


@pytest.mark.parametrize("argv", [["pytest"], ["pytest", "run", "--no-such-key", "1"], ["-c"]])
def test_words_of_other_programs_are_left_alone(argv):
    """They are none of this function's business."""
    check_command_line(argv)


def test_words_of_this_process_are_the_default(config, monkeypatch):
    """The configurations call the check without arguments."""
    words = ["monai/bundle/__main__.py", "run", "x", "--config_file", config, "--epochz", "3"]
    monkeypatch.setattr(sys, "argv", words)

    with pytest.raises(InputError, match="--epochz"):
        check_command_line()


def test_words_without_a_configuration_are_left_to_monai():
    """MONAI itself says what is missing."""
    check_run(["training", "--epochz", "3"])


def test_overrides_are_returned_with_one_separator():
    """MONAI accepts two; the rest of the package knows one. The configuration stays as it is."""
    config = {"a": {"b": [1, 2]}}

    assert checked_overrides(config, {"a#b#1": 3, "a::b::0": 4}) == {"a::b::1": 3, "a::b::0": 4}
    assert config == {"a": {"b": [1, 2]}}


PAIRS = [
    ("CrossEntropyLoss", "nacl_monai.losses.CrossEntropyLoss"),
    ("NACLLoss", "nacl_monai.losses.NACLLoss"),
    ("FocalLoss", "nacl_monai.losses.FocalLoss"),
    ("DiceCELoss", "nacl_monai.losses.DiceCELoss"),
    ("CalibrationError", "nacl_monai.handlers.CalibrationError"),
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
        with pytest.raises(InputError, match=rf"_target_: {name} alone .*; write {full_name}, or"):
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

    with pytest.raises(InputError, match=r"imports::1: import nix fails \(No module.*; correct"):
        checked_overrides({"imports": ["$import os", "$import nix"]}, {})


def test_choice_is_a_reference_an_expression_or_a_definition():
    """Only a bare word in place of a reference to a menu is a slip."""
    config = {"menu": {"a": 1, "b": 2}, "choice": "@menu::a", "word": "x"}

    for value in ("@menu::b", "$1 + 1", {"_target_": "UNet"}, 3):
        assert checked_overrides(config, {"choice": value}) == {"choice": value}
    assert checked_overrides(config, {"word": "b"}) == {"word": "b"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "--a", "1"], {"a": 1}),
        (["--a=1", "--b=x=y"], {"a": 1, "b": "x=y"}),
        (["--a", "[1, 2]", "--b", "1e-3"], {"a": [1, 2], "b": 0.001}),
        (["--a", "--b", "-1"], {"a": "", "b": -1}),
        (["--a", "x y", "z"], {"a": "x y"}),
        (["--a", "1", "--a", "2"], {"a": 2}),
    ],
)
def test_keys_and_values_are_read_as_fire_reads_them(words, expected):
    """Python literals are values, everything else is text; the last of two counts."""
    assert keys_and_values(words) == expected


def test_leaves_are_values_with_the_way_to_them():
    """With `inner`, branches come before what is in them."""
    config = {"a": {"b": [1, {"c": None}]}, "d": 2}

    assert list(leaves(config)) == [("a::b::0", 1), ("a::b::1::c", None), ("d", 2)]
    assert [key for key, _ in leaves(config, inner=True)] == [
        *("a", "a::b", "a::b::0", "a::b::1", "a::b::1::c", "d")
    ]
