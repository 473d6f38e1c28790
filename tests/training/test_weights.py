"""A run's model file gives back its weights, or the reason why it cannot."""

import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.training import load_weights


def test_weights_come_back_exactly_or_the_file_is_named(tmp_path):
    """Weights are read back exactly; a missing, damaged or foreign file is named."""
    network, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    torch.save(network.state_dict(), tmp_path / "model.pt")
    content = bytearray((tmp_path / "model.pt").read_bytes())
    (tmp_path / "half.pt").write_bytes(content[:50])
    content[content.index(network.weight.detach().numpy().tobytes())] ^= 1
    (tmp_path / "changed.pt").write_bytes(content)

    load_weights(other, tmp_path / "model.pt")

    assert torch.equal(network.weight, other.weight)
    for target, file, message in (
        (other, "nowhere.pt", "no trained model there"),
        (other, "half.pt", "is damaged"),
        (other, "changed.pt", "is damaged"),
        (torch.nn.Linear(4, 2), "model.pt", "does not fit the network"),
    ):
        with pytest.raises(InputError, match=f"{file}: {message}"):
            load_weights(target, tmp_path / file)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path, value):
    """One is enough."""
    network = torch.nn.Linear(3, 2)
    network.bias.data[1] = value
    torch.save(network.state_dict(), tmp_path / "model.pt")

    with pytest.raises(InputError, match=r"model.pt: holds NaN or infinite weights \(bias\)"):
        load_weights(torch.nn.Linear(3, 2), tmp_path / "model.pt")
