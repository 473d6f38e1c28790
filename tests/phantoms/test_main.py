"""`nacl-monai phantom DATASET DIR` writes the phantom that its words ask for."""

from dataclasses import replace

import pytest

from nacl_monai.phantoms import PHANTOMS
from nacl_monai.phantoms.__main__ import main
from nacl_monai.phantoms.writing import request_case
from tests.phantoms.files import contents


@pytest.fixture
def cheap(monkeypatch):
    """Dataset's name → the requests that reach its phantom, which writes nothing."""

    def replaced(name):
        requests = []
        phantom = replace(PHANTOMS[name], write_case=lambda _, case: requests.append(case))
        monkeypatch.setitem(PHANTOMS, name, phantom)
        return requests

    return replaced


@pytest.mark.parametrize("name", sorted(PHANTOMS))
def test_command_writes_the_phantom_of_that_name(tmp_path, cheap, name):
    """Size, seed and number of cases are those of the words; the rest is as in the library."""
    requests = cheap(name)
    phantom = PHANTOMS[name]

    for options in (["--full-size", "--seed", "3"], ["--cases", "2"]):
        assert main([name, str(tmp_path / options[0]), *options]) == 0

    phantom.write(tmp_path / "full", seed=3, full_size=True)
    phantom.write(tmp_path / "two", cases=2)
    half = len(requests) // 2
    described = [
        (case.number, case.full_size, *(rng.integers(2**60) for rng in case[2:5]))
        for case in requests
    ]
    assert described[:half] == described[half:]
    assert contents(tmp_path / "--cases") == contents(tmp_path / "two")
    assert contents(tmp_path / "--full-size") == contents(tmp_path / "full")


def test_command_names_the_annotator(tmp_path, cheap):
    """The annotator and the deviation of the words reach every case."""
    requests = cheap("acdc")
    words = ["--cases", "1", "--annotator", "4", "--deviation", "1.5"]
    assert main(["acdc", str(tmp_path / "a"), *words]) == 0
    assert [case.deviation for case in requests] == [1.5]
    expected = request_case(0, 1, annotator=4).annotator.integers(2**60)
    assert requests[0].annotator.integers(2**60) == expected


def test_command_writes_real_files(tmp_path):
    """What the command writes is what the library writes, byte by byte."""
    assert main(["prostate", str(tmp_path / "a"), "--cases", "1", "--seed", "5"]) == 0

    PHANTOMS["prostate"].write(tmp_path / "b", cases=1, seed=5)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_command_reports_errors_in_a_line(tmp_path, capsys):
    """A folder with other files ends in one line and exit code 1."""
    (tmp_path / "thesis.txt").touch()

    assert main(["brats", str(tmp_path)]) == 1

    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path}: holds files")
    assert error.count("\n") == 1


def test_unknown_dataset_lists_those_there_are(tmp_path, capsys):
    """A name that has no phantom ends with the names that have one."""
    with pytest.raises(SystemExit) as stopped:
        main(["brain", str(tmp_path)])

    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert all(name in message for name in PHANTOMS)
