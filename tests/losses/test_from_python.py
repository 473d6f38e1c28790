"""Losses, metrics and audits in a loop of one's own: a mistake is one line with its remedy."""

import pytest
import torch

import nacl_monai
from nacl_monai import losses, metrics
from nacl_monai.errors import InputError
from tests.conftest import refused

LOSSES = [name for name in losses.__all__ if name.endswith("_loss") or name == "cross_entropy"]
ERRORS = [name for name in metrics.__all__ if name.endswith(("_error", "_gap", "_score"))]
ERRORS = [*ERRORS, "negative_log_likelihood"]
ERRORS = [name for name in ERRORS if not name.startswith("pooled_")]  # which take bins
LOGITS = torch.randn(2, 3, 8, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(3, (2, 1, 8, 6), generator=torch.Generator().manual_seed(1))
PROBS = LOGITS.softmax(1)


#: Every loss and every metric of probabilities, with the word for what it takes.
CALLS = [
    *(pytest.param(getattr(losses, name), LOGITS, "logits", id=name) for name in LOSSES),
    *(pytest.param(getattr(metrics, name), PROBS, "probs", id=name) for name in ERRORS),
]


@pytest.mark.parametrize(("function", "outputs", "word"), CALLS)
def test_mistake_is_one_line_with_its_remedy(function, outputs, word):
    """A dictionary, a generator, channels last, one sigmoid channel, a label that is no class."""
    function(outputs, LABELS)

    assert refused(function, {"out": outputs}, LABELS) == (
        f"{word}: are a dict, not a tensor; pass the tensor in it, as {word}['out']"
    )
    assert refused(function, (one for one in outputs), LABELS) == (
        f"{word}: are a generator, not a tensor; pass one batch after the other"
    )
    for labels in (LABELS, LABELS[:, 0]):
        assert refused(function, outputs.movedim(1, -1), labels).endswith(
            f"so that the classes are last; pass {word}.movedim(-1, 1)"
        )
    assert (
        "one channel, as of a sigmoid; pass at least 2 classes, background first: torch.cat(["
        in refused(function, outputs[:, :1], LABELS.clamp_max(1))
    )
    if "penalty" not in function.__name__:
        assert "ignore_index=255" in refused(function, outputs, LABELS.where(LABELS != 2, 255))


@pytest.mark.parametrize("name", LOSSES)
def test_arrays_are_for_metrics(name):
    """A loss has a gradient, which NumPy knows nothing of."""
    function = getattr(losses, name)
    assert refused(function, LOGITS.numpy(), LABELS).endswith("pass torch.as_tensor(logits)")
    assert refused(function, LOGITS, LABELS.numpy()).endswith("pass torch.as_tensor(labels)")


def test_label_to_be_ignored_is_an_option_of_arrays_alone():
    """``dataset.json`` says it of folders."""
    with pytest.raises(InputError, match="ignore_index: is an option for arrays alone"):
        nacl_monai.audit("predictions", "labels", ignore_index=255)
