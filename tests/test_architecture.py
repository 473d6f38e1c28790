"""Data flows one way, and no module needs itself."""

import ast
from functools import cache
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

import nacl_monai
from nacl_monai import evaluations, reports

PACKAGE = Path(nacl_monai.__file__).parent
ORDER = [
    *(
        "errors",
        "inference",
        "differences",
        "words",
        "tensors",
        "files",
        "output",
        "sources",
        "quiet",
        "counting",
        "digits",
        "progress",
    ),
    *("wheel", "cli", "runs", "menus", "phantoms", "networks"),
    *("losses", "metrics", "posthoc", "data", "predictions", "evaluations"),
    *("reports", "training", "audits", "promises", "bundles", "paper", "dicom", "raters"),
    *("nnunet", "demo", "completion", "__main__"),
]
# Neighbors in that order that know nothing of each other.
APART = {("metrics", "losses"), ("losses", "networks"), ("losses", "phantoms")}


def name_of(file):
    """The dotted name of a module of the package."""
    parts = ("nacl_monai", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")


MODULES = {name_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


@cache
def imported(name):
    """The modules of the package that a module imports, wherever in its text."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nacl_monai"):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & MODULES.keys() or {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & MODULES.keys()
    return found


def test_imports_point_to_the_left():
    """Every import points to the left in the order of rooms, and every room has its place there."""
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix in ("", ".py")}
    assert rooms - {"__init__", "__pycache__", "py"} <= set(ORDER)

    for name in MODULES:
        room = name.split(".")[1:2]
        for other in filter(None, (module.partition(".")[2] for module in imported(name))):
            target = other.split(".")[0]
            assert not room or ORDER.index(target) <= ORDER.index(*room), f"{name} imports {other}"
            assert (*room, target) not in APART, f"{name} imports {other}"


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
    graph = {name: set(imported(name)) - {name} for name in MODULES}
    del graph["nacl_monai"]  # which loads its names when they are asked for

    assert len(tuple(TopologicalSorter(graph).static_order())) >= len(graph)


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


def test_names_that_reports_had_are_there_still():
    """They are what evaluations have now; a name that neither has is an error."""
    for name in evaluations.__all__:
        assert getattr(reports, name) is getattr(evaluations, name)
    with pytest.raises(AttributeError):
        reports.raed_run  # noqa: B018


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
