"""Commands on files start at once: without MONAI and Ignite, and answer a slip without torch."""

import json
import subprocess
import sys

import pytest

from tests.predictions.conftest import Study, softmax_cases

BLOCKED = """
import json, sys
commands, blocked = map(json.loads, sys.argv[1:])
sys.modules.update(dict.fromkeys(blocked))  # None: an import of it fails
from nacl_monai.cli import main
print([main(words) for words in commands])
"""


def run_without(blocked, commands):
    """The exit codes of commands in a process that cannot import some packages, and their errors."""
    command = [sys.executable, "-c", BLOCKED, json.dumps(commands), json.dumps(blocked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.slow  # five commands, of which each reads, measures, draws and writes
def test_files_are_audited_calibrated_and_promised_without_monai_and_ignite(tmp_path):
    """Their import takes several times as long as that of torch."""
    study = Study(tmp_path, softmax_cases(cases=8))
    folders = [str(study.nnunet()), str(study.labels)]
    promise = str(tmp_path / "promise")
    new_cases = {f"new_{case}": volumes for case, volumes in softmax_cases(seed=1).items()}
    new = [promise, str(Study(tmp_path / "new", new_cases).nnunet())]
    commands = [
        ["audit", *folders],
        ["calibrate", *folders, "--folds", "2"],
        ["promise", *folders, "--level", "0.3", "--patients", "cases", "--output", promise],
        ["promise", "--apply", *new],
        ["triage", *new],
    ]
    outputs = [tmp_path / name for name in ("audit", "calibrated", "promise", "applied", "triage")]
    lines = [
        [*command, "--output", str(out)] for command, out in zip(commands, outputs, strict=True)
    ]
    codes, errors = run_without(["monai", "ignite"], lines)

    assert codes == [0] * 5, errors
    assert (tmp_path / "audit/page.html").is_file()
    assert (tmp_path / "calibrated/calibrator.json").is_file()


SLIPS = [
    (["audit", "absent", "labels"], "absent: is not a folder; give the folder of the predictions"),
    (["audit", "some", "absent"], "absent: is not a folder; give the folder of the label maps"),
    (["audit", "some", "labels", "--num-bins", "0"], "--num-bins: is 0"),
    (["audit", "some", "labels", "--output", "full"], "full: holds"),
    (["calibrate", "some", "absent"], "absent: is not a folder; give the folder of the label maps"),
    (["calibrate", "some", "labels", "--output", "full"], "full: holds"),
    (["promise", "some", "absent"], "absent: is not a folder; give the folder of the label maps"),
    (["promise", "some", "labels", "--level", "2"], "--level: is 2.0; give a number between"),
    (["promise", "some", "labels", "--confidence", "0"], "--confidence: is 0.0"),
    (["promise", "some", "labels", "--output", "full"], "full: holds"),
    (["promise", "--apply", "absent", "some"], "absent: no such file"),
    (["triage", "absent", "some"], "absent: no such file"),
    (["triage", "full", "absent"], "absent: is not a folder; give the folder of the predictions"),
    (["triage", "full", "some", "--budget", "many"], "--budget: is 'many'"),
]


def test_slips_are_answered_without_torch(tmp_path, monkeypatch):
    """Folders that are missing, and options that cannot be meant, whatever is written elsewhere."""
    monkeypatch.chdir(tmp_path)
    for folder in ("some", "labels", "full"):
        (tmp_path / folder).mkdir()
    (tmp_path / "full/thesis.txt").write_text("years of work")
    codes, errors = run_without(["torch", "numpy", "pandas"], [command for command, _ in SLIPS])

    assert all(codes)
    lines = errors.splitlines()
    assert len(lines) == len(SLIPS), errors
    for line, (_, expected) in zip(lines, SLIPS, strict=True):
        assert line.startswith(f"error: {expected}")
