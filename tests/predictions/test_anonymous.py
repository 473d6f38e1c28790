"""Names that hide: no file of an anonymous command has a name, or a voxel in its place, of a patient."""

import io
import json
import zipfile

import numpy as np
import pytest

from nacl_monai.cli import main
from nacl_monai.predictions.options import ANONYMOUS
from nacl_monai.words import leaves
from tests.predictions.conftest import Study, exit_code
from tests.promises.test_commands import blobs

EACH = ["--patients", "cases"]
LEVEL = ["--level", "0.3"]


def study(root, *, mirrored):
    """Eight patients whose probabilities are sums of powers of two, so that sums have no rounding."""
    cases = {}
    for k, (probs, label) in enumerate(blobs(0, 8).values()):
        probs = np.floor(probs * 256) / 256
        probs[0] += 1 - probs.sum(0)
        turn = (slice(None, None, -1),) * 3 if mirrored else ...
        cases[f"person{k}"] = probs[(slice(None), *turn)] if mirrored else probs, label[turn]
    return Study(root, cases)


def written(root, monkeypatch, *, mirrored):
    """Every file of an audit, a promise, and a merge and a promise of sums; path → content."""
    drawn = study(root, mirrored=mirrored)
    data, hide = [drawn.nnunet().name, drawn.labels.name], ["--anonymous", "salt"]
    monkeypatch.chdir(root)
    (root / "salt").write_text("5" * 64)
    commands = [
        ["audit", *data, *EACH, *hide, "--components"],
        ["promise", *data, *EACH, *hide, *LEVEL],
    ]
    if not mirrored:  # of sums, which hold no volume
        plain = ["audit", *data, *EACH, "--no-pictures", "--output", "plain"]
        sums = ["promise", "plain", *hide, *LEVEL, "--no-pictures", "--output", "sums"]
        commands += [plain, ["merge", "plain/bins.npz", *hide], sums]
    for args in commands:
        assert main(args) == 0, args
    folders = [root / name for name in ("audit", "promise", "merge", "sums")]
    files = [file for folder in folders for file in sorted(folder.rglob("*")) if file.is_file()]
    return {str(file.relative_to(root)): file.read_bytes() for file in files}


def opened(content):
    """The bytes of a file, and of each member of an archive."""
    yield content
    if content[:2] == b"PK":
        archive = zipfile.ZipFile(io.BytesIO(content))
        yield from map(archive.read, archive.namelist())


def texts(content):
    """What a text may be stored as; arrays of text have four bytes for each character."""
    return content.encode(), content.encode("utf-32-le")


def test_no_file_of_an_anonymous_command_has_a_name_or_a_voxel(tmp_path, monkeypatch):
    """Sums are the same of mirrored volumes, but whatever shows a voxel in its place is not."""
    files = written(tmp_path / "straight", monkeypatch, mirrored=False)
    mirrored = written(tmp_path / "mirrored", monkeypatch, mirrored=True)
    for path, content in files.items():
        for name in (f"person{k}" for k in range(8)):
            assert name not in path
            for part in opened(content):
                assert not any(text in part for text in texts(name)), path

    assert mirrored.keys() <= files.keys()
    assert {"audit/page.html", "promise/page.html"} <= mirrored.keys()
    unlike = {path: content for path, content in mirrored.items() if content != files[path]}
    record = unlike.pop("audit/evaluation.json", files["audit/evaluation.json"])
    assert not unlike
    # Logarithms are summed in the order of voxels, whose last digit is rounded otherwise.
    expected = files["audit/evaluation.json"]
    ours, theirs = (dict(leaves(json.loads(text))) for text in (record, expected))
    assert ours.keys() == theirs.keys()
    for place, value in ours.items():
        expected = theirs[place]
        if isinstance(value, float):
            expected = pytest.approx(expected, rel=1e-9, nan_ok=True)
        assert value == expected, place
    assert not [path for path in files if "maps" in path or path.endswith(".nii.gz")]


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["promise", "--apply", "p.json", "new"], "--anonymous: has no effect on new predictions"),
        (["promise", "--check", "p.json", "new", "l"], "--anonymous: has no effect on labeled"),
        (["triage", "p.json", "new"], "--anonymous: no such option of nacl-monai triage"),
        (["report", "predictions", "labels"], "--anonymous: no such option of nacl-monai report"),
        (["view", "predictions"], "--anonymous: no such option of nacl-monai view"),
        (["maps", "predictions"], "--anonymous: no such option of nacl-monai maps"),
        (["watch", "p.json", "new"], "--anonymous: no such option of nacl-monai watch"),
    ],
)
def test_commands_that_name_cases_refuse_the_word(args, line, capsys):
    """Somebody opens those whom a list names."""
    assert exit_code(main, [*args, "--anonymous", "salt"]) in (1, 2)
    assert line in capsys.readouterr().err


def test_one_sentence_says_what_is_hidden(capsys):
    """In the help of each command that takes the word."""
    for verb in ("audit", "promise", "merge", "export"):
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        assert " ".join(ANONYMOUS.split()) in " ".join(capsys.readouterr().out.split())
