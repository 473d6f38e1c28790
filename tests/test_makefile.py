"""make and a public host hand their words on unchanged: what the project has is what they run."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nacl_monai.bundles.__main__ import parser, run_folder
from nacl_monai.paper.exhibits import EXHIBITS

ROOT = Path(__file__).parents[1]


AWKWARD = 'it\'s a `b` $HOME $(x) "q" #1, y'


CHOICE = ["NETWORK=my_package.MyNet", "LOSS=focal", "SEED=3", "DIMS=3"]


CHOSEN = {"--network": "my_package.MyNet", "--loss": "focal", "--seed": "3", "--dims": "3"}


@pytest.fixture
def make(tmp_path):
    """Runs make with a program that writes down its words; returns the words of each call."""
    program = tmp_path / "programs/nacl-monai"
    program.parent.mkdir()
    log = tmp_path / "log"
    script = tmp_path / "says.py"
    script.write_text(
        f"import json, sys\nprint(json.dumps(sys.argv[1:]), file=open({str(log)!r}, 'a'))\n",
        encoding="utf-8",
    )
    # A line with #! cannot name a Python whose path has a blank.
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    program.with_name("python").symlink_to(program)
    fresh = [f"--old-file=.venv/{stamp}" for stamp in ("runtime", "reproduce")]

    def run(*args):
        log.write_text("")
        subprocess.run(
            ["make", "--silent", *fresh, f"BIN={program.parent}", *args], cwd=ROOT, check=True
        )
        return [json.loads(line) for line in log.read_text().splitlines()]

    return run


def options(args):
    return dict(zip(args[::2], args[1::2], strict=True))


@pytest.mark.parametrize(
    ("verb", "variables", "places", "other_options"),
    [
        ("train", ["DATASET=kits", "TRACKING=mlflow", "PROCESSES=2", *CHOICE],
         ["kits", AWKWARD], {"--tracking": "mlflow", "--processes": "2", **CHOSEN}),
        ("evaluate", [f"RUN={AWKWARD}"], ["acdc", AWKWARD], {"--run": AWKWARD}),
        ("folds", ["FOLDS=0 1", f"PRETRAINED={AWKWARD}"],
         ["acdc", AWKWARD], {"--folds": "0 1", "--pretrained": AWKWARD}),
        ("infer", [f"IMAGES=/{AWKWARD}/*", *CHOICE], ["acdc", f"/{AWKWARD}/*"], CHOSEN),
        ("export", ["CALIBRATOR=temperature_union", f"BUNDLES={AWKWARD}", "OUTPUT=dist/2"],
         ["acdc"], {"--calibrator": "temperature_union", "--bundles": AWKWARD, "--output": "dist/2"}),
        ("calibrate", ["CALIBRATOR=ensemble", *CHOICE], ["runs/acdc/MyNet3d_focal_seed3"],
         {"--calibrator": "ensemble", "--dataset_dir": AWKWARD}),
        ("calibrate", [f"RUN={AWKWARD}"], [AWKWARD], {"--dataset_dir": AWKWARD}),
        ("demo", ["DATASET=acdc"], [], {"--dataset": "acdc", "--dataset_dir": AWKWARD}),
    ],
)  # fmt: skip
def test_verb_is_the_command_of_that_name(make, verb, variables, places, other_options):
    """Blanks, quotes, dollars, backquotes and commas are part of a value."""
    ((command, *args),) = make(verb, f"DATASET_DIR={AWKWARD}", *variables)

    assert command == verb
    assert args[: len(places)] == places
    assert options(args[len(places) :]) == other_options


def test_arguments_are_words_of_the_shell(make):
    """They follow the variables; a dollar in quotes is no variable."""
    ((_, *args),) = make("train", """ARGS=--spatial_size "[96, 96]" --x '$y' --z '$[1, 2]'""")

    assert options(args[2:]) == {"--spatial_size": "[96, 96]", "--x": "$y", "--z": "$[1, 2]"}


def test_word_that_nobody_knows_is_an_option_that_nacl_monai_refuses(make):
    """Nothing is dropped without a word."""
    ((_, *args),) = make("train", "LOS=ce")

    assert args[2:] == ["--los", "ce"]


def test_exhibits_are_reproduced_and_results_collected(make):
    """Folders reach the command as one word."""
    variables = [f"DATA_DIR=/{AWKWARD}", f"RUNS={AWKWARD}", "SEEDS=0 1", "PROFILE=smoke"]
    ((command, table, *passed),) = make("table2", *variables)
    assert (command, table) == ("reproduce", "table2")
    assert options(passed) == {
        "--data_dir": f"/{AWKWARD}", "--runs": AWKWARD, "--seeds": "0 1", "--profile": "smoke"
    }  # fmt: skip

    (results,) = make("results", f"RUNS={AWKWARD}", "DATASET=x")
    assert results == ["-m", "studies.paper", "results", "x", "--runs", AWKWARD]


@pytest.mark.parametrize("choice", [[], CHOICE, ["LOSS=monai.losses.TverskyLoss", "DIMS=2"]])
def test_calibration_is_of_the_run_that_training_names(make, choice):
    """Which names it by itself."""
    ((_, *args),) = make("train", *choice)
    ((_, run),) = make("calibrate", *choice)

    assert Path(run) == run_folder(parser().parse_args(["train", *args]))


@pytest.mark.parametrize("name", ["DATASET", "DATASET_DIR"])
def test_dataset_of_the_environment_is_the_default(make, monkeypatch, name):
    """As it is, too."""
    monkeypatch.setenv(name, AWKWARD)

    assert AWKWARD in make("train")[0][1:3]


JOBS = {
    name: job
    for file in ("ci", "nightly")
    for name, job in yaml.safe_load(
        (ROOT / f".github/workflows/{file}.yml").read_text(encoding="utf-8")
    )["jobs"].items()
}


SYSTEMS = JOBS.pop("elsewhere")
ELSEWHERE = [step["run"] for step in SYSTEMS["steps"] if "run" in step]


COMMANDS = [
    step["run"].replace("${{ matrix.target }}", target)
    for job in JOBS.values()
    for step in job["steps"]
    if "run" in step
    for target in job.get("strategy", {}).get("matrix", {}).get("target", [""])
]


def targets(command):
    """What a call of make makes."""
    args = shlex.split(command, comments=True)[1:]
    return [word for word in args if re.fullmatch(r"[a-z][a-z0-9-]*", word)]


@pytest.mark.parametrize("command", COMMANDS)
def test_command_of_the_host_is_a_target_of_make(command):
    """So that everything that it does can be done here."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    args = command.split()

    assert args[0] == "make"
    target = re.sub("^bench-.*", "bench-%", args[1])
    assert target in EXHIBITS or re.search(rf"^(?:\S+ )*{target}(?: \S+)*:", makefile, re.MULTILINE)


