"""Inputs of losses in the shapes and dtypes that they compute with, and means over counted voxels."""

import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.losses.inputs import (
    check_inputs,
    split_image,
    voxel_mean,
)


def test_ignored_values_may_be_infinite():
    """What is ignored reaches neither the mean nor its gradient."""
    values = torch.tensor([[[1.0, torch.inf, torch.nan]]], requires_grad=True)
    mean = voxel_mean(values, torch.tensor([[0, 9, 9]]), 9)
    mean.backward()

    assert mean == 1
    assert torch.equal(values.grad, torch.tensor([[[1.0, 0.0, 0.0]]]))


@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (2, 4, 4), (2, 3, 4, 4, 4)])
def test_labels_without_image_are_refused(shape):
    """Labels of one channel, without channel, or with another number of axes carry no image."""
    with pytest.raises(InputError) as caught:
        split_image(torch.zeros(shape), 4)
    assert str(caught.value) == (
        f"labels: have the shape {shape}, but prior 'bilateral' needs the image; "
        "pass (batch, 1 + image channels, *spatial): the class indices, then the image"
    )


@pytest.mark.parametrize("value", [7, -1, 0.5])
def test_the_device_checks_values_while_compiling(monkeypatch, value):
    """The check of values waits for the device, which would break a compiled graph."""
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    logits, labels = torch.zeros(1, 2, 3), torch.tensor([[0.0, 1.0, value]])

    with pytest.raises(RuntimeError, match="labels: hold a value that is not a class"):
        check_inputs(logits, labels, None)
    if value == 7:
        check_inputs(logits, labels, 7)
