"""Every word of a command is accounted for."""

import sys

import fire
import pytest
from monai.utils import optional_import

from nacl_monai.bundles.command_line import check_command_line, check_run, keys_and_values
from nacl_monai.errors import SettingError


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
        "initialize: [$print('ready')]\n"
        "x: [$print(@epochs)]\n"
    )
    return str(file)


def check(config, *args):
    check_command_line(["monai/bundle/__main__.py", "run", "x", "--config_file", config, *args])


@pytest.mark.parametrize(
    "args",
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
def test_keys_of_the_configuration_and_of_monai_are_accepted(config, args):
    """Keys of the configuration, and MONAI's own arguments, are accepted in every spelling."""
    check(config, *args)


def test_bundle_in_another_folder_is_named(tmp_path, monkeypatch):
    """Its files would be missing one by one, the calibrator's first."""
    bundle = tmp_path / "mine"
    (bundle / "configs").mkdir(parents=True)
    file = bundle / "configs/inference.json"
    file.write_text('{"bundle_root": ".", "x": ["$print(1)"]}')
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SettingError) as caught:
        check(str(file))
    assert str(caught.value) == (
        "--bundle_root: is not given, and this is not the bundle's folder; "
        f"write --bundle_root {bundle}"
    )
    check("mine/configs/inference.json", "--bundle_root", "mine")
    monkeypatch.chdir(bundle)
    check("configs/inference.json")


@pytest.mark.parametrize("option", ["args_file", "config_file"])
def test_yaml_without_pyyaml_is_refused(config, monkeypatch, option):
    """An export needs it for nothing else, and may be without."""
    yaml, _ = optional_import("no_such_package")
    monkeypatch.setattr("monai.bundle.config_parser.yaml", yaml)

    with pytest.raises(
        SettingError, match=f"^--{option} .*: is read by PyYAML, .*pip install pyyaml"
    ):
        check_run(["x", f"--{option}", config])


def test_tracking_without_mlflow_is_refused(config, monkeypatch):
    """Where MLflow is not installed, tracking by it is refused with what installs it."""
    monkeypatch.setitem(sys.modules, "mlflow", None)

    with pytest.raises(SettingError, match=r"--tracking mlflow: .* pip install"):
        check(config, "--tracking", "mlflow")


def test_arguments_file_is_held_to_the_same_rule(config, tmp_path):
    """Overrides in it are checked; those of the command line go above them."""
    file = tmp_path / "args.json"
    args = ["x", "--args_file", str(file)]
    file.write_text(f'{{"config_file": "{config}", "epochz": 3}}')

    with pytest.raises(SettingError, match="--epochz: there is no such key"):
        check_run(args)

    file.write_text(f'{{"config_file": "{config}", "loss": "nix"}}')
    check_run([*args, "--loss", "@losses::dice"])


def test_two_definitions_of_a_key_are_refused(config, tmp_path):
    """MONAI joins the file's and the command's: settings of one loss would reach the other."""
    file = tmp_path / "base.yaml"
    file.write_text("losses::nacl: {weight: 0.9}\n")

    with pytest.raises(SettingError, match=rf"--losses::nacl: is defined in {file} as well"):
        check(config, "--args_file", str(file), "--losses::nacl", "{'weight': 0.1}")
    check(config, "--args_file", str(file), "--losses::nacl::weight", "0.1")


def test_key_that_a_shared_file_has_is_refused(tmp_path):
    """The shared file is behind the dataset's, and would replace it; a third file may replace it."""
    own, shared, more = (tmp_path / name for name in ("own.yaml", "common/train.yaml", "more.yaml"))
    shared.parent.mkdir()
    own.write_text("epochs: 3\nlosses::nacl: 1\n")
    shared.write_text("epochs: 100\nx: [$print(@epochs)]\n")
    args = ["x", "--config_file"]

    with pytest.raises(SettingError) as refused:
        check_run([*args, str([str(own), str(shared)])])
    assert str(refused.value) == (
        f"{own}: epochs is of common/train.yaml, which would replace it; leave it out, and write "
        "--epochs VALUE behind the command"
    )
    own.write_text("rate: 3\n")
    more.write_text("epochs: 5\n")
    check_run([*args, f"{own},{shared},{more}"])


@pytest.mark.parametrize(
    "word", ["@losses#nacl", "$f('a#b')", "a_b", "'2024_1'", "['@losses#nacl']"]
)
def test_text_that_stays_as_it_is_is_taken(word):
    """References may be written with a number sign."""
    assert str(keys_and_values(["--name", word])["name"]).strip("'") == word.strip("'")


@pytest.mark.parametrize("option", ["args_file", "config_file"])
@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("empty.yaml", "", "holds no keys"),
        ("list.yaml", "[1, 2]", "holds no keys"),
        ("broken.yaml", "a: [1\n", "cannot be read"),
        ("broken.json", "{", "cannot be read"),
        ("mark.json", "\ufeff{}", "cannot be read"),
        ("text.txt", "a: 1", "cannot be read"),
        ("number.yaml", "3: 4\n", "holds no keys"),
        ("folder.yaml", None, "cannot be read"),
        ("twice.yaml", "rate: 0.1\nrate: 0.2\n", "has the key rate twice; leave"),
        ("twice.json", '{"rate": 0.1, "rate": 0.2}', "has the key rate twice; leave"),
    ],
)
def test_file_that_is_no_configuration_is_one_line(config, tmp_path, option, name, text, message):
    """It is named; of a key that is there twice MONAI would take the last one."""
    file = tmp_path / name
    file.mkdir() if text is None else file.write_text(text, encoding="utf-8")
    files = file if option == "args_file" else [config, str(file)]

    with pytest.raises(SettingError, match=f"^--{option} {file}: {message}") as refused:
        check_run(["x", f"--{option}={files}"])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("argv", [["pytest"], ["pytest", "run", "--no-such-key", "1"], ["-c"]])
