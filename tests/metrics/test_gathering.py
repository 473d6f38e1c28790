"""A process that saw no case leaves no other waiting: all of them say so."""

import ignite.distributed as idist
import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.metrics import BoundedHausdorffMetric, CalibrationMetric

PROBS = torch.tensor([[[[0.9, 0.2]], [[0.1, 0.8]]]])
MASKS = (PROBS > 0.5).float()


@pytest.mark.parametrize("metric", [CalibrationMetric, BoundedHausdorffMetric])
@pytest.mark.parametrize("rank", [0, 1], ids=["busy", "idle"])
def test_every_process_refuses_to_gather(monkeypatch, metric, rank):
    """The one with cases and the one without end with the same line."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    told = []
    monkeypatch.setattr(idist, "all_gather", lambda seen: told.append(seen) or [1, 0])
    metric = metric()
    if rank == 0:
        labels = MASKS if isinstance(metric, BoundedHausdorffMetric) else MASKS[:, 1:]
        metric(MASKS if isinstance(metric, BoundedHausdorffMetric) else PROBS, labels)

    with pytest.raises(InputError, match="^process 1 of 2: has seen no case") as refused:
        metric.get_buffer()

    assert "\n" not in str(refused.value)
    assert told == [1 - rank]


EVERY = {
    "calibration": (lambda: CalibrationMetric(errors=["ece"]), 1),
    "distance": (lambda: BoundedHausdorffMetric(include_background=True), 2),
    "decisions": (lambda: CalibrationMetric(errors=["ece"], decisions={"LV": [1]}), 1),
}


@pytest.mark.parametrize("name", EVERY)
def test_lists_have_the_numbers_of_their_cases(name):
    """With a mask for each, as batches of one have them."""
    make, channels = EVERY[name]
    torch.manual_seed(0)
    probs = (torch.rand(3, 2, 6, 5) > 0.5).float() if channels == 2 else torch.rand(3, 2, 6, 5)
    probs = probs if channels == 2 else probs / probs.sum(1, keepdim=True)
    labels, masks = torch.randint(2, (3, channels, 6, 5)), torch.rand(3, 1, 6, 5) > 0.2
    together, alone = make(), make()

    together(list(probs), list(labels), mask=list(masks))
    for k in range(3):
        alone(probs[k : k + 1], labels[k : k + 1], mask=masks[k : k + 1])

    found, expected = (metric.get_buffer() for metric in (together, alone))
    assert len(torch.as_tensor(found[0])) > 0
    torch.testing.assert_close(found, expected, equal_nan=True)


@pytest.mark.parametrize("name", EVERY)
def test_lists_of_other_lengths_are_refused(name):
    """A case without a label, or a mask, would be left out without a word."""
    make, channels = EVERY[name]
    probs, labels = torch.full((2, 6, 5), 0.5).round(), torch.ones(channels, 6, 5)

    with pytest.raises(InputError, match="labels: 2 for 3 cases; give one for each"):
        make()([probs] * 3, [labels] * 2)
    with pytest.raises(InputError, match="mask: 1 for 3 cases; give one for each"):
        make()([probs] * 3, [labels] * 3, mask=[labels[:1]])
    with pytest.raises(InputError, match="are an empty list"):
        make()([], [])


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("cases", [torch.stack, list], ids=["batch", "list"])
def test_arguments_that_would_be_dropped_are_refused(name, cases):
    """MONAI's metric of distances takes a spacing with each batch; here it is one of the class."""
    make, channels = EVERY[name]
    probs, labels = torch.full((2, 6, 5), 0.5).round(), torch.ones(channels, 6, 5)

    for call in (make(), make().update):
        with pytest.raises(InputError, match="^spacing: is given with a batch"):
            call(cases([probs]), cases([labels]), spacing=[(1.0, 2.0)])


@pytest.mark.parametrize("metric", [CalibrationMetric, BoundedHausdorffMetric])
def test_what_is_gathered_is_read_by_one_process_alone(monkeypatch, metric):
    """The process that writes the files asks no other."""
    metric = metric()
    label = MASKS if isinstance(metric, BoundedHausdorffMetric) else MASKS[:, 1:]
    metric(MASKS, label)
    metric.get_buffer()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(idist, "all_gather", lambda _: pytest.fail("asks the others"))

    assert metric.get_buffer() is not None
