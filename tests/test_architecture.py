"""Data flows one way, modules stay small, and every module has its tests."""

import ast
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest
from radon.complexity import cc_visit

import nacl_monai

PACKAGE = Path(nacl_monai.__file__).parent
ORDER = [
    "errors",
    "differences",
    "tensors",
    "files",
    "sources",
    "quiet",
    "counting",
    "cli",
    "progress",
    "wheel",
    "bundles",
    "runs",
    "data",
    "phantoms",
    "networks",
    "losses",
    "metrics",
    "posthoc",
    "reports",
    "handlers",
    "paper",
    "runtime",
    "export",
    "predictions",
    "dicom",
    "raters",
    "nnunet",
    "demo",
    "reproduce",
    "completion",
]
# Neighbors in that order that know nothing of each other.
APART = {("losses", "data"), ("metrics", "data"), ("metrics", "losses"), ("losses", "networks")}
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = Path(__file__).parent


def imported(file):
    """Names of the parts of this package that ``file`` imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.startswith("nacl_monai.")
        ):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (
                alias.name.split(".")[1] for alias in node.names if "nacl_monai." in alias.name
            )


def blocks(file):
    """Functions and classes of ``file``, with their complexity."""
    for block in cc_visit(file.read_text(encoding="utf-8")):
        yield block
        yield from getattr(block, "closures", [])


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_point_to_the_left(file):
    """Every import points to the left in `files on disk → data → … → paper → runtime, export`."""
    part = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part == "__init__":
        return
    for other in imported(file):
        assert ORDER.index(other) <= ORDER.index(part), f"{file} imports {other}"
        assert (part, other) not in APART, f"{file} imports {other}"


def test_parts_are_known():
    """A new package or module gets its place in the order."""
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix in ("", ".py")}

    assert parts - {"__init__", "__pycache__", "py"} <= set(ORDER)


def test_imports_form_no_circle():
    """No module needs itself, however indirectly."""
    names = {
        file: ".".join(("nacl_monai", *file.relative_to(PACKAGE).with_suffix("").parts))
        for file in MODULES
    }
    known = {name.removesuffix(".__init__") for name in names.values()}
    graph = {}
    for file, name in names.items():
        modules = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nacl_monai"):
                members = {f"{node.module}.{alias.name}" for alias in node.names} & known
                modules |= members or {node.module}
        graph[name.removesuffix(".__init__")] = modules - {name.removesuffix(".__init__")}

    assert len(tuple(TopologicalSorter(graph).static_order())) >= len(graph)


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_modules_and_functions_are_short(file):
    """A module has at most 300 lines, a function at most 60 beside its docstring."""
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            docstring = (ast.get_docstring(node, clean=False) or "").count("\n") + 1
            assert node.end_lineno - node.lineno + 1 - docstring <= 60, node.name


def test_functions_are_simple():
    """The average cyclomatic complexity does not grow."""
    complexities = [block.complexity for file in MODULES for block in blocks(file)]

    assert sum(complexities) / len(complexities) <= 2.99


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_every_module_has_its_tests(file):
    """``nacl_monai/a/b.py`` is tested by ``tests/a/test_b.py``, or by the contract of its package."""
    path = file.relative_to(PACKAGE)
    folder = TESTS / path.parent
    if path.name != "__init__.py" and not (folder / "test_contract.py").is_file():
        assert (folder / f"test_{path.name.replace('__main__', 'main')}").is_file()


LAZY = [file.parent for file in sorted(PACKAGE.glob("*/__init__.pyi"))]


@pytest.mark.parametrize("folder", LAZY, ids=lambda folder: folder.name)
def test_names_of_a_package_are_there_when_they_are_asked_for(folder):
    """Each is what the module of the stub defines, and the stub lists all of them."""
    package = import_module(f"nacl_monai.{folder.name}")
    stub = ast.parse((folder / "__init__.pyi").read_text(encoding="utf-8"))
    listed = next(ast.literal_eval(one.value) for one in stub.body if isinstance(one, ast.Assign))
    imported = {
        alias.name: import_module(f"nacl_monai.{folder.name}.{one.module}")
        for one in stub.body
        if isinstance(one, ast.ImportFrom)
        for alias in one.names
    }

    assert sorted(package.__all__) == sorted(listed) == sorted(imported)
    for name, module in imported.items():
        assert getattr(package, name) is getattr(module, name)
