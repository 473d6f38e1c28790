"""``make routes``: the files of the package that an audit enters, and a promise of its sums."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from nacl_monai.cli import main as run  # noqa: E402
from tests.predictions.conftest import Study  # noqa: E402
from tests.promises.test_commands import blobs  # noqa: E402

PACKAGE = str(ROOT / "nacl_monai") + "/"


def entered(command: list[str]) -> list[str]:
    """The files of which a command calls a function; importing a file does not enter it."""
    files: set[str] = set()

    def note(frame: FrameType, *_: Any) -> None:
        file = frame.f_code.co_filename
        if file.startswith(PACKAGE) and file not in files and not _is_imported(frame):
            files.add(file)

    sys.settrace(note)
    code = run(command)
    sys.settrace(None)
    assert code == 0, command
    return sorted(file.removeprefix(PACKAGE) for file in files if file.endswith(".py"))


def _is_imported(frame: FrameType | None) -> bool:
    """Whether a module of the package is being imported, and calls it perhaps."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "<module>" and code.co_filename.startswith(PACKAGE):
            return True
        frame = frame.f_back
    return False


def main() -> int:
    """Prints the files of each command; returns 1 where they are more than they should be."""
    too_many = False
    with tempfile.TemporaryDirectory() as name:
        study = Study(Path(name), blobs(0, 8))
        folders, audited = [str(study.nnunet()), str(study.labels)], f"{name}/audit"
        more = ["--patients", "cases", "--output", audited]
        for most, command in (
            (55, ["audit", *folders, *more]),
            (25, ["promise", audited, "--level", "0.3", "--output", f"{name}/promise"]),
        ):
            files = entered(command)
            print(f"{command[0]} enters {len(files)} files, of {most} at most:", *files, sep="\n  ")
            too_many |= len(files) > most
    return int(too_many)


if __name__ == "__main__":
    sys.exit(main())
