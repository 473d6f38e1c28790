"""`nacl-monai train | evaluate | infer | folds | run` are words of `monai.bundle run`."""

import shlex
import sys
from types import SimpleNamespace

import pytest

from nacl_monai.bundles.__main__ import main
from nacl_monai.bundles.command_line import keys_and_values
from tests.conftest import ROOT


@pytest.fixture
def command(monkeypatch, capsys):
    """The words that MONAI's command gets; nothing is run."""
    commands = []
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("fire.Fire", lambda _, command, **__: commands.append(command))
    monkeypatch.setattr("nacl_monai.bundles.command_line.check_run", lambda _: None)
    monkeypatch.setattr("nacl_monai.bundles.error_lines.one_line_errors", lambda: None)

    def run(*args):
        commands.clear()
        try:
            code = main(list(args))
        except SystemExit as stop:  # as argparse ends
            code = stop.code
        return code, commands, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("args", "expected", "next_"),
    [
        (
            ["train", "--network", "dynunet", "--seed", "3"],
            ["training", "train", "--output_dir", "runs/acdc/dynunet_nacl_seed3", "--seed", "3",
             "--network_def", "@networks::dynunet", "--loss", "@losses::nacl"],
            "evaluate acdc '/my data' --network dynunet --seed 3",
        ),
        (
            ["train", "--network", "my_package.MyNet", "--loss", "monai.losses.DiceLoss", "--dims=3"],
            ["training", "train", "--output_dir", "runs/acdc/MyNet3d_DiceLoss_seed0", "--seed", "0",
             "--network_def", "{'_target_': 'my_package.MyNet'}",
             "--loss", "{'_target_': 'monai.losses.DiceLoss'}", "--dims", "3"],
            "evaluate acdc '/my data' --network my_package.MyNet --loss monai.losses.DiceLoss --dims 3",
        ),
        (
            ["evaluate", "--loss", "focal"],
            ["evaluating", "evaluate", "--output_dir", "runs/acdc/unet_focal_seed0"],
            "page runs/acdc/unet_focal_seed0",
        ),
        (
            ["evaluate", "--network", "dynunet"],
            ["evaluating", "evaluate", "--output_dir", "runs/acdc/dynunet_nacl_seed0",
             "--network_def", "@networks::dynunet"],
            "page runs/acdc/dynunet_nacl_seed0",
        ),
        (
            ["infer", "--dims", "3"],
            ["inference", "inference", "--dims", "3",
             "--checkpoint", "runs/acdc/unet3d_nacl_seed0/model.pt",
             "--output_dir", "runs/acdc/unet3d_nacl_seed0/predictions"],
            "audit runs/acdc/unet3d_nacl_seed0/predictions LABELS",
        ),
    ],
)  # fmt: skip
def test_words_are_those_of_monais_command(command, args, expected, next_):
    """They are printed as a shell takes them; what follows the options is kept behind them."""
    verb, *options = args
    run_id, kind, *settings = expected
    code, (passed,), printed, _ = command(verb, "acdc", "/my data", *options, "--max_epochs", "5")

    files = ["acdc/configs/dataset", "common/model", f"common/{kind}"]
    config = str([f"bundles/{file}.yaml" for file in files])
    place = "--images" if verb == "infer" else "--dataset_dir"
    assert code == 0
    assert passed == [
        *("run", run_id, "--config_file", config, place, "/my data", *settings),
        *("--max_epochs", "5"),
    ]
    stock, following = printed.splitlines()
    assert shlex.split(stock) == ["python", "-m", "monai.bundle", *passed]
    assert following == f"next: nacl-monai {next_}"


def test_training_ends_with_what_it_found_and_the_command_that_follows(command, tmp_path):
    """The best epoch and its metric, for a run whose folder was named."""
    (tmp_path / "run.json").write_text('{"best_epoch": 3, "best_metric": 0.8125}')
    _, _, printed, _ = command("train", "acdc", "/data", "--run", str(tmp_path))

    assert printed.splitlines()[1:] == [
        "best epoch 3: validation metric 0.8125",
        f"next: nacl-monai evaluate acdc /data --run {tmp_path}",
    ]


