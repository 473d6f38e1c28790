"""What a release says of itself is said once."""

import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import requires, version
from pathlib import Path
from runpy import run_path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import nacl_monai

ROOT = Path(__file__).parents[1]
RELEASE = run_path(str(ROOT / ".ci/release.py"))


def test_version_is_written_once():
    """The package's version is in one file; pyproject and metadata take it from there."""
    number = re.escape(nacl_monai.__version__)
    declared = re.compile(
        rf"(?:__version__\s*=|^version\s*[=:])\s*[\"']?{number}[\"']?", re.MULTILINE
    )
    files = [ROOT / "pyproject.toml", *(ROOT / "nacl_monai").rglob("*.py")]

    assert [file.name for file in files if declared.search(file.read_text(encoding="utf-8"))] == [
        "__init__.py"
    ]


def test_installed_version_is_that_of_the_package():
    """The installed distribution is built from this version."""
    assert version("nacl-monai") == nacl_monai.__version__


def requirements(lines):
    return [Requirement(line) for line in lines if not line.startswith(("#", "nacl-monai"))]


def lines(file):
    return (ROOT / file).read_text(encoding="utf-8").splitlines()


def test_constraints_name_one_allowed_version_of_every_requirement():
    """They are public versions, such as anybody can install; nnU-Net and the site are not tested."""
    pins = {
        canonicalize_name(pin.name): str(pin.specifier)
        for pin in requirements(lines("constraints.txt"))
    }

    assert all(re.fullmatch(r"==[0-9][^+*,]*", pin) for pin in pins.values())
    together = [
        line for line in requires("nacl-monai") if not re.search('extra == "(nnunet|docs)"', line)
    ]
    for needed in requirements([*lines("requirements.txt"), *together]):
        assert needed.specifier.contains(pins[canonicalize_name(needed.name)][2:]), needed


def test_every_requirement_of_the_package_has_a_lowest_version():
    """`make test-lowest` runs the tests on it."""
    for needed in requirements(lines("requirements.txt")):
        assert ">=" in [part.operator for part in needed.specifier], needed


def faults(check, *arguments):
    return list(RELEASE[f"{check}_faults"](*arguments))


@pytest.mark.parametrize("version", ["0.2", "0.2.0.dev1", "v0.2.0"])
def test_version_of_a_release_is_three_numbers(version):
    """No other can be tagged."""
    assert "write three numbers" in faults("version", version)[0]
    assert faults("version", "0.2.0") == []
    assert RELEASE["version_of"](ROOT) == nacl_monai.__version__


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("## [0.2.0] - 2026-01-31\n\n- x\n\n## [0.1.0] - 2025-01-31\n", None),
        ("## [0.1.0] - 2026-01-31\n", "its newest section is not 0.2.0"),
        ("## [0.2.01] - 2026-01-31\n", "its newest section is not 0.2.0"),
        ("", "its newest section is not 0.2.0"),
        ("## [0.2.0]\n", "has no date"),
        ("## [0.2.0] - soon\n", "has no date"),
        ("## [0.2.0] - 2026-02-01\n", "CITATION.cff: lacks the line date-released: 2026-02-01"),
    ],
)
def test_changelog_of_a_release_is_of_its_version(tmp_path, text, line):
    """With its date, which is the citation's, and with no fragment left."""
    (tmp_path / "CITATION.cff").write_text("version: 0.2.0\ndate-released: 2026-01-31\n")
    (tmp_path / "CHANGELOG.md").write_text(text)
    (tmp_path / "changelog.d").mkdir()
    (tmp_path / "changelog.d/README.md").touch()
    found = faults("changelog", "0.2.0", tmp_path)

    assert (found == []) if line is None else (line in found[0])
    (tmp_path / "changelog.d/locks.changed.md").touch()
    assert "locks.changed.md: not in CHANGELOG.md" in faults("changelog", "0.2.0", tmp_path)[0]


def test_fragments_become_a_section_of_the_changelog(tmp_path):
    """Those that are there now, each under the heading of its kind, above the earlier versions."""
    for name in ("CHANGELOG.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    fragments = shutil.copytree(ROOT / "changelog.d", tmp_path / "changelog.d")
    kinds = {"added", "changed", "removed", "fixed"}
    assert {path.suffixes[0][1:] for path in fragments.glob("*.*.md")} <= kinds
    (fragments / "new.added.md").write_text("A thing that is new.\n")
    args = ["build", "--yes", "--version", "9.0.0", "--date", "2030-01-31", "--name", "x"]
    subprocess.run([sys.executable, "-m", "towncrier", *args], cwd=tmp_path, check=True)

    text = (tmp_path / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [9.0.0] - 2030-01-31\n\n### Added\n\n- " in text
    assert "\n- A thing that is new.\n" in text
    assert text.index("[9.0.0]") < text.index("[0.2.0]")
    (tmp_path / "CITATION.cff").write_text("version: 9.0.0\ndate-released: 2030-01-31\n")
    assert faults("changelog", "9.0.0", tmp_path) == []


@pytest.fixture
def git(tmp_path, monkeypatch):
    """Git in a folder with one commit; returns what it prints."""
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "a")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "a@b")

    def git(*args):
        done = subprocess.run(["git", *args], cwd=tmp_path, check=True, stdout=-1, text=True)
        return done.stdout

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "x")
    return git


def test_tag_says_what_changed(git, tmp_path):
    """The newest section of the changelog, headings included, and nothing of older versions."""
    newest = "## [9.0.0] - 2030-01-31\n\n### Added\n\n- A thing.\n"
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{newest}\n## [8.0.0] - 2029-01-31\n")
    RELEASE["make_tag"]("v9.0.0", tmp_path)

    assert git("cat-file", "tag", "v9.0.0").partition("\n\n")[2] == newest


def test_tag_is_new_or_on_this_commit(git, tmp_path):
    """And everything is committed."""
    assert faults("tag", "0.2.0", tmp_path) == []
    git("tag", "v0.2.0")
    assert faults("tag", "0.2.0", tmp_path) == []
    git("commit", "--allow-empty", "--message", "y")
    assert faults("tag", "0.2.0", tmp_path) == [
        "git: v0.2.0 is on another commit; raise the version"
    ]
    (tmp_path / "new").touch()
    assert "something is not committed" in faults("tag", "0.2.1", tmp_path)[0]


def test_wheel_has_the_files_of_the_project_and_no_other(tmp_path):
    """Those of the package, of the bundles, of the demo, of the workflow, and the license."""
    tracked = ["nacl_monai/a.py", "bundles/b.yaml", "demo/c.nii.gz", "workflow/d", "LICENSE"]
    tracked.append("tests/e.py")
    right = ["nacl_monai/a.py", *(f"nacl_monai/shipped/{name}" for name in tracked[1:5])]

    def found(names, version="0.2.0"):
        wheel = tmp_path / "nacl_monai-0.2.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for name in (*names, "nacl_monai-0.2.0.dist-info/METADATA"):
                archive.writestr(name, "")
        return faults("wheel", version, wheel, tracked)

    assert found(right) == []
    assert "lacks nacl_monai/shipped/demo/c.nii.gz" in found([*right[:2], *right[3:]])[0]
    assert (
        "has nacl_monai/old.py, which is not the project's"
        in found([*right, "nacl_monai/old.py"])[0]
    )
    assert "is not of version 0.3.0" in found(right, "0.3.0")[0]
