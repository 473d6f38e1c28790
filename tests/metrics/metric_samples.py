"""Random and adversarial inputs for the metrics' tests."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from nacl_monai.metrics import CalibrationMetric


def measured(probs, labels, mask=None, **options):
    """A metric with these options that has seen one batch, or one list of cases."""
    metric = CalibrationMetric(**options)
    metric(probs, labels, mask=mask)
    return metric


def random_case(shape, seed=0, scale=2.0):
    """Probabilities of shape (B, C, *spatial) and labels (B, *spatial) drawn from them."""
    generator = torch.Generator().manual_seed(seed)
    probs = (scale * torch.randn(shape, generator=generator)).softmax(1)
    flat = probs.movedim(1, -1).reshape(-1, shape[1])
    labels = torch.multinomial(flat, 1, generator=generator)
    return probs, labels.reshape(shape[0], *shape[2:])


@st.composite
def cases(draw):
    """Small volumes, 2-D and 3-D, with saturated, tied and edge probabilities among them."""
    shape = (
        draw(st.integers(1, 3)),
        draw(st.integers(2, 4)),
        *draw(st.lists(st.integers(1, 4), min_size=2, max_size=3)),
    )
    seed = draw(st.integers(0, 2**16))
    kind = draw(st.sampled_from(["soft", "saturated", "coarse"]))
    generator = torch.Generator().manual_seed(seed)
    if kind == "soft":
        probs = (3 * torch.randn(shape, generator=generator)).softmax(1)
    elif kind == "saturated":
        probs = (200 * torch.randn(shape, generator=generator)).softmax(1)
    else:  # multiples of 1/15 and 1/10: on the edges, and often tied
        parts = draw(st.sampled_from([10, 15]))
        cuts = torch.randint(
            0, parts + 1, (shape[0], shape[1] - 1, *shape[2:]), generator=generator
        )
        cuts = cuts.sort(1).values
        low = torch.cat([torch.zeros_like(cuts[:, :1]), cuts], 1)
        high = torch.cat([cuts, torch.full_like(cuts[:, :1], parts)], 1)
        probs = ((high - low).double() / parts).float()
    labels = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)
    mask = torch.rand(labels.shape, generator=generator) < draw(st.sampled_from([0.0, 0.5, 1.1]))
    return probs, labels, mask
