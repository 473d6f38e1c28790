"""A file is written whole or not at all."""

import pytest

from nacl_monai.files import atomic_path, write_text


def test_success(tmp_path):
    """The file appears in a folder that is made for it, and nothing is left beside it."""
    target = tmp_path / "new" / "numbers.csv"

    with atomic_path(target) as temporary:
        assert temporary.suffix == ".csv"
        assert not target.exists()
        temporary.write_text("1,2")

    assert target.read_text() == "1,2"
    assert list(target.parent.iterdir()) == [target]


def test_failure(tmp_path):
    """After a failure the earlier file is as it was, and nothing is left beside it."""
    target = tmp_path / "numbers.csv"
    target.write_text("old")

    def fail():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_text(tmp_path):
    """Text is UTF-8 whatever the locale, and the path comes back."""
    path = write_text(tmp_path / "table.md", "DSC ↑")

    assert path == tmp_path / "table.md"
    assert path.read_bytes() == "DSC ↑".encode()
