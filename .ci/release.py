"""``make release``: whether version, changelog, citation and wheel agree, and what the tag would say.

Every fault is one line, with what to do. ``--tag`` makes the tag, whose message is the section of the
changelog; nothing is pushed.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

#: What a wheel carries beside the package, and where in the package.
SHIPPED = ("bundles/", "demo/", "workflow/", "LICENSE")
_PLACE = "nacl_monai/shipped/"


def version_of(root: Path) -> str:
    """The version, from the one file that says it."""
    text = (root / "nacl_monai/__init__.py").read_text(encoding="utf-8")
    return re.findall(r'^__version__ = "(.*)"$', text, re.MULTILINE)[0]


def version_faults(version: str) -> Iterator[str]:
    """A version is three numbers."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        yield f"nacl_monai/__init__.py: version {version} is no release; write three numbers, as 0.2.0"


def changelog_faults(version: str, root: Path) -> Iterator[str]:
    """The newest section is the version's, its date the citation's, and no fragment is left."""
    remedy = f"towncrier build --version {version}"
    fragments = [path.name for path in (root / "changelog.d").glob("*.*.md")]
    if fragments:
        yield f"changelog.d: {', '.join(sorted(fragments))}: not in CHANGELOG.md; run {remedy}"
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = next(iter(re.findall(r"^## (.*)$", text, flags=re.MULTILINE)), "")
    if not newest.startswith(f"[{version}]"):
        yield f"CHANGELOG.md: its newest section is not {version}; run {remedy}"
    elif not re.fullmatch(r"\[[^]]*\] - \d{4}-\d\d-\d\d", newest):
        yield f"CHANGELOG.md: ## [{version}] has no date; write - YYYY-MM-DD behind it"
    else:
        citation = (root / "CITATION.cff").read_text(encoding="utf-8")
        for line in (f"version: {version}", f"date-released: {newest[-10:]}"):
            if line not in citation.splitlines():
                yield f"CITATION.cff: lacks the line {line}; write it"


def notes(root: Path) -> str:
    """The newest section of the changelog, with its heading."""
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    return re.findall(r"^## .*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[0].strip() + "\n"


def tag_faults(version: str, root: Path) -> Iterator[str]:
    """The tag is new, or on this very commit, and everything is committed."""
    tag = f"v{version}"
    if _git(root, "status", "--porcelain"):
        yield "git: something is not committed; commit it, or put it away"
    if tag in _git(root, "tag", "--list", tag).split():
        tagged, here = (_git(root, "rev-parse", f"{name}^{{commit}}") for name in (tag, "HEAD"))
        if tagged != here:
            yield f"git: {tag} is on another commit; raise the version"


def wheel_faults(version: str, wheel: Path, tracked: list[str]) -> Iterator[str]:
    """The wheel has every tracked file of the package and of what it carries, and no other.

    Args:
        version: Of the release.
        wheel: The file.
        tracked: Paths of the project's files.
    """
    expected = {name for name in tracked if name.startswith("nacl_monai/")}
    expected |= {_PLACE + name for name in tracked if name.startswith(SHIPPED)}
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    if not wheel.name.startswith(f"nacl_monai-{version}-"):
        yield f"{wheel.name}: is not of version {version}; build it anew"
    for name in sorted(expected - found):
        yield f"{wheel.name}: lacks {name}; see setup.py and package-data in pyproject.toml"
    for name in sorted(found - expected):
        yield f"{wheel.name}: has {name}, which is not the project's; remove build/, and build anew"


def make_tag(tag: str, root: Path) -> None:
    """Tags this commit with the notes, in which # begins a heading and no comment."""
    _git(root, "tag", "--annotate", "--cleanup=whitespace", f"--message={notes(root)}", tag)


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)  # noqa: S607
    return done.stdout.strip()


def build(root: Path, folder: Path) -> Path:
    """The wheel of what is committed: leftovers of earlier builds are not in it."""
    source = folder / "source"
    _git(root, "worktree", "add", "--detach", str(source), "HEAD")
    try:
        arguments = ["wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source)]
        subprocess.run([sys.executable, "-m", "pip", *arguments], check=True)
    finally:
        _git(root, "worktree", "remove", "--force", str(source))
    return next(folder.glob("*.whl"))


def main(arguments: list[str], root: Path = Path(__file__).parents[1]) -> int:
    """Prints every fault, or makes the tag, or says what it would be; returns the exit code."""
    version = version_of(root)
    faults = [
        *version_faults(version),
        *changelog_faults(version, root),
        *tag_faults(version, root),
    ]
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(root, Path(folder))
        faults += wheel_faults(version, wheel, _git(root, "ls-files").splitlines())
    for fault in faults:
        print(f"fault: {fault}", file=sys.stderr)
    if faults:
        return 1
    tag = f"v{version}"
    if "--tag" in arguments:
        make_tag(tag, root)
        print(f"tagged {tag}; publish it: git push origin {tag}")
    else:
        print(f"{version} can be released; make release ARGS=--tag makes {tag}, which says:\n")
        print(notes(root), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