@pytest.fixture
def started(monkeypatch):
    """The words of every process that is started in place of this one, and the code of each."""
    calls, codes = [], {}

    def run(command, check):
        assert not check
        calls.append(command[1:])
        return SimpleNamespace(returncode=codes.get(command[command.index("run") + 1], 0))

    monkeypatch.setattr("nacl_monai.bundles.__main__.subprocess.run", run)
    return SimpleNamespace(calls=calls, codes=codes)


def test_several_processes_are_started_by_torchrun(command, started):
    """One command does not wait for a port of its own; the exit code is theirs."""
    started.codes["evaluating"] = 3
    code, passed, printed, _ = command("evaluate", "acdc", "/data", "--processes", "2")

    (launched,) = started.calls
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    assert launched[:9] == [*torchrun, "-m", "nacl_monai", "run", "evaluating"]
    assert printed.startswith("torchrun --standalone --nproc_per_node 2 -m monai.bundle run eval")
    assert (code, passed) == (3, [])
    assert launched[launched.index("--output_dir") + 1] == "runs/acdc/unet_nacl_seed0"


@pytest.mark.usefixtures("table")
class TestFolds:
    @pytest.fixture
    def table(self, monkeypatch):
        """What is tabulated."""
        calls = []
        monkeypatch.setattr("nacl_monai.bundles.__main__.command", lambda args: calls.append(args))
        return calls

    def steps(self, started):
        """Run id, fold and folder of every process."""
        calls = [call[call.index("run") + 1 :] for call in started.calls]
        keys = ("--fold", "--output_dir")
        return [(call[0], *(call[call.index(key) + 1] for key in keys)) for call in calls]

    def test_every_fold_is_trained_and_evaluated_and_all_are_tabulated(
        self, command, started, table
    ):
        """In folders that the table finds by the name of the whole."""
        command("folds", "mrbrains", "/data", "--loss", "focal")

        run = "runs/mrbrains/unet_focal"
        assert self.steps(started) == [
            (run_id, str(fold), f"{run}_fold={fold}_seed0")
            for fold in range(7)
            for run_id in ("training", "evaluating")
        ]
        assert table == [["compare", f"{run}_seed0", "--output", f"{run}_seed0"]]

    def test_evaluation_is_told_what_it_knows(self, command, started):
        """A word of the training alone would be refused."""
        options = ["--max_epochs=2", "--cache_dir", "x", "--network_def::act", "relu"]
        command("folds", "mrbrains", "/data", "--folds", "0", *options)

        training, evaluation = started.calls
        assert training[-5:] == options
        assert evaluation[-4:] == options[1:]
        assert "--max_epochs=2" not in evaluation

    def test_evaluated_fold_is_held_to_its_training(self, command, started, tmp_path):
        """The training refuses other settings or data than its own, which the table would not show."""
        record = tmp_path / "my_fold=0_seed0/evaluation/evaluation.json"
        record.parent.mkdir(parents=True)
        record.touch()
        run = tmp_path / "my_seed0"
        command("folds", "mrbrains", "/data", "--folds", "0 1", "--run", str(run))

        assert [step[0] for step in self.steps(started)] == ["training", "training", "evaluating"]
        assert self.steps(started)[0][2] == str(record.parents[1])

    def test_fault_of_a_fold_ends_it(self, command, started, table):
        """With its exit code."""
        started.codes["evaluating"] = 2
        assert command("folds", "mrbrains", "/data")[0] == 2

        assert len(started.calls) == 2
        assert not table


