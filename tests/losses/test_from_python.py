"""Losses, metrics and audits in a loop of one's own: a mistake is one line with its remedy."""

import numpy as np
import pytest
import torch

import nacl_monai
from nacl_monai import losses, metrics
from nacl_monai.errors import InputError
from nacl_monai.posthoc import RegionLogits, fit_temperature

LOSSES = [name for name in losses.__all__ if name.endswith("_loss") or name == "cross_entropy"]
ERRORS = [name for name in metrics.__all__ if name.endswith(("_error", "_gap", "_score"))]
ERRORS = [*ERRORS, "negative_log_likelihood"]
ERRORS = [name for name in ERRORS if not name.startswith("pooled_")]  # which take bins
LOGITS = torch.randn(2, 3, 8, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(3, (2, 1, 8, 6), generator=torch.Generator().manual_seed(1))
PROBS = LOGITS.softmax(1)


def refusal(function, outputs, labels, **settings):
    with pytest.raises(InputError) as caught:
        function(outputs, labels, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


#: Every loss and every metric of probabilities, with the word for what it takes.
CALLS = [
    *(pytest.param(getattr(losses, name), LOGITS, "logits", id=name) for name in LOSSES),
    *(pytest.param(getattr(metrics, name), PROBS, "probs", id=name) for name in ERRORS),
]


@pytest.mark.parametrize(("function", "outputs", "word"), CALLS)
def test_mistake_is_one_line_with_its_remedy(function, outputs, word):
    """A dictionary, a generator, channels last, one sigmoid channel, a label that is no class."""
    function(outputs, LABELS)

    assert refusal(function, {"out": outputs}, LABELS) == (
        f"{word}: are a dict, not a tensor; pass the tensor in it, as {word}['out']"
    )
    assert refusal(function, (one for one in outputs), LABELS) == (
        f"{word}: are a generator, not a tensor; pass one batch after the other"
    )
    for labels in (LABELS, LABELS[:, 0]):
        assert refusal(function, outputs.movedim(1, -1), labels).endswith(
            f"so that the classes are last; pass {word}.movedim(-1, 1)"
        )
    assert (
        "one channel, as of a sigmoid; pass at least 2 classes, background first: torch.cat(["
        in refusal(function, outputs[:, :1], LABELS.clamp_max(1))
    )
    if "penalty" not in function.__name__:
        assert "ignore_index=255" in refusal(function, outputs, LABELS.where(LABELS != 2, 255))


@pytest.mark.parametrize("name", LOSSES)
def test_arrays_are_for_metrics(name):
    """A loss has a gradient, which NumPy knows nothing of."""
    function = getattr(losses, name)
    assert refusal(function, LOGITS.numpy(), LABELS).endswith("pass torch.as_tensor(logits)")
    assert refusal(function, LOGITS, LABELS.numpy()).endswith("pass torch.as_tensor(labels)")


WITHOUT_NEIGHBORS = ["cross_entropy", "focal_loss", "label_smoothing_loss", "ecp_loss", "mbls_loss"]
WITHOUT_NEIGHBORS += ["dca_loss"]


@pytest.mark.parametrize(
    ("function", "outputs"),
    [
        *(pytest.param(getattr(losses, name), LOGITS, id=name) for name in WITHOUT_NEIGHBORS),
        *(
            pytest.param(getattr(metrics, name), PROBS, id=name)
            for name in ERRORS
            if "pixelwise" not in name
        ),
    ],
)
def test_ignored_voxels_are_as_if_they_were_not_there(function, outputs):
    """Cut off, or of the label that is ignored; a mask says the same to what takes one."""
    ignored, counted = LABELS.clone(), torch.ones_like(LABELS)
    ignored[..., 4:], counted[..., 4:] = 255, 0
    where = {"region": "all"} if function.__module__.startswith("nacl_monai.metrics") else {}
    expected = function(outputs[..., :4], LABELS[..., :4], **where)

    torch.testing.assert_close(function(outputs, ignored, ignore_index=255, **where), expected)
    if where:
        found = function(outputs, LABELS, region=counted)
        torch.testing.assert_close(found, expected)


def test_mask_and_ignored_label_are_one_to_metric_and_audit():
    """The same ECE and NLL over all voxels as of the voxels alone."""
    ignored, mask = LABELS.clone(), torch.ones_like(LABELS)
    ignored[..., 4:], mask[..., 4:] = 255, 0
    settings = {"regions": ["all"]}
    metric = metrics.CalibrationMetric(**settings)
    metric(PROBS[..., :4], LABELS[..., :4])
    expected = metric.aggregate()
    for labels, given, made in ((ignored, None, {"ignore_index": 255}), (LABELS, mask, {})):
        metric = metrics.CalibrationMetric(**settings, **made)
        metric(PROBS, labels, mask=given)
        torch.testing.assert_close(metric.aggregate(), expected, equal_nan=True)

    whole = nacl_monai.audit(PROBS[..., :4], LABELS[..., :4], **settings)
    for labels, given in ((ignored, {"ignore_index": 255}), (np.asarray(LABELS), {"mask": mask})):
        found = nacl_monai.audit(np.asarray(PROBS), labels, **given, **settings)
        assert found.ece("all") == pytest.approx(whole.ece("all"))
    with pytest.raises(InputError, match="ignore_index"):
        nacl_monai.audit("predictions", "labels", ignore_index=255)


def test_mask_and_ignored_label_are_one_to_calibrators():
    """The temperature is that of the voxels that count."""
    ignored, mask = LABELS.clone(), torch.ones(2, 8, 6, dtype=torch.bool)
    ignored[..., 4:], mask[..., 4:] = 255, False
    fitted = []
    for logits, labels, settings in (
        (LOGITS[..., :4], LABELS[..., :4], [{}, {}]),
        (LOGITS, ignored, [{"ignore_index": 255}] * 2),
        (LOGITS, LABELS, [{"mask": one} for one in mask]),
    ):
        with RegionLogits() as voxels:
            for number, case in enumerate(zip(logits, labels, strict=True)):
                voxels.add(*case, f"p{number}", **settings[number])
            fitted.append(fit_temperature(voxels).temperature.item())
    assert fitted == pytest.approx([fitted[0]] * 3)