def test_host_makes_what_a_change_must_pass_here():
    """Every target of `.ci/run` is one of a step, but for what is installed first."""
    gate = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    required = [word for line in gate if line.startswith("make ") for word in targets(line)]

    assert "check" in required
    assert "test" in required
    assert set(required) <= {word for command in COMMANDS for word in targets(command)}


def test_other_systems_run_the_quick_tests():
    """Where make is not at home, by the words of `make test`; their two processes are its least."""
    makefile = (
        (ROOT / "Makefile")
        .read_text(encoding="utf-8")
        .replace("$(TOGETHER)", "-n 2 --dist worksteal")
    )
    _, tests = ELSEWHERE
    args = tests.removeprefix("python ")

    assert SYSTEMS["strategy"]["matrix"]["os"] == ["windows-latest", "macos-latest"]
    pytest_, _, chosen = args.partition(' -m "')
    assert f"$(BIN)/{tests.partition(' -m ')[0]} {pytest_}" in makefile
    assert "TOGETHER := -n $(if $(filter-out 1,$(CORES)),$(CORES),2)" in makefile
    assert f'$(PYTEST) -m "{chosen} $(ARGS)' in makefile


def test_every_python_that_can_install_the_project_is_tried():
    """From the lowest that is required."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    pythons = JOBS["test"]["strategy"]["matrix"]["python"]

    assert f'requires-python = ">={pythons[0]}"' in project
    minors = [int(python.partition(".")[2]) for python in pythons]
    assert minors == list(range(minors[0], minors[-1] + 1))
