"""What a public host runs and shows is what the project has."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from nacl_monai.paper.exhibits import EXHIBITS

ROOT = Path(__file__).parents[1]
CI = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
JOBS = {name: job["steps"] for name, job in CI["jobs"].items()}
ELSEWHERE = [step["run"] for step in JOBS.pop("elsewhere") if "run" in step]
COMMANDS = [step["run"] for steps in JOBS.values() for step in steps if "run" in step]


def targets(command):
    """What a call of make makes."""
    words = shlex.split(command, comments=True)[1:]
    return [word for word in words if re.fullmatch(r"[a-z][a-z0-9-]*", word)]


@pytest.mark.parametrize("command", COMMANDS)
def test_command_of_the_host_is_a_target_of_make(command):
    """So that everything that it does can be done here."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    words = command.split()

    assert words[0] == "make"
    assert words[1] in EXHIBITS or re.search(
        rf"^(?:\S+ )*{words[1]}(?: \S+)*:", makefile, re.MULTILINE
    )


def test_host_makes_what_a_change_must_pass_here():
    """Every target of `.ci/run` is one of a step, but for what is installed first."""
    gate = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    made = [word for line in gate if line.startswith("make ") for word in targets(line)]

    assert "check" in made
    assert "test" in made
    assert set(made) <= {word for command in COMMANDS for word in targets(command)}


def test_other_systems_run_the_quick_tests():
    """Where make is not at home, by the words of `make test`."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    _, tests = ELSEWHERE
    words = tests.removeprefix("python ")

    assert CI["jobs"]["elsewhere"]["strategy"]["matrix"]["os"] == ["windows-latest", "macos-latest"]
    pytest_, _, chosen = words.partition(' -m "')
    assert f"$(BIN)/{tests.partition(' -m ')[0]} {pytest_}" in makefile
    assert f'$(PYTEST) -m "{chosen} $(ARGS)' in makefile


def test_every_python_that_can_install_the_project_is_tried():
    """From the lowest that is required."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    pythons = CI["jobs"]["test"]["strategy"]["matrix"]["python"]

    assert f'requires-python = ">={pythons[0]}"' in project
    minors = [int(python.partition(".")[2]) for python in pythons]
    assert minors == list(range(minors[0], minors[-1] + 1))
