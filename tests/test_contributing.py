"""The recipes of docs/recipes.md work as they are written."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"""^(?:```|~~~)\w+ title="([^"]+)"(?: below=["']([^\n]+)["'])?\n(.*?)^(?:```|~~~)$""",
    re.MULTILINE | re.DOTALL,
)
#: For each recipe, a word in the names of the tests that must find the new thing, and where these are.
RECIPES = {
    "loss": (
        "toy",
        ["tests/losses/test_contract.py", "tests/losses/test_toy.py", "nacl_monai/losses"],
    ),
    "region": ("toy", ["tests/metrics/test_regions.py", "tests/metrics/test_metric.py"]),
    "column of the audit": ("toy", ["tests/metrics/test_columns.py"]),
    "dataset": (
        "toy",
        ["tests/phantoms/test_contract.py", "tests/configurations/test_datasets.py"],
    ),
    "network": ("toy", ["tests/networks/test_contract.py"]),
    "option of audit": ("toy_option", ["tests/audits/test_toy_option.py"]),
    "layout of predictions": ("toy", ["tests/predictions/test_toy.py"]),
    "figure": ("figure12", ["tests/paper/test_figure12.py", "tests/paper/test_exhibits.py"]),
}


def apply(recipe, root):
    """Writes what the recipe shows below ``root``: new files, and lines below a line of others."""
    section = re.split(f"## Add an? {recipe}\n", TEXT)[1].split("\n## ")[0]
    blocks = BLOCK.findall(section)
    assert blocks, f"the recipe for a {recipe} shows no file"
    for name, anchor, content in blocks:
        file = root / name
        if not anchor:
            assert not file.exists(), f"{name} is there already"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")
            continue
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        places = [k for k, line in enumerate(lines) if line.rstrip("\n") == anchor]
        assert len(places) == 1, f"{name} has {len(places)} lines {anchor!r}"
        lines.insert(places[0] + 1, content)
        file.write_text("".join(lines), encoding="utf-8")


@pytest.fixture
def checkout(tmp_path):
    """A copy of the project's files."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def run_tests(root, *args):
    """The project's tests in another checkout; returns what pytest printed once they passed."""
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not nightly"]
    result = subprocess.run(
        [*pytest_, *args],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stdout[-3000:]
    return result.stdout


def apply_all(checkout):
    """Follows every recipe."""
    for recipe in RECIPES:
        apply(recipe, checkout)


@pytest.mark.slow
def test_what_the_recipes_add_is_found_by_its_contract_tests(checkout):
    """The existing tests find one more of each, and pass."""
    apply_all(checkout)
    tests = [name for _, names in RECIPES.values() for name in names]

    # What compiles a loss takes half of the time, and is done below.
    printed = run_tests(checkout, *tests, "-k", "(toy or figure12) and not compile", "-rA")

    passed = re.findall(r"^PASSED (.*)$", printed, flags=re.MULTILINE)
    for recipe, (word, names) in RECIPES.items():
        found = [test for test in passed if test.startswith(tuple(names)) and word in test.lower()]
        assert found, f"no test looks at what the recipe for a {recipe} adds"


@pytest.mark.nightly
def test_all_recipes_together_leave_the_tests_green(checkout):
    """One more of each: all but nightly tests pass."""
    apply_all(checkout)

    args = ["-n", "2", "--dist", "worksteal", "--deselect=tests/test_contributing.py"]
    run_tests(checkout, *args, "tests", "nacl_monai")
