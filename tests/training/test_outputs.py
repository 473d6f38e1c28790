"""A trainer's output, sample by sample, is that of MONAI's decollation."""

from types import SimpleNamespace

import torch
from monai.handlers import from_engine
from monai.transforms import Decollated

from nacl_monai.training import SampleOutputs


def test_samples_are_those_of_monai_but_for_the_loss_which_stays_on_its_device():
    """Lists of predictions, too; whoever reads the loss of the first sample has it."""
    loss = torch.tensor(0.5, requires_grad=True)
    preds = [torch.rand(3, 2, 4, 4, requires_grad=True), torch.rand(3, 2, 2, 2)]
    output = {"image": torch.rand(3, 1, 4, 4), "label": torch.ones(3, 1, 4, 4), "pred": preds}
    engine = SimpleNamespace(state=SimpleNamespace(output={**output, "loss": loss}))

    SampleOutputs()._divide(engine)

    expected = Decollated(keys=None, detach=True)({**output, "loss": loss})
    assert len(engine.state.output) == len(expected) == 3
    for sample, known in zip(engine.state.output, expected, strict=True):
        torch.testing.assert_close(sample["image"], known["image"])
        torch.testing.assert_close(sample["pred"], list(known["pred"]))
        assert not sample["pred"][0].requires_grad
        assert sample["loss"] == known["loss"]
    assert from_engine(["loss"], first=True)(engine.state.output) is not loss
    assert float(from_engine(["loss"], first=True)(engine.state.output)) == 0.5
