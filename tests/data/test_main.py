"""`nacl-monai check DATASET DIR` prints a table, and every fault in a line."""

import subprocess
import sys

import pytest

from nacl_monai.data.__main__ import main
from tests.conftest import ROOT

BUNDLES = ROOT / "bundles"


def test_exit_code_says_whether_there_are_faults(decathlon_phantom, capsys):
    """The command prints the table and ends with 0, or with 1 where the number is too small."""
    words = ["check", "hippocampus", str(decathlon_phantom), "--bundles", str(BUNDLES)]

    assert main([*words, "--subset"]) == 0
    assert "posterior" in capsys.readouterr().out
    assert main(words) == 1
    printed = capsys.readouterr()
    assert "posterior" in printed.out
    faults = [line for line in printed.err.splitlines() if line.startswith("fault: ")]
    assert len(faults) == 1
    assert "10 sound cases, but the official download has 260" in faults[0]


def test_bundles_of_the_project_serve_any_working_directory(
    decathlon_phantom, tmp_path, monkeypatch, capsys
):
    """Without `--bundles` the project's own are read."""
    monkeypatch.chdir(tmp_path)

    assert main(["check", "hippocampus", str(decathlon_phantom), "--subset"]) == 0
    assert "10 sound cases" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("dataset", "bundles", "message"),
    [
        ("hippocampus", BUNDLES, "not the Decathlon's layout"),
        ("brain", BUNDLES, "no such dataset; choose from: acdc, "),
        ("acdc", "/nowhere", "no bundles there; run this in the project's root"),
    ],
)
def test_wrong_folder_or_name_is_one_line(tmp_path, capsys, dataset, bundles, message):
    """Nothing is printed but the error, and the exit code is 1."""
    assert main(["check", dataset, str(tmp_path), "--bundles", str(bundles)]) == 1

    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_command_is_required(capsys):
    """Without a command, or with another, the usage is printed."""
    for words in ([], ["repair"]):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 2
    assert "check" in capsys.readouterr().err


@pytest.mark.slow
def test_package_is_imported_where_there_are_no_modules_of_posix():
    """As on Windows, where there is neither fcntl nor resource."""
    script = """
import sys
sys.modules["fcntl"] = sys.modules["resource"] = None
import nacl_monai.data
for name in nacl_monai.data.__all__:
    getattr(nacl_monai.data, name)
import nacl_monai.data.check, nacl_monai.data.new_bundle
"""
    subprocess.run([sys.executable, "-c", script], check=True)
