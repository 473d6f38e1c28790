"""What the command line may say, and how errors are shown."""

import sys

import pytest
import torch

from nacl_monai.bundle import check_command_line, load_weights, one_line_errors, refuse_to_overwrite
from nacl_monai.errors import InputError


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


class TestErrors:
    @pytest.fixture(autouse=True)
    def _restore(self, monkeypatch):
        monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
        one_line_errors()

    def shown(self, capsys, function):
        try:
            function()
        except Exception as error:
            sys.excepthook(type(error), error, error.__traceback__)
        return capsys.readouterr().err

    def test_wrapped(self, capsys):
        """An input error is shown alone, however deeply MONAI has wrapped it."""

        def fail():
            try:
                try:
                    raise InputError("file.nii.gz: is damaged; download it again")
                except InputError as error:
                    raise RuntimeError("applying transform") from error
            except RuntimeError as error:
                raise RuntimeError("Failed to evaluate") from error

        assert self.shown(capsys, fail) == "error: file.nii.gz: is damaged; download it again\n"

    def test_others(self, capsys):
        """Any other error keeps its traceback."""
        shown = self.shown(capsys, lambda: 1 // 0)

        assert "Traceback" in shown
        assert "ZeroDivisionError" in shown


def test_overwriting(tmp_path):
    """A result that is there is not overwritten; one that is not there is no obstacle."""
    refuse_to_overwrite(tmp_path / "model.pt")
    (tmp_path / "model.pt").touch()

    with pytest.raises(InputError, match="model.pt: a trained model is already there"):
        refuse_to_overwrite(tmp_path / "model.pt")


def test_weights(tmp_path):
    """Weights come back exactly; a missing, damaged or foreign file is named."""
    network, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    (tmp_path / "damaged.pt").write_bytes((tmp_path / "model.pt").read_bytes()[:50])

    load_weights(other, tmp_path / "model.pt")

    assert torch.equal(network.weight, other.weight)
    for target, file, message in (
        (other, "nowhere.pt", "no trained model there"),
        (other, "damaged.pt", "is damaged"),
        (torch.nn.Linear(4, 2), "model.pt", "does not fit the network"),
    ):
        with pytest.raises(InputError, match=f"{file}: {message}"):
            load_weights(target, tmp_path / file)