def test_words_of_other_programs_are_left_alone(argv):
    """They are none of this function's business."""
    check_command_line(argv)


def test_words_without_a_configuration_are_left_to_monai():
    """MONAI itself says what is missing."""
    check_run(["training", "--epochz", "3"])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--epoch", "3"], r"--epoch: there is no such key in .*; did you mean --epochs\?"),
        (["--losses::nacl::wieght", "1"], r"did you mean --losses::nacl::weight\?"),
        (["--losses::nalc::weight", "1"], "--losses::nalc::weight: there is no such key"),
        (["--handlers::2::name", "c"], "--handlers::2::name: there is no such key"),
        (["--loss", "@losses::dcie"], "loss: there is no losses::dcie .*choose from: nacl, dice"),
        (["--loss", "dice"], "--loss dice: .*write it as a reference, --loss @losses::dice"),
        (["--double", "$@epoch"], "double: there is no epoch .*; did you mean @epochs"),
        (["--qqqqq", "1"], "--qqqqq: there is no such key .*; leave it out, or add the key"),
        (["--experiment_name", "e"], "--experiment_name: there is no such key"),
        (["STRAY"], "STRAY: is not an option, .*; leave it out, or write --KEY VALUE"),
        (["epochs=1"], "epochs=1: is not an option, .*; write --epochs 1"),
        (["-epochs", "1"], "-epochs: is not an option, .*; write --epochs VALUE"),
        (["-e=1"], "-e=1: is not an option, .*; write --e 1"),
        (["--epochs", "1", "2"], "2: is not an option, nor the value of one"),
        (["--epochs", "-inf"], "--epochs: has no value; write --epochs VALUE"),
        (["--flag"], "--flag: has no value; write --flag VALUE .True, for a switch."),
        (["--epochs", "1", "--epochs=1"], "--epochs: is given twice"),
        (["--losses::nacl::weight", "1", "--losses#nacl#weight", "1"], "is given twice"),
        (["--"], "--: is not an option"),
        (["-"], "-: is not an option"),
        (["--=1"], "--=1: is not an option"),
        (["---epochs", "1"], "---epochs: is not an option.*; write --epochs VALUE"),
        (["--epochs", "None"], "--epochs None: MONAI takes it for the default; leave it out"),
        (["--init_id", "x"], "--init_id: would skip a part of the run; leave it out"),
        (["--final_id", "x"], "--final_id: would skip"),
        (["--workflow_type", "infer"], "--workflow_type: would skip"),
        (["--run_id", "x"], "--run_id: is given twice"),
        (["--config_file", "x.yaml"], "--config_file: is given twice"),
        # A number sign begins Python's comments, and its numbers may have underscores.
        (
            ["--loss", "exp#2"],
            "--loss exp#2: MONAI would cut it off at #; choose a name without it",
        ),
        (["--loss", "2024_1"], "--loss 2024_1: MONAI would read 20241; write that, or text in quo"),
    ],
)
def test_every_word_belongs_to_one_option_that_is_there(config, args, message):
    """MONAI and Fire take some of these words for something else, and drop others."""
    with pytest.raises(SettingError, match=message):
        check(config, *args)


@pytest.mark.parametrize(
    ("run_id", "message"),
    [
        (["y"], "run y: is not a run of this configuration; choose from: double, x"),
        (["size"], "run size: is not a run of this configuration"),
        (["losses"], "run losses: is not a run"),
        (["x::0"], "run x::0: is not a run"),
        (["initialize"], "run initialize: is not a run"),
        (["--run_id", "y"], "run y: is not a run"),
        ([], "run run: is not a run"),
    ],
)
def test_what_is_run_is_a_list_of_steps_of_the_configuration(config, run_id, message):
    """MONAI would make the parts of a mapping and run nothing, or a single step alone."""
    check_run(["x", "--config_file", config])
    check_run(["--config_file", config, "--run_id", "x"])

    with pytest.raises(SettingError, match=message):
        check_run([*run_id, "--config_file", config])


@pytest.mark.parametrize("option", ["config_file", "args_file"])
def test_configuration_that_is_not_there_is_refused(option):
    """With the option that names it."""
    with pytest.raises(SettingError, match=rf"--{option} nowhere.yaml: no such file; correct"):
        check_run(["x", f"--{option}", "nowhere.yaml"])


@pytest.mark.parametrize(
    "args",
    [
        ["--a=1", "--b=x=y"],
        ["--a", "[1, 2]", "--b", "1e-3"],
        ["--a", "[x, y]", "--b", "{k: v}"],
        ["--a", "-1", "--b="],
        ["--a", "007", "--b", "x y"],
        ["--a", "(1, 'b')", "--b", "1,2"],
        ["--a::b", "@c::d", "--b", "$1 + 1"],
    ],
)
def test_values_are_those_that_fire_hands_to_monai(args):
    """Fire itself is the oracle."""
    received = {}

    fire.Fire(lambda **override: received.update(override), command=args, name="x")

    assert keys_and_values(args) == received
