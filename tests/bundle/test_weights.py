"""A run's model file."""

import pytest
import torch

from nacl_monai.bundle import load_weights, refuse_to_overwrite
from nacl_monai.errors import InputError


def test_overwriting(tmp_path):
    """A result that is there is not overwritten; one that is not there is no obstacle."""
    refuse_to_overwrite(tmp_path / "model.pt")
    (tmp_path / "model.pt").touch()

    with pytest.raises(InputError, match="model.pt: a trained model is already there"):
        refuse_to_overwrite(tmp_path / "model.pt")


def test_weights(tmp_path):
    """Weights come back exactly; a missing, damaged or foreign file is named."""
    network, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    (tmp_path / "damaged.pt").write_bytes((tmp_path / "model.pt").read_bytes()[:50])

    load_weights(other, tmp_path / "model.pt")

    assert torch.equal(network.weight, other.weight)
    for target, file, message in (
        (other, "nowhere.pt", "no trained model there"),
        (other, "damaged.pt", "is damaged"),
        (torch.nn.Linear(4, 2), "model.pt", "does not fit the network"),
    ):
        with pytest.raises(InputError, match=f"{file}: {message}"):
            load_weights(target, tmp_path / file)
