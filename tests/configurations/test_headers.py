"""The head of a dataset's configuration says what to expect of it, as it was measured."""

import csv
import json
import re
import shlex
from collections import defaultdict
from statistics import fmean

import pytest

from nacl_monai.cli import COMMANDS
from nacl_monai.menus import dataset_file, dataset_names
from nacl_monai.paper.results import unpacked
from tests.conftest import ROOT

RUN = "runs/unet_nacl_seed0"


def head(name):
    """The comments before the first key, as one line, and the commands in them."""
    text = dataset_file(name, ROOT / "bundles").read_text(encoding="utf-8").split("\n\n")[0]
    lines = [line.removeprefix("#") for line in text.splitlines()]
    commands = [line.strip() for line in lines if line.startswith("   ")]
    return " ".join(line.strip() for line in lines), commands


def mean_over_people(file, column):
    people = defaultdict(list)
    with file.open(encoding="utf-8") as table:
        for row in csv.DictReader(table):
            people[row["patient"]].append(float(row[column]))
    return fmean(map(fmean, people.values()))


@pytest.mark.parametrize("name", dataset_names(ROOT / "bundles"))
def test_head_says_what_was_measured_or_that_nothing_was(name):
    """Hours and memory of all sessions, scores as in the tables: means over people."""
    text, _ = head(name)
    found = re.search(
        r"100 epochs: ([\d.]+) hours on a CPU, (\d+) MiB; DSC ([\d.]+), "
        r"ECE over the foreground ([\d.]+), in one training \(([\w/]+)\)",
        text,
    )
    if found is None:
        assert "Not trained here" in text
        assert not (ROOT / "docs/results" / name).exists()
        return
    hours, memory, dice, ece, where = found.groups()
    run = unpacked(ROOT / where / "runs.tar.xz") / RUN
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    sessions, cases = record["sessions"], run / "evaluation/cases.csv"

    assert sessions[-1]["epochs"][-1] == 100
    assert {session["device"] for session in sessions} == {"cpu"}
    assert f"{sum(session['seconds'] for session in sessions) / 3600:.1f}" == hours
    assert max(session["peak_memory_mib"] for session in sessions) == int(memory)
    assert f"{mean_over_people(cases, 'dice'):.3f}" == dice
    assert f"{mean_over_people(cases, 'ece_foreground'):.3f}" == ece


@pytest.mark.parametrize("name", dataset_names(ROOT / "bundles"))
def test_head_has_the_command(name):
    """It names this dataset, in words that are there."""
    _, (line,) = head(name)

    for command in line.split(" && "):
        program, word, *words = shlex.split(command)
        assert any(name in given for given in words)
        targets = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert word in COMMANDS if program == "nacl-monai" else f"\n{word}:" in targets
