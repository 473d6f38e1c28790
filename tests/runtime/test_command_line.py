"""What the command line may say."""

import sys

import pytest

from nacl_monai.errors import InputError
from nacl_monai.runtime import check_command_line


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
def test_accepted(config, words):
    """Keys of the configuration, and MONAI's own arguments, are accepted in every spelling."""
    check(config, *words)


def test_tracking_without_mlflow(config, monkeypatch):
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
        (["--loss", "dice"], "--loss dice: write it as a reference, --loss @losses::dice"),
        (["--double", "$@epochz * 2"], "double: there is no epochz in the configuration"),
        (["--experiment_name", "e"], "--experiment_name: there is no such key"),
    ],
)
def test_refused(config, words, message):
    """An unknown key, a reference to nothing and a choice without its menu are refused."""
    with pytest.raises(InputError, match=message):
        check(config, *words)


def test_arguments_file(config, tmp_path):
    """Overrides in an arguments file are held to the same rule."""
    file = tmp_path / "args.json"
    file.write_text(f'{{"config_file": "{config}", "epochz": 3}}')

    with pytest.raises(InputError, match="--epochz: there is no such key"):
        check_command_line(["monai/bundle/__main__.py", "run", "x", "--args_file", str(file)])


def test_several_files(config, tmp_path):
    """A key may be in any of the configuration's files."""
    other = tmp_path / "other.yaml"
    other.write_text("rate: 0.1\n")

    check(str([config, str(other)]), "--rate", "0.2", "--epochs", "3")


@pytest.mark.parametrize("argv", [["pytest"], ["pytest", "run", "--no-such-key", "1"], ["-c"]])
def test_other_programs(argv):
    """Words of other programs are none of this function's business."""
    check_command_line(argv)
