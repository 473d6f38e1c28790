"""Data flows one way, and no module needs itself."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from functools import cache
from graphlib import TopologicalSorter
from importlib import import_module
from itertools import chain
from pathlib import Path

import pytest

import nacl_monai
from tests.predictions.conftest import Study
from tests.promises.test_commands import blobs

PACKAGE = Path(nacl_monai.__file__).parent
CONTRIBUTING = (PACKAGE.parent / "CONTRIBUTING.md").read_text("utf-8")
#: Wing → its rooms in their order, and modules that come before their room.
WINGS = {
    wing: re.split(r"[\s→,]+", rooms.strip())
    for wing, rooms in re.findall(r"^(instrument|workshop): ([^:`]+)$", CONTRIBUTING, re.M)
}
ORDER = [*chain(*WINGS.values()), "__main__"]
# Neighbors in that order that know nothing of each other.
APART = {("losses", "metrics"), ("losses", "networks"), ("losses", "phantoms")}
#: What adapts the instrument to MONAI's and Ignite's classes, and the command that calibrates a run.
ADAPTERS = {
    *(f"inference.{name}" for name in ("images", "orientation", "saving", "segmenter", "windows")),
    "metrics.metric",
}
THROUGH_THE_DOOR = {"audits.calibrate"}


def name_of(file):
    """The dotted name of a module of the package."""
    parts = ("nacl_monai", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")


MODULES = {name_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def place_of(name):
    """Where the room of a module is in the order, or the module itself."""
    name = name.partition(".")[2]
    return max(ORDER, key=lambda room: (f"{name}.".startswith(f"{room}."), len(room)))


def statements(name):
    """The imports of a module that run with it, or in a function; not those for type checkers."""
    nodes = [(ast.parse(MODULES[name].read_text(encoding="utf-8")), True)]
    while nodes:
        node, at_once = nodes.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, at_once
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            within = at_once and not isinstance(node, ast.FunctionDef)
            nodes += [(child, within) for child in ast.iter_child_nodes(node)]


@cache
def imported(name, later=True):
    """The modules that a module imports, wherever in its text or, not ``later``, with it."""
    found = set()
    for node, at_once in statements(name):
        if not (at_once or later):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif not node.level:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & MODULES.keys() or {node.module}
    return found


def test_imports_point_to_the_left():
    """Every import points to the left in the order of rooms, and every room has its place there."""
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix in ("", ".py")}
    assert rooms - {"__init__", "__pycache__", "py"} <= set(ORDER)
    assert all(f"nacl_monai.{room}" in MODULES for room in ORDER)

    pointing_right = set()
    for name in MODULES.keys() - {"nacl_monai"}:
        for other in imported(name) & MODULES.keys() - {"nacl_monai"}:
            places = place_of(name), place_of(other)
            if ORDER.index(places[1]) > ORDER.index(places[0]) or places in APART:
                pointing_right.add(name.partition(".")[2])
    assert pointing_right == THROUGH_THE_DOOR


def test_the_instrument_imports_no_network():
    """Neither the workshop nor what it is built with, but for what adapts it to their classes."""
    adapters = set()
    for name in MODULES.keys() - {"nacl_monai"}:
        if place_of(name) in WINGS["instrument"]:
            needed = imported(name, later=False)
            places = {place_of(other) for other in needed & MODULES.keys()}
            packages = {other.partition(".")[0] for other in needed}
            if places & {*WINGS["workshop"]} or packages & {"monai", "ignite", "fire"}:
                adapters.add(name.partition(".")[2])

    assert adapters == ADAPTERS


VERBS = """
import sys

class Blocked:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("monai", "ignite", "fire"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocked())
from nacl_monai.cli import main

old, new, each = ["old", "labels"], "new", ["--patients", "cases"]
some = ["--level", "0.3"]
for words in (
    ["audit", *old, *each, "--components"],
    ["calibrate", *old, *each],
    ["calibrate", *old, *each, "--components", "--output", "islands"],
    ["promise", *old, *each, *some],
    ["promise", "audit", *some, "--output", "of_sums"],
    ["promise", "--apply", "promise/promise.json", new, "--output", "applied"],
    ["triage", "promise/promise.json", new],
    ["watch", "promise/promise.json", new],
    ["report", *old, "--new", new, *each, *some],
    ["maps", new],
    ["view", new],
    ["merge", "audit/bins.npz"],
    ["page", "audit"],
):
    assert main(words) == 0, words
