"""What tests of reports share: figures without pixels, true probabilities."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _unpainted(unpainted):
    """Figures without pixels take a tenth of the time."""


def predicted(temperature, *, cases=12, size=12, seed=1, shift=0.0):
    """Probabilities of two classes and labels: of temperature 1 they are true, below too sure."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(cases, 2, size, size, generator=generator)
    logits[:, 1] += shift
    labels = torch.rand(cases, size, size, generator=generator) < logits.softmax(1)[:, 1]
    return (logits / temperature).softmax(1).numpy(), labels.long().numpy()
