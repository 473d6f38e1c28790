"""`nacl-monai train | evaluate | infer` give the words that make gives."""

import shlex
import subprocess

import pytest

from nacl_monai.bundles.__main__ import main
from nacl_monai.bundles.command_line import keys_and_values
from nacl_monai.bundles.commands import shown
from tests.conftest import ROOT

MAKE = {
    "train": ["DATASET_DIR=/data/ACDC"],
    "evaluate": ["DATASET_DIR=/data/ACDC"],
    "infer": ["IMAGES=/data/new/*"],
}
PLACE = {"train": "/data/ACDC", "evaluate": "/data/ACDC", "infer": "/data/new/*"}


@pytest.fixture
def command(monkeypatch, capsys):
    """The words that MONAI's command gets; nothing is run."""
    given = []
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("fire.Fire", lambda _, command, **__: given.append(command))
    monkeypatch.setattr("nacl_monai.bundles.command_line.check_run", lambda _: None)
    monkeypatch.setattr("nacl_monai.bundles.error_lines.one_line_errors", lambda: None)

    def run(*words):
        given.clear()
        code = main(list(words))
        return code, given, *capsys.readouterr()

    return run


@pytest.mark.parametrize("word", MAKE)
@pytest.mark.parametrize("network", [None, "dynunet", "my_package.MyNet"])
@pytest.mark.parametrize("dims", [None, "3"])
def test_words_are_those_of_make(command, word, network, dims):
    """For every choice, in whatever order; the command is printed as a shell takes it."""
    variables = [*MAKE[word], "DATASET=acdc", "LOSS=focal", "SEED=3"]
    words = [word, "acdc", PLACE[word], "--loss", "focal", "--seed", "3", "--max_epochs", "5"]
    if network:
        variables.append(f"NETWORK={network}")
        words += ["--network", network]
    if dims:
        variables.append(f"DIMS={dims}")
        words += ["--dims", dims]
    made = subprocess.run(
        ["make", "-n", "--no-print-directory", word, *variables, "ARGS=--max_epochs 5"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    code, (given,), printed, _ = command(*words)
    expected = shlex.split(made[made.index("run ") :].replace("\\\n", " "))

    assert code == 0
    assert shlex.split(printed) == ["python", "-m", "monai.bundle", *given]
    assert pairs(given) == pairs(expected)


def pairs(words):
    """A run id, and options with their values; the files as one knows them."""
    options = dict(zip(words[2::2], words[3::2], strict=True))
    return [words[:2], {key: value.replace(f"{ROOT}/", "") for key, value in options.items()}]


@pytest.mark.parametrize(
    ("words", "run"),
    [
        ([], "runs/acdc/unet_nacl_seed0"),
        (["--fold", "2", "--network", "dynunet"], "runs/acdc/dynunet_nacl_fold=2_seed0"),
        (["--network", "my.MyNet"], "runs/acdc/MyNet_nacl_seed0"),
        (["--dims", "2"], "runs/acdc/unet_nacl_seed0"),
        (["--dims=3", "--fold", "2"], "runs/acdc/unet3d_nacl_fold=2_seed0"),
        (["--run", "else/where"], "else/where"),
        (["--run", "x", "--loss", "@losses::nacl"], "x"),
    ],
)
def test_run_is_named_after_what_is_chosen(command, words, run):
    """Unless its folder is given."""
    _, (given,), _, _ = command("train", "acdc", "/data", *words)

    assert given[given.index("--output_dir") + 1] == run
    assert given[given.index("--loss") + 1] == "@losses::nacl"


def test_loss_without_a_name_needs_a_folder(command):
    """Nobody could find the run by it."""
    code, given, _, errors = command("train", "acdc", "/data", "--loss", "{'_target_': 'x.Y'}")

    assert (code, given) == (2, [])
    assert errors.startswith(
        "error: --loss {'_target_': 'x.Y'}: gives no name to the run; name its"
    )


def test_unknown_dataset_and_damaged_file_are_one_line(command, tmp_path):
    """Before MONAI reads it."""
    code, given, _, errors = command("train", "folder", "/data")
    assert (code, given) == (1, [])
    assert errors.startswith("error: folder: is the template of a dataset of your own; write that")

    file = tmp_path / "mine/configs/dataset.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("a: 1\nb: [\n")
    code, given, _, errors = command("train", "mine", "/data", "--bundles", str(tmp_path))
    assert (code, given) == (1, [])
    assert errors.startswith(f"error: {file}: is not YAML (line 3: ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("name", ["2024", "2024_1", "a,b", "None", "true-1", "[x]", "plain"])
def test_folder_of_any_name_is_read_as_its_name(command, name):
    """MONAI would read a number, a list or nothing."""
    for words, keys in (
        (["train", "acdc", name, "--run", name], ["dataset_dir", "output_dir"]),
        (["infer", "acdc", name], ["images"]),
    ):
        _, (given,), _, _ = command(*words)
        arguments = keys_and_values(given[2:])
        assert {arguments[key] for key in keys} == {name}


def test_inference_writes_and_reads_where_it_is_told(command):
    """The run's own folder and weights are the default."""
    _, (given,), _, _ = command("infer", "acdc", "x", "--output_dir", "out", "--checkpoint=w.pt")

    arguments = keys_and_values(given[2:])
    assert (arguments["output_dir"], arguments["checkpoint"]) == ("out", "w.pt")


@pytest.mark.parametrize("option", ["seed", "loss", "network", "run", "dims", "fold", "bundles"])
def test_option_that_is_given_twice_is_refused(command, option, capsys):
    """The last one would be taken without a word."""
    with pytest.raises(SystemExit) as stop:
        command("train", "acdc", "/data", f"--{option}=1", f"--{option}", "2")

    assert stop.value.code == 2
    assert f"--{option}: is given twice; leave one out" in capsys.readouterr().err


def test_command_is_shown_as_a_shell_takes_it():
    """Blanks and quotes are kept."""
    words = ["training", "--dataset_dir", "/my data", "--x", "it's"]
    assert shlex.split(shown(words)) == ["python", "-m", "monai.bundle", "run", *words]