print(*(name.partition(".")[2] for name in sys.modules if name.startswith("nacl_monai.")))
"""


@pytest.mark.slow
def test_saved_predictions_need_no_network(tmp_path):
    """Every verb of theirs runs where MONAI, Ignite and Fire are missing, and loads no workshop."""
    old, new = Study(tmp_path, blobs(0, 8)), Study(tmp_path / "other", blobs(50, 2))
    old.nnunet("old"), new.nnunet("../new"), old.labels
    command = [sys.executable, "-c", VERBS]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    loaded = {place_of(f"nacl_monai.{name}") for name in done.stdout.splitlines()[-1].split()}
    assert loaded & {*WINGS["workshop"]} <= {"data"}  # the folder of modules of the instrument


def test_a_module_has_one_idea_in_at_most_600_lines():
    """Longer ones have two, which somebody reads apart."""
    lines = {name: file.read_text("utf-8").count("\n") for name, file in MODULES.items()}

    assert {name for name, number in lines.items() if number > 600} == set()


def test_training_draws_in_one_handler():
    """The others write numbers, which need no room that draws."""
    drawing = {name for name in MODULES if any("nacl_monai.reports" in n for n in imported(name))}

    assert {name for name in drawing if name.startswith("nacl_monai.training")} == {
        "nacl_monai.training.case_files"
    }


def test_imports_form_no_circle():
    """No module needs itself, however indirectly."""
    graph = {name: imported(name) & MODULES.keys() - {name} for name in MODULES}
    del graph["nacl_monai"]  # which loads its names when they are asked for

    assert len(tuple(TopologicalSorter(graph).static_order())) >= len(graph)


def defined(node):
    """The names that a statement of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    targets = getattr(node, "targets", [getattr(node, "target", node)])
    names = chain(*map(ast.walk, targets)) if isinstance(node, ast.Assign | ast.AnnAssign) else ()
    return {n.id for n in names if isinstance(n, ast.Name)}


def test_a_public_name_is_defined_once():
    """Whoever reads it in one room need not ask which one is meant; each command has its `main`."""
    owners = defaultdict(set)
    for module, file in MODULES.items():
        for node in ast.parse(file.read_text("utf-8")).body:
            for name in defined(node):
                owners[name].add(module)

    public = {name for name in owners if not name.startswith("_")} - {"main"}
    assert {name: owners[name] for name in public if len(owners[name]) > 1} == {}


VAGUE = {"given", "made", "of", "one", "others", "said", "told", "words"}


@pytest.mark.parametrize("folder", ["nacl_monai", "studies", "benchmarks", ".ci", "docs", "tests"])
def test_variables_say_what_they_are(folder):
    """No variable and no argument has a name that would fit any other as well."""
    vague = []
    for file in sorted((PACKAGE.parent / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            stored = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            name = node.id if stored else node.arg if isinstance(node, ast.arg) else None
            if name in VAGUE:
                vague.append(f"{file}:{node.lineno}: {name}")

    assert vague == []


LAZY = [file.parent for file in sorted(PACKAGE.glob("*/__init__.pyi"))]


@pytest.mark.parametrize("folder", LAZY, ids=lambda folder: folder.name)
def test_names_of_a_package_are_there_when_they_are_asked_for(folder):
    """Each is what the module of the stub defines, and the stub lists all of them."""
    package = import_module(f"nacl_monai.{folder.name}")
    stub = ast.parse((folder / "__init__.pyi").read_text(encoding="utf-8"))
    listed = next(
        ast.literal_eval(node.value) for node in stub.body if isinstance(node, ast.Assign)
    )
    imported = {
        alias.name: import_module(f"nacl_monai.{folder.name}.{node.module}")
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert sorted(package.__all__) == sorted(listed) == sorted(imported)
    for name, module in imported.items():
        assert getattr(package, name) is getattr(module, name)


def test_package_lists_what_it_has_and_type_checkers_see_it():
    """Each name is loaded when it is asked for; `mypy` knows it by an import of its own."""
    listed = dir(nacl_monai)
    text = ast.parse(Path(nacl_monai.__file__).read_text(encoding="utf-8"))
    typed = {
        alias.name
        for node in ast.walk(text)
        if isinstance(node, ast.ImportFrom)
        and node.module in ("nacl_monai.audits", "nacl_monai.promises", "nacl_monai.promises.verbs")
        for alias in node.names
    }

    assert typed == {*nacl_monai.__all__} < {*listed}
    assert {"__version__", "audits", "losses", "metrics", "posthoc"} < {*listed}
    assert all(getattr(nacl_monai, name) is not None for name in listed)
    with pytest.raises(AttributeError):
        nacl_monai.adit  # noqa: B018
