"""Values of several processes; tests/configurations/test_torchrun.py has real ones."""

import torch

from nacl_monai.training.gathering import gathered, joined


def test_one_process_knows_it_all():
    """Nothing is asked of torch.distributed, which need not be there."""
    assert gathered("mine") == ["mine"]
    assert joined(["a", ""]) == ["a", ""]


def test_lists_are_joined_in_the_order_of_the_processes(monkeypatch):
    """An empty list of one process adds nothing, where MONAI's joining of strings adds an empty one."""

    def all_gather_object(values, value):
        values[:] = [[], value, ["c"]]

    monkeypatch.setattr("ignite.distributed.get_world_size", lambda: 3)
    monkeypatch.setattr(torch.distributed, "all_gather_object", all_gather_object)

    assert joined(["a", ""]) == ["a", "", "c"]
