"""What an audit needs of the package: few files, no loss, no handler of a training."""

import subprocess
import sys
from pathlib import Path

import pytest

import nacl_monai
from nacl_monai.cli import main

PACKAGE = Path(nacl_monai.__file__).parent
#: So many files of the package may be entered by one audit; a reader who follows it meets them all.
MOST = 70

AUDIT = """
import sys
from nacl_monai.cli import main
code = main(sys.argv[1:])
print(*sorted(name for name in sys.modules if name.startswith("nacl_monai.")), sep="\\n")
sys.exit(code)
"""


@pytest.mark.slow
def test_audit_loads_no_loss_and_no_handler(study, tmp_path):
    """From predictions on disk to files and diagrams, in a process of its own."""
    args = ["audit", str(study.nnunet()), str(study.labels), "--output", str(tmp_path / "audit")]
    done = subprocess.run(
        [sys.executable, "-c", AUDIT, *args], capture_output=True, text=True, check=True
    )

    modules = done.stdout.splitlines()
    assert "nacl_monai.audits.output" in modules
    for room in ("losses", "networks", "training", "paper", "bundles"):
        assert not [name for name in modules if name.startswith(f"nacl_monai.{room}")]


def test_audit_enters_few_files(study, tmp_path, capsys, monkeypatch):
    """Three tiny cases, with a page: the modules of which a function is called, once all are loaded."""
    monkeypatch.setattr("nacl_monai.reports.style.paint", lambda *_, **__: None)  # takes a minute
    entered = set()
    args = ["audit", str(study.nnunet()), str(study.labels), "--output", str(tmp_path / "audit")]
    assert main([*args, "--no-pictures"]) == 0

    def note(frame, event, _):
        if event == "call":
            entered.add(frame.f_code.co_filename)

    sys.setprofile(note)
    try:
        code = main([*args, "--no-pictures"])
    finally:
        sys.setprofile(None)

    capsys.readouterr()
    files = {Path(name) for name in entered if Path(name).is_relative_to(PACKAGE)}
    assert code == 0
    assert len(files) <= MOST, sorted(str(file.relative_to(PACKAGE)) for file in files)
