"""Weights are those that were trained, or they are refused."""

import hashlib

import pytest
import torch
from torch import nn

from nacl_monai.inference.weights import load_weights


@pytest.fixture
def file(tmp_path):
    """The weights of a network that is not the one of the tests."""
    torch.manual_seed(1)
    torch.save(network().state_dict(), tmp_path / "model.pt")
    return tmp_path / "model.pt"


def network(classes=2):
    return nn.Sequential(nn.Conv2d(1, classes, 3), nn.BatchNorm2d(classes))


def write_checksum(file):
    """As `sha256sum model.pt > model.pt.sha256` does."""
    checksum = hashlib.sha256(file.read_bytes()).hexdigest()
    file.with_name("model.pt.sha256").write_text(f"{checksum}  model.pt\n")


@pytest.mark.parametrize("with_checksum", [True, False])
def test_weights_are_loaded(file, with_checksum):
    """A checksum beside the file is right; without one, the file's own are."""
    if with_checksum:
        write_checksum(file)
    loaded = network()

    load_weights(loaded, str(file))

    for name, values in torch.load(file, weights_only=True).items():
        torch.testing.assert_close(loaded.state_dict()[name], values, rtol=0, atol=0)


def test_changed_byte_of_any_layer_is_noticed(refusal, file):
    """Torch reads it without a word."""
    content = file.read_bytes()
    state = torch.load(file, weights_only=True)
    for name in ("0.weight", "0.bias", "1.weight"):
        place = content.index(state[name].numpy().tobytes())
        changed = bytearray(content)
        changed[place] ^= 1
        file.write_bytes(changed)

        assert refusal(load_weights, network(), file).startswith(f"{file}: is damaged, or not ")


def test_other_weights_under_the_name_are_noticed(refusal, file):
    """A whole file with one weight changed is not the file that was trained."""
    write_checksum(file)
    state = torch.load(file, weights_only=True)
    state["0.weight"][0, 0, 0, 0] += 1e-3
    torch.save(state, file)

    assert "not the file that was trained" in refusal(load_weights, network(), file)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02N."])
def test_file_that_is_none_of_torch_is_damaged(refusal, file, content):
    """Whatever is in it; nothing of it is unpickled."""
    file.write_bytes(content)

    assert "is damaged" in refusal(load_weights, network(), file)


def test_nothing_there_is_said(refusal, tmp_path):
    """A folder is not a file either."""
    for path in (tmp_path, tmp_path / "nowhere.pt"):
        assert refusal(load_weights, network(), path) == (
            f"{path}: no trained model there; train first, or name another: --checkpoint"
        )


@pytest.mark.parametrize("other", [network(3), nn.Linear(2, 2)])
def test_weights_of_another_network_do_not_fit(refusal, file, other):
    """They have another shape or other names."""
    assert "model.pt: does not fit the network; " in refusal(load_weights, other, file)


def test_file_without_a_state_dictionary_does_not_fit(refusal, file):
    """A tensor alone, say."""
    torch.save(torch.zeros(3), file)

    assert "does not fit the network" in refusal(load_weights, network(), file)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["0.weight", "1.running_mean"])
def test_weights_that_are_no_numbers_are_refused(refusal, file, name, value):
    """One is enough, in a buffer too."""
    state = torch.load(file, weights_only=True)
    state[name].view(-1)[-1] = value
    torch.save(state, file)

    assert refusal(load_weights, network(), file) == (
        f"{file}: holds NaN or infinite weights ({name}); train again"
    )
