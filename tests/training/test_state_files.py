"""State files are whole or noticed, hold no code, and checkpoints are found by their epoch."""

import hashlib
import pickle

import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.training import Position, resumable_position
from nacl_monai.training.state_files import (
    checkpoint_file,
    checkpoint_positions,
    is_whole,
    load_state,
    make_checkpoint_folder,
    save_state,
    save_weights,
)


class Code:
    """An object of a class, which a state must not hold."""


def test_damaged_checkpoints_are_passed_over(tmp_path, capsys):
    """One changed byte, or a missing half, is noticed; if nothing is whole, that is an error."""
    assert resumable_position(tmp_path) == (0, 0)
    for epoch in (1, 2, 10000):
        save_state({"weights": torch.arange(1000.0)}, checkpoint_file(tmp_path, Position(epoch)))
    assert resumable_position(tmp_path) == (10000, 0)

    file = tmp_path / "epoch_10000.pt"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert resumable_position(tmp_path) == (2, 0)
    assert "epoch_10000.pt: is damaged" in capsys.readouterr().err

    file = tmp_path / "epoch_0002.pt"
    file.write_bytes(file.read_bytes()[:200])
    assert resumable_position(tmp_path) == (1, 0)

    (tmp_path / "epoch_0001.pt").write_bytes(b"")
    with pytest.raises(InputError, match="every checkpoint is damaged"):
        resumable_position(tmp_path)


def test_state_is_read_as_it_was_written(tmp_path):
    """Tensors and plain values are read back, on the CPU, into folders that did not exist."""
    file = tmp_path / "new" / "state.pt"
    save_state({"weights": torch.arange(3), "best": {"dice": 0.5, "epoch": 3}}, file)

    state = load_state(file)

    assert torch.equal(state["weights"], torch.arange(3))
    assert state["best"] == {"dice": 0.5, "epoch": 3}
    assert [path.name for path in file.parent.iterdir()] == ["state.pt"]


def test_code_is_never_read(tmp_path):
    """A file that would run code when it is read is refused."""
    save_state({"code": Code()}, tmp_path / "state.pt")

    with pytest.raises(pickle.UnpicklingError):
        load_state(tmp_path / "state.pt")


def test_file_that_is_missing_or_no_archive_is_not_whole(tmp_path):
    """Only the bytes that torch wrote are whole."""
    save_state({"weights": torch.ones(2)}, tmp_path / "whole.pt")
    (tmp_path / "text.pt").write_text("not an archive")

    assert is_whole(tmp_path / "whole.pt")
    assert not is_whole(tmp_path / "text.pt")
    assert not is_whole(tmp_path / "missing.pt")


def test_positions_are_numbers_in_order(tmp_path):
    """Checkpoints are found by their epoch and iteration, as numbers; other files are ignored."""
    for name in ("0002", "0002_iteration_0003", "0002_iteration_10000", "10000", "0010"):
        (tmp_path / f"epoch_{name}.pt").touch()
    for name in ("epoch_last.pt", "epoch_0003_iteration_.pt", "model.pt"):
        (tmp_path / name).touch()

    positions = checkpoint_positions(tmp_path)

    assert positions == [(2, 0), (2, 3), (2, 10000), (10, 0), (10000, 0)]
    for position in positions:
        assert checkpoint_file(tmp_path, position).is_file()
    assert checkpoint_positions(tmp_path / "missing") == []


def test_folder_is_made_without_leftovers(tmp_path):
    """What a killed process left half-written is removed; checkpoints stay."""
    folder = tmp_path / "run" / "checkpoints"
    make_checkpoint_folder(folder)
    for name in (".epoch_0002.abc.pt", "epoch_0001.pt", ".other"):
        (folder / name).touch()

    make_checkpoint_folder(folder)

    assert sorted(path.name for path in folder.iterdir()) == [".other", "epoch_0001.pt"]


def test_folder_that_cannot_be_made_is_one_clear_line(tmp_path):
    """A file in the place of the folder is named."""
    (tmp_path / "run").touch()

    with pytest.raises(
        InputError, match="checkpoints: cannot be made .*; choose another output_dir"
    ):
        make_checkpoint_folder(tmp_path / "run" / "checkpoints")


def test_checksum_beside_weights_is_that_of_sha256sum(tmp_path):
    """Another file under the name, however whole, is noticed; without a checksum, it is not."""
    file = tmp_path / "model.pt"
    save_weights({"weights": torch.arange(3)}, file)

    checksum = hashlib.sha256(file.read_bytes()).hexdigest()
    assert (tmp_path / "model.pt.sha256").read_text() == f"{checksum}  model.pt\n"
    assert is_whole(file)
    save_state({"weights": torch.arange(4)}, file)
    assert not is_whole(file)
    (tmp_path / "model.pt.sha256").unlink()
    assert is_whole(file)


def test_weights_killed_before_their_checksum_have_none(tmp_path, monkeypatch):
    """Rather than the one of the weights before, with which nobody could use them."""
    file = tmp_path / "model.pt"
    save_weights({"weights": torch.arange(3)}, file)
    monkeypatch.setattr("nacl_monai.training.state_files.write_checksum", lambda _: 1 // 0)

    with pytest.raises(ZeroDivisionError):
        save_weights({"weights": torch.arange(4)}, file)

    assert is_whole(file)
    assert load_state(file)["weights"].tolist() == [0, 1, 2, 3]
