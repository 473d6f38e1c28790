"""Each kind of outputs has its own methods, logits and probabilities."""

import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.posthoc import METHODS, OUTPUTS, SIGMOID_METHODS, module_of

PROBS = {
    "softmax": torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)).softmax(0),
    "sigmoid": torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)).sigmoid(),
}


@pytest.mark.parametrize("activation", OUTPUTS)
def test_probabilities_come_back_from_their_logits(activation):
    """Without a calibrator between, nothing changes."""
    outputs, probs = OUTPUTS[activation], PROBS[activation]

    torch.testing.assert_close(outputs.probs_of(outputs.logits_of(probs)), probs)


@pytest.mark.parametrize("activation", OUTPUTS)
def test_first_method_is_one_temperature(activation):
    """What a command takes where nobody says which; it is refitted from its record."""
    outputs = OUTPUTS[activation]
    labels = torch.randint(2, (4, 5), generator=torch.Generator().manual_seed(1))
    labels = labels if activation == "softmax" else torch.stack([labels, labels, 1 - labels])
    with outputs.voxels(["a", "b", "c"], "all") as voxels:
        voxels.add(outputs.logits_of(PROBS[activation]), labels, "patient001")
        fit = outputs.fit(next(iter(outputs.methods)), voxels)

    assert list(fit.parameters) == ["temperature"]
    record = {"method": fit.method, "parameters": fit.parameters}
    assert repr(module_of(record)) == repr(fit.module)


def test_every_method_has_one_kind_of_outputs():
    """So that its name alone makes its module."""
    assert [outputs.methods for outputs in OUTPUTS.values()] == [METHODS, SIGMOID_METHODS]


@pytest.mark.parametrize(
    ("record", "error"),
    [
        ({"parameters": {"temperature": 1.0}}, KeyError),
        ({"method": "isotonic", "parameters": {}}, KeyError),
        ({"method": "platt", "parameters": {"temperature": 1.0}}, TypeError),
        ({"method": "temperature", "parameters": {"temperature": 0.0}}, InputError),
    ],
)
def test_damaged_record_makes_no_module(record, error):
    """Whoever has read it says where it is from."""
    with pytest.raises(error):
        module_of(record)