@pytest.mark.parametrize(
    ("args", "run"),
    [
        (["--fold", "2", "--network", "dynunet"], "runs/acdc/dynunet_nacl_fold=2_seed0"),
        (["--dims", "2"], "runs/acdc/unet_nacl_seed0"),
        (["--dims=3", "--fold", "2"], "runs/acdc/unet3d_nacl_fold=2_seed0"),
        (["--run", "else/where"], "else/where"),
        (["--run", "x", "--loss", "@losses::nacl"], "x"),
    ],
)
def test_run_is_named_after_what_is_chosen(command, args, run):
    """Unless its folder is given."""
    _, (passed,), _, _ = command("train", "acdc", "/data", *args)

    assert passed[passed.index("--output_dir") + 1] == run
    assert passed[passed.index("--loss") + 1] == "@losses::nacl"


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ("train acdc /data --loss {'_target_':'x.Y'}", 2,
         "--loss {'_target_':'x.Y'}: gives no name to the run; name its folder: --run DIR"),
        ("train folder /data", 1, "folder: is the template of a dataset of your own; write that"),
        ("train mine /data --bundles HERE", 1, "HERE/mine/configs/dataset.yaml: is not YAML (line 3: "),
        ("folds acdc /data", 2, "acdc: has no folds; choose one that does, such as mrbrains"),
        ("folds mrbrains /data --run runs/mine", 1,
         "runs/mine: not the name of a cross-validation; end it in "),
        ("train acdc $print('run')", 1,
         "$print('run'): \"$print('run')\" begins with $, by which MONAI"),
        ("evaluate acdc @classes", 1, "@classes: '@classes' begins with @, by which MONAI"),
        ("infer acdc %classes", 1, "%classes: '%classes' begins with %, by which MONAI"),
        *((f"train acdc /data --processes={number}", 2,
           f"--processes: {number}: is no number of processes; write 1 or more")
          for number in ("0", "-1", "two")),
        *((f"train acdc /data --{option}=1 --{option} 2", 2,
           f"--{option}: is given twice; leave one out")
          for option in ("seed", "loss", "network", "run", "dims", "fold", "bundles")),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_one_line(command, started, tmp_path, args, code, message):
    """Before MONAI parses anything, and before a process is started."""
    file = tmp_path / "mine/configs/dataset.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("a: 1\nb: [\n")

    found, passed, _, errors = command(*args.replace("HERE", str(tmp_path)).split())

    *usage, line = errors.splitlines()
    assert (found, passed, started.calls) == (code, [], [])
    assert f"error: {message.replace('HERE', str(tmp_path))}" in line
    assert "error" not in str(usage)


@pytest.mark.parametrize("name", ["2024", "2024_1", "a,b", "None", "true-1", "[x]", "plain"])
def test_folder_of_any_name_is_read_as_its_name(command, name):
    """MONAI would read a number, a list or nothing."""
    for chosen, keys in (
        (["train", "acdc", name, "--run", name], ["dataset_dir", "output_dir"]),
        (["infer", "acdc", name], ["images"]),
    ):
        _, (passed,), _, _ = command(*chosen)
        arguments = keys_and_values(passed[2:])
        assert {arguments[key] for key in keys} == {name}


def test_inference_writes_and_reads_where_it_is_told(command):
    """The run's own folder and weights are the default."""
    _, (passed,), _, _ = command("infer", "acdc", "x", "--output_dir", "out", "--checkpoint=w.pt")

    arguments = keys_and_values(passed[2:])
    assert (arguments["output_dir"], arguments["checkpoint"]) == ("out", "w.pt")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the command on a configuration that knows nothing of this package."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    file = tmp_path / "config.yaml"
    file.write_text("n: 1\nrun: $print('n is', @n)\n")

    def command(*args):
        code = main(["run", *args, "--config_file", str(file)])
        return code, *capsys.readouterr()

    return command


def test_configuration_is_run_with_its_overrides(run):
    """MONAI does the work; whatever fails in it from now on is one line."""
    code, output, _ = run("--n", "2")

    assert code == 0
    assert "n is 2" in output
    assert sys.excepthook is not sys.__excepthook__


def test_slip_ends_in_one_line_before_anything_is_run(run):
    """MONAI alone would have run with the old value."""
    code, output, errors = run("--m", "2")

    assert code == 2
    assert errors.startswith("error: --m: there is no such key in the configuration; ")
    assert len(errors.splitlines()) == 1
    assert "n is" not in output
