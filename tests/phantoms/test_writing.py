"""A phantom's folder is complete, recorded and recognized, or not there at all."""

import json
from pathlib import Path

import pytest

from nacl_monai.errors import InputError
from nacl_monai.phantoms.writing import write_phantom
from tests.phantoms.files import contents

RECORD = {"name": "tiny", "cases": 2, "seed": 0, "version": 1}


def write_two_files(root: Path, number: int):
    """A case: two small files."""
    folder = root / f"case{number}"
    folder.mkdir()
    for name in "ab":
        (folder / name).write_text(name)


def write(directory, write_case=write_two_files, **changes):
    record = RECORD | changes
    return write_phantom(directory, write_case, range(record["cases"]), record=record)


def test_record_names_the_phantom_and_its_files(tmp_path):
    """`phantom.json` says what made the folder and lists every other file."""
    root = write(tmp_path / "tiny")

    record = json.loads((root / "phantom.json").read_text())
    assert {"case0/a", "case0/b", "case1/a", "case1/b"} == set(record.pop("files"))
    assert record == RECORD


def test_texts_describe_all_cases(tmp_path):
    """Text files beside the cases are written and recorded."""
    numbers, texts = range(2), {"README": "of all cases"}
    root = write_phantom(tmp_path / "a", write_two_files, numbers, record=RECORD, texts=texts)

    assert (root / "README").read_text() == "of all cases"
    assert "README" in json.loads((root / "phantom.json").read_text())["files"]


def test_writing_again_does_nothing(tmp_path):
    """A folder that holds the phantom asked for keeps its files, untouched."""
    root = write(tmp_path / "tiny")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}

    assert write(root) == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


@pytest.mark.parametrize("change", [{"cases": 3}, {"seed": 1}, {"full_size": True}])
def test_another_phantom_is_refused(tmp_path, change):
    """A phantom of other parameters is not mixed with or taken for the one asked for."""
    root = write(tmp_path / "tiny")

    with pytest.raises(InputError, match=r"holds another phantom.*delete this one"):
        write(root, **change)


def test_incomplete_phantom_is_refused(tmp_path):
    """A phantom that has lost a file is not taken for a whole one; the message names the file."""
    root = write(tmp_path / "tiny")
    (root / "case1" / "b").unlink()

    with pytest.raises(InputError, match=r"without its case1/b"):
        write(root)


@pytest.mark.parametrize("content", [None, "no JSON", "[]", "{}"])
def test_foreign_folder_is_refused_and_kept(tmp_path, content):
    """Someone's files are neither overwritten nor deleted, whatever phantom.json may say."""
    (tmp_path / "thesis.txt").write_text("years of work")
    if content is not None:
        (tmp_path / "phantom.json").write_text(content)
    before = contents(tmp_path)

    with pytest.raises(InputError, match="not a phantom's"):
        write(tmp_path)
    assert contents(tmp_path) == before


def test_file_in_the_place_of_the_folder_is_refused(tmp_path):
    """A path that is a file is named in the message."""
    path = tmp_path / "tiny"
    path.touch()

    with pytest.raises(InputError, match=r"tiny: is a file"):
        write(path)


def test_empty_folder_is_filled(tmp_path):
    """A folder that was made beforehand is as good as none; nothing else is left beside it."""
    (tmp_path / "tiny").mkdir()
    write(tmp_path / "tiny", cases=1)

    assert set(contents(tmp_path)) == {"tiny/phantom.json", "tiny/case0/a", "tiny/case0/b"}
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_interruption_leaves_nothing(tmp_path, failure):
    """A run that ends half way leaves neither the folder nor a temporary one."""

    def fail_after_a_case(root, number):
        write_two_files(root, number)
        raise failure

    expected = KeyboardInterrupt if failure is KeyboardInterrupt else InputError
    with pytest.raises(expected):
        write(tmp_path / "tiny", fail_after_a_case)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("parameters", "named"), [({"cases": 0}, "cases=0"), ({"seed": -1}, "seed=-1")]
)
def test_impossible_numbers_are_refused(tmp_path, parameters, named):
    """The message names the parameter, and nothing is written."""
    with pytest.raises(InputError, match=named):
        write(tmp_path / "tiny", **parameters)
    assert not any(tmp_path.iterdir())


def test_more_cases_than_names_are_refused(tmp_path):
    """A layout that names a fixed number of cases says how many there are."""
    with pytest.raises(InputError, match=r"cases=2: tiny has 1 labeled cases"):
        write_phantom(tmp_path / "a", write_two_files, range(2), record=RECORD, most=1)
