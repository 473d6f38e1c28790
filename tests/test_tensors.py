"""The one check of logits, probabilities and labels: what passes, and each refusal."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor

from nacl_monai.errors import InputError
from nacl_monai.tensors import (
    check_indices,
    check_outputs,
    check_probabilities,
    top1,
    without_channel,
    without_metadata,
)
from tests.same import same_bits, same_values

OUTPUTS = torch.zeros(2, 3, 4, 5)


def refusal(function, *args, **kwargs):
    """The message with which the arguments are refused, one line that ends in what to do."""
    with pytest.raises(InputError) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    where, _, rest = message.partition(": ")
    wrong, _, remedy = rest.partition("; ")
    assert where
    assert wrong
    assert remedy
    return message


def test_metadata_is_dropped_and_gradients_flow():
    """A MetaTensor becomes a tensor that shares its graph; other tensors are returned themselves."""
    leaf = torch.ones(2, requires_grad=True)
    bare = without_metadata(MetaTensor(leaf))
    (2 * bare).sum().backward()

    assert type(bare) is torch.Tensor
    same_values(leaf.grad, torch.full((2,), 2.0))
    assert without_metadata(leaf) is leaf


@pytest.mark.parametrize("shape", [(1, 2, 3), (2, 2, 4, 4), (1, 5, 2, 2, 2)])
def test_outputs_of_two_classes_in_one_axis_or_more_pass(shape):
    """Batch, classes and at least one spatial axis are enough."""
    check_outputs(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(3, 4), (4,)])
def test_outputs_of_another_shape_are_refused(shape):
    """Without a spatial axis it is refused with the shape."""
    assert refusal(check_outputs, torch.zeros(shape)) == (
        f"logits: have the shape {shape}; pass (batch, classes, *spatial) with at least 2 classes"
    )
    assert refusal(check_outputs, torch.zeros(shape), "probs").startswith("probs: have the shape")


@pytest.mark.parametrize("shape", [(2, 1, 4, 5), (2, 4, 5)])
def test_channel_of_labels_is_dropped(shape):
    """Labels with a channel and without become the same, in the same order."""
    labels = torch.arange(40).reshape(shape)
    result = without_channel(MetaTensor(labels), OUTPUTS)

    assert type(result) is torch.Tensor
    same_values(result, torch.arange(40).reshape(2, 4, 5))


@pytest.mark.parametrize(
    "shape", [(2, 5, 4), (1, 1, 4, 5), (1, 4, 5), (2, 2, 4, 5), (2, 1, 4, 5, 1)]
)
def test_labels_of_another_shape_are_refused(shape):
    """Other shapes are refused with both shapes and the two that fit."""
    assert refusal(without_channel, torch.zeros(shape), OUTPUTS) == (
        f"labels: have the shape {shape}, which does not fit outputs of shape (2, 3, 4, 5); "
        "pass (2, 1, 4, 5) or (2, 4, 5)"
    )
    assert refusal(without_channel, torch.zeros(shape), OUTPUTS, "mask").startswith("mask: have")


def test_one_hot_labels_are_refused_by_name():
    """Labels in the shape of the outputs are most likely one-hot."""
    assert refusal(without_channel, OUTPUTS, OUTPUTS).endswith(
        "pass (2, 1, 4, 5) or (2, 4, 5), class indices instead of one-hot"
    )


@pytest.mark.parametrize(
    "dtype",
    [torch.bool, torch.uint8, torch.uint16, torch.int8, torch.int64, torch.float16, torch.float64],
)
def test_class_indices_of_any_dtype_pass(dtype):
    """0 to K - 1 are classes, whatever their dtype; labels without a voxel hold no wrong one."""
    check_indices(torch.tensor([0, 1]).to(dtype), 2)
    check_indices(torch.zeros(0, 4, dtype=dtype), 2)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
@pytest.mark.parametrize("value", [-1, 3, 255])
def test_label_that_is_no_class_is_refused(dtype, value):
    """A label beyond the classes is named with their number, and may be ignored instead."""
    labels = torch.tensor([[0, 2], [value, 1]], dtype=dtype)

    assert refusal(check_indices, labels, 3) == (
        f"labels: hold {value}, but there are 3 classes (0 to 2); map the labels to classes, "
        f"or ignore this one where the loss can: ignore_index={value}"
    )
    check_indices(labels, 3, ignore_index=value)
    check_indices(labels, 256 if value > 0 else 3, ignore_index=value)


FRACTION = "which is not a class index; resample labels with mode 'nearest'"


@pytest.mark.parametrize(
    ("labels", "ignored", "message"),
    [
        ([0, 255, 7], 255, "labels: hold 7, but"),  # beside ignored voxels
        ([0, 156], -100, "labels: hold 156,"),  # where -100 would wrap around to 156 in bytes
        ([0.0, torch.inf], None, "labels: hold inf"),
        ([0.0, 0.5, 1.0], None, f"labels: hold 0.5, {FRACTION}"),
        ([0.0, 1.001, 1.0], None, f"labels: hold 1.001, {FRACTION}"),
        ([0.0, torch.nan, 1.0], None, f"labels: hold nan, {FRACTION}"),
    ],
)
def test_label_that_is_no_class_and_not_ignored_is_refused(labels, ignored, message):
    """Whatever makes it none."""
    dtype = torch.uint8 if isinstance(labels[0], int) else torch.float32
    tensor = torch.tensor(labels, dtype=dtype)
    assert refusal(check_indices, tensor, 3, ignored).startswith(message)


@pytest.mark.parametrize("scale", [5, 1e4])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_softmax_passes_in_every_precision(dtype, scale):
    """Rounding to half precision is not a reason to refuse, nor are 0 and 1."""
    logits = scale * torch.randn(2, 19, 8, 8, generator=torch.Generator().manual_seed(0))
    check_probabilities(logits.softmax(1).to(dtype))


@pytest.mark.parametrize("shape", [(0, 2, 4, 4), (1, 2, 0, 4)])
def test_probabilities_without_a_voxel_are_refused(shape):
    """An empty batch has no error and no loss, since both are means."""
    assert refusal(check_probabilities, torch.zeros(shape)) == (
        f"probs: have the shape {shape}, without a voxel; leave empty batches out"
    )


def pair(first, second, dtype=torch.float32):
    """Two classes at two voxels: the first a proper distribution, the second as given."""
    return torch.tensor([[0.25, first], [0.75, second]], dtype=dtype)[None]


@pytest.mark.parametrize(
    ("probs", "message"),
    [
        (
            torch.ones(2, 1, 4),
            "probs: have the shape (2, 1, 4), one channel, as of a sigmoid; pass",
        ),
        (torch.ones(1, 2, 4, dtype=torch.int64), "probs: are torch.int64; pass the floating-point"),
        (pair(torch.nan, 0.5), "probs: hold NaN; look for the case"),
        (pair(-0.5, 1.0), "probs: reach from -0.5 to 1, beyond [0, 1]; apply softmax"),
        (pair(0.0, 1.5), "probs: reach from 0 to 1.5, beyond [0, 1]; apply softmax"),
        (pair(0.9, 0.9), "probs: the sum over a voxel's classes is off 1 by 0.8; use softmax"),
        (pair(0.4, 0.5), "probs: the sum over a voxel's classes is off 1 by 0.1; use softmax"),
    ],
    ids=["one class", "integers", "NaN", "negative", "above 1", "sum above 1", "sum below 1"],
)
def test_what_is_no_softmax_is_refused(probs, message):
    """Each refusal says what the values are, and what to do."""
    assert refusal(check_probabilities, probs).startswith(message)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float16, 1e-2), (torch.bfloat16, 1e-2), (torch.float32, 1e-3), (torch.float64, 1e-3)],
)
def test_sum_may_be_off_by_rounding_only(dtype, tolerance):
    """Up to a hundredth in half precision and a thousandth otherwise; more is refused."""
    check_probabilities(pair(0.5, 0.5 - 0.7 * tolerance, dtype))
    check_probabilities(pair(0.0, 1 + 0.7 * tolerance, dtype))
    assert "off 1 by" in refusal(check_probabilities, pair(0.5, 0.5 - 2 * tolerance, dtype))
    assert "beyond [0, 1]" in refusal(check_probabilities, pair(0.0, 1 + 2 * tolerance, dtype))


@given(
    st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8]),
    st.sampled_from([(2, 3, 5, 7), (1, 2, 70_000), (3, 300, 4)]),
    st.integers(0, 1),
    st.integers(0, 9),
)
def test_top1_is_the_largest_value_and_its_first_class(dtype, shape, axis, seed):
    """As a maximum that knows no blocks says, with many ties, below and beyond a block and a byte."""
    drawn = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 4, shape, generator=drawn).to(dtype)
    if dtype != torch.uint8:
        values = values / 4 - 0.5

    largest, classes = top1(values, axis)

    same_bits(largest, values.max(axis).values, "the largest is one of them")
    first = (values == largest.unsqueeze(axis)).int().argmax(axis)
    same_values(classes.long(), first)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8]
)
def test_largest_is_that_of_torch_and_its_first_class(dtype):
    """Over more than a block, with many ties."""
    values = torch.randint(0, 6, (2, 5, 70_000), generator=torch.Generator().manual_seed(0))
    values = values.to(dtype)

    largest, classes = top1(values)

    assert largest.dtype == dtype
    same_bits(largest, values.amax(1), "the largest is one of them")
    first = (values == values.amax(1, keepdim=True)).int().argmax(1)
    same_values(classes.long(), first)
