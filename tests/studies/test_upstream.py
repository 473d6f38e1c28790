"""What is offered to other projects applies to what is installed here, and its tests pass there."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

OFFERED = Path(__file__).parents[2] / "studies/upstream"
PATCHES = sorted(OFFERED.glob("*.patch"))
#: Package → where its repository keeps it.
PLACES = {"monai": "monai", "torchmetrics": "src/torchmetrics"}


def apply(patch, root, *options):
    subprocess.run(["git", "apply", *options, patch], cwd=root, check=True)


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """The installed packages, as their repositories hold them."""
    root = tmp_path_factory.mktemp("upstream")
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    for package, place in PLACES.items():
        installed = Path(find_spec(package).origin).parent
        shutil.copytree(installed, root / place, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def failed(root):
    """How many of the patches' tests fail."""
    paths = os.pathsep.join([str(root), str(root / "src")])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    run = subprocess.run(
        command, cwd=root, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    last = run.stdout.splitlines()[-1]
    return int(last.split(" failed")[0]) if " failed" in last else run.returncode


@pytest.mark.slow
@pytest.mark.parametrize("patch", PATCHES, ids=lambda path: path.stem)
def test_patch_is_short_and_applies(patch, copies):
    """At most 150 lines, with tests, and a text beside it."""
    lines = patch.read_text(encoding="utf-8").splitlines()

    assert len(lines) <= 150
    assert any(line.startswith("+++ b/tests/") for line in lines)
    assert patch.with_suffix(".md").is_file()
    apply(patch, copies, "--check")


@pytest.mark.nightly
def test_tests_of_patches_fail_without_them_and_pass_with_them(copies):
    for patch in PATCHES:
        apply(patch, copies, "--include=tests/*")
    assert failed(copies) == 13

    for patch in PATCHES:
        apply(patch, copies, "--exclude=tests/*")
    assert failed(copies) == 0
