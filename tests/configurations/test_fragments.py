"""The fragments in `bundles/` say everything once, and what to expect of a dataset."""

import ast
import itertools
import json
import re
import shlex

import pandas as pd
import pytest
import yaml

from nacl_monai.bundles.overrides import checked_overrides
from nacl_monai.cli import COMMANDS
from nacl_monai.menus import dataset_file, dataset_names
from nacl_monai.paper.results import unpacked
from nacl_monai.words import leaves
from tests.configurations.conftest import FAST, ROOT

BUNDLES = ROOT / "bundles"


KINDS = ("train", "evaluate", "inference")


FILES = sorted(BUNDLES.rglob("*.yaml"))


#: What an expression may consist of. A call's arguments hold no calls.
NAMES = (ast.Name, ast.Attribute, ast.Subscript)


SIMPLE = (*NAMES, ast.Constant, ast.List, ast.Starred, ast.Load)


def expressions(file):
    """The ``(key, expression)`` pairs of a file, with references as names."""
    for key, value in leaves(yaml.safe_load(file.read_text(encoding="utf-8"))):
        if isinstance(value, str) and value.startswith("$"):
            yield key, re.sub(r"@[\w:]*\w", "reference", value[1:])


def is_simple(node):
    """Whether ``node`` is a lookup, a constant, or a list of those."""
    negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    if negative:
        return isinstance(node.operand, ast.Constant)
    return isinstance(node, SIMPLE) and all(map(is_simple, ast.iter_child_nodes(node)))


def is_call_or_lookup(expression):
    (statement,) = ast.parse(expression).body
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return True
    node = statement.value
    if isinstance(node, ast.Call):
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        return all(map(is_simple, [node.func, *arguments]))
    return is_simple(node)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(BUNDLES)))
def test_no_expression_is_longer_than_a_call_or_a_lookup(file):
    """Whatever is longer is a function of the package, with a name and a test."""
    assert [pair for pair in expressions(file) if not is_call_or_lookup(pair[1])] == []


def read(*parts):
    return yaml.safe_load(BUNDLES.joinpath(*parts).read_text(encoding="utf-8"))


@pytest.fixture(params=itertools.product(FAST, KINDS), ids="-".join)
def fragments(request):
    """What is in each of the files that a command names."""
    dataset, kind = request.param
    files = (f"{dataset}/configs/dataset.yaml", "common/model.yaml", f"common/{kind}.yaml")
    return [read(file) for file in files]


def test_fragments_share_no_key(fragments):
    """The order of a command's files does not matter."""
    for fragment, other in itertools.combinations(fragments, 2):
        assert fragment.keys() & other.keys() == set()


def test_every_leaf_can_be_overridden(fragments):
    """An override reaches every leaf of the merged fragments, and no reference dangles."""
    config = fragments[0] | fragments[1] | fragments[2]
    overrides = {key: value for key, value in leaves(config) if not isinstance(value, str)}

    assert checked_overrides(config, overrides) == overrides


def test_training_and_evaluation_share_what_is_the_same():
    """What is in two of the commands' files with the same value belongs in model.yaml."""
    for kind, other in itertools.combinations(KINDS, 2):
        first, second = read(f"common/{kind}.yaml"), read(f"common/{other}.yaml")
        for key in first.keys() & second.keys():
            assert first[key] != second[key], key


def test_datasets_share_no_value_that_all_have():
    """What is the same for all datasets belongs in model.yaml."""
    configs = [read(name, "configs/dataset.yaml") for name in dataset_names(BUNDLES)]

    for key in set.intersection(*(set(config) for config in configs)):
        values = [config[key] for config in configs]
        assert any(value != values[0] for value in values), key


RUN = "runs/unet_nacl_seed0"


def head(name):
    """The comments before the first key, as one line, and the commands in them."""
    text = dataset_file(name, ROOT / "bundles").read_text(encoding="utf-8").split("\n\n")[0]
    lines = [line.removeprefix("#") for line in text.splitlines()]
    commands = [line.strip() for line in lines if line.startswith("   ")]
    return " ".join(line.strip() for line in lines), commands


def mean_over_people(file, column):
    return pd.read_csv(file).groupby("patient")[column].mean().mean()


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
        program, word, *args = shlex.split(command)
        assert any(name in option for option in args)
        targets = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert word in COMMANDS if program == "nacl-monai" else f"\n{word}:" in targets
