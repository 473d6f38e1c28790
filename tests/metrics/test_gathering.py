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


def test_one_process_gathers_nothing():
    """Without other processes, nothing is asked."""
    metric = CalibrationMetric()
    assert metric.get_buffer() is None
    metric(PROBS, MASKS[:, 1:])
    assert len(metric.get_buffer()[0]) == 1
