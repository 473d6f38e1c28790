"""A module in the forms in which models are shipped."""

import io

import onnxruntime
import torch

LOGITS = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)) * 8


def scripted(module):
    """The module as it is read back from TorchScript."""
    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(module.eval()), stream)
    stream.seek(0)
    return torch.jit.load(stream)


def shipped(module, folder):
    """What the module makes of `LOGITS` scripted, traced, and as ONNX."""
    torch.onnx.export(module.eval(), (LOGITS,), folder / "m.onnx", input_names=["logits"])
    session = onnxruntime.InferenceSession(folder / "m.onnx")
    return {
        "scripted": scripted(module)(LOGITS),
        "traced": torch.jit.trace(module, LOGITS)(LOGITS),
        "onnx": torch.from_numpy(session.run(None, {"logits": LOGITS.numpy()})[0]),
    }
