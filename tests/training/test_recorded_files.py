"""The record of a file is its size, its time of change and its checksum."""

import hashlib

from nacl_monai.files import stamp
from nacl_monai.training import recorded_files
from nacl_monai.training.recorded_files import recorded_checksum, recorded_file, recorded_stamp


def test_parts_of_a_record_are_those_of_the_file(tmp_path):
    """By Python's own SHA-256."""
    file = tmp_path / "a.nii"
    file.write_bytes(b"voxels")

    record = recorded_file(file)

    assert recorded_stamp(record) == stamp(file)
    assert recorded_checksum(record) == hashlib.sha256(b"voxels").hexdigest()


def test_file_is_read_again_only_when_it_was_touched(tmp_path, monkeypatch):
    """A record of another size or time says nothing about the bytes."""
    file = tmp_path / "a.nii"
    file.write_bytes(b"voxels")
    record = recorded_file(file)
    monkeypatch.setattr(recorded_files, "checksum", lambda _: "read")

    assert recorded_file(file, record) == record
    file.touch()
    assert recorded_checksum(recorded_file(file, record)) == "read"
    assert recorded_checksum(recorded_file(file, None)) == "read"
