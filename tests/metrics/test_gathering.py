"""A process that saw no case leaves no other waiting: all of them say so."""

from functools import partial

import ignite.distributed as idist
import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.metrics import BoundedHausdorffMetric, CalibrationMetric

# One-hot: probabilities and labels of the one metric, and masks of structures of the other.
MASKS = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])


@pytest.mark.parametrize("metric", [CalibrationMetric, BoundedHausdorffMetric])
@pytest.mark.parametrize("rank", [0, 1], ids=["busy", "idle"])
def test_every_process_refuses_to_gather(monkeypatch, metric, rank):
    """The one with cases and the one without end with the same line."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    told = []
    monkeypatch.setattr(idist, "all_gather", lambda seen: told.append(seen) or [1, 0])
    metric = metric()
    if rank == 0:
        metric(MASKS, MASKS)

    with pytest.raises(InputError, match="^process 1 of 2: has seen no case") as refused:
        metric.get_buffer()

    assert "\n" not in str(refused.value)
    assert told == [1 - rank]


EVERY = {
    "calibration": partial(CalibrationMetric, errors=["ece"]),
    "distance": partial(BoundedHausdorffMetric, include_background=True),
    "decisions": partial(CalibrationMetric, errors=["ece"], decisions={"LV": [1]}),
}


@pytest.mark.parametrize("name", EVERY)
def test_lists_have_the_numbers_of_their_cases(name):
    """With a mask for each, as batches of one have them."""
    torch.manual_seed(0)
    inside, masks = torch.randint(2, (2, 3, 6, 5)), torch.rand(3, 1, 6, 5) > 0.2
    probs, labels = (torch.stack([1 - one, one], 1).float() for one in inside)
    together, alone = EVERY[name](), EVERY[name]()

    together(list(probs), list(labels), mask=list(masks))
    for k in range(3):
        alone(probs[k : k + 1], labels[k : k + 1], mask=masks[k : k + 1])

    found, expected = (metric.get_buffer() for metric in (together, alone))
    assert len(torch.as_tensor(found[0])) > 0
    torch.testing.assert_close(found, expected, equal_nan=True)


@pytest.mark.parametrize("name", EVERY)
def test_lists_of_other_lengths_are_refused(name):
    """A case without a label, or a mask, would be left out without a word."""
    metric, three = EVERY[name](), [*MASKS] * 3

    with pytest.raises(InputError, match="labels: 2 for 3 cases; give one for each"):
        metric(three, three[:2])
    with pytest.raises(InputError, match="mask: 1 for 3 cases; give one for each"):
        metric(three, three, mask=[MASKS[0, :1]])
    with pytest.raises(InputError, match="are an empty list"):
        metric([], [])


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("cases", [torch.stack, list], ids=["batch", "list"])
def test_arguments_that_would_be_dropped_are_refused(name, cases):
    """MONAI's metric of distances takes a spacing with each batch; here it is one of the class."""
    metric = EVERY[name]()

    for call in (metric, metric.update):
        with pytest.raises(InputError, match="^spacing: is given with a batch"):
            call(cases([*MASKS]), cases([*MASKS]), spacing=[(1.0, 2.0)])


@pytest.mark.parametrize("metric", [CalibrationMetric, BoundedHausdorffMetric])
def test_what_is_gathered_is_read_by_one_process_alone(monkeypatch, metric):
    """The process that writes the files asks no other."""
    metric = metric()
    metric(MASKS, MASKS)
    metric.get_buffer()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(idist, "all_gather", lambda _: pytest.fail("asks the others"))

    assert metric.get_buffer() is not None
