"""How often a training's step waits for its device, which a CPU can count as well as a GPU."""

from collections import Counter
from unittest.mock import patch

import pytest
import torch
from ignite.engine import Events
from torch.utils._python_dispatch import TorchDispatchMode

from tests.configurations.conftest import NETWORK, parser_of

#: Operations whose result, or the shape of whose result, the host must know before it goes on.
WAITING = {"_local_scalar_dense", "nonzero", "bincount", "masked_select", "_unique2", "equal"}
COPYING = ("tolist", "numpy", "cpu", "__array__")


class Waits(TorchDispatchMode):
    """Counts by name, while it is entered, whatever would wait for a GPU."""

    def __init__(self):
        super().__init__()
        self.counts, self.counting = Counter(), True
        methods = {name: self._counted(name, getattr(torch.Tensor, name)) for name in COPYING}
        self._patch = patch.multiple(torch.Tensor, **methods)

    def __enter__(self):
        self._patch.start()
        return super().__enter__()

    def __exit__(self, *error):
        self._patch.stop()
        return super().__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        parts = args[1] if name in ("index", "index_put_") else ()
        by_mask = any(part is not None and part.dtype == torch.bool for part in parts)
        self.counts[name] += self.counting and (name in WAITING or by_mask)
        return function(*args, **(kwargs or {}))

    def _counted(self, name, method):
        def count(*args, **kwargs):
            self.counts[name] += 1
            return method(*args, **kwargs)

        return count


def waits_of_a_step(parser):
    """Those of the third step of a training, from its batch to the end of its handlers.

    Adam's own count of steps is not among them: it is on the CPU, wherever the network is.
    """
    trainer, waits = parser.get_parsed_content("train::trainer"), Waits()
    trainer.optimizer.register_step_pre_hook(lambda *_: setattr(waits, "counting", False))
    trainer.optimizer.register_step_post_hook(lambda *_: setattr(waits, "counting", True))

    def stop():
        waits.__exit__(None, None, None)
        trainer.terminate()

    trainer.add_event_handler(Events.ITERATION_STARTED(once=3), lambda: waits.__enter__() and None)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=3), stop)
    trainer.run()
    return +waits.counts


def test_every_way_to_wait_is_counted():
    """Numbers of a tensor, its truth, and shapes that depend on values; no other operation."""
    numbers, mask = torch.arange(6.0), torch.tensor([True, False] * 3)
    with Waits() as waits:
        ways = [numbers.tolist, numbers.numpy, numbers.cpu, numbers.max().item, numbers[0].__int__]
        ways += [mask.nonzero, numbers.long().bincount, mask.all().__bool__]
        ways += [lambda: numbers[mask], lambda: numbers.masked_select(mask)]
        for way in ways:
            way()
        numbers.where(mask, 0).sum().clamp_min(1)

    assert waits.counts.total() == len(ways)


@pytest.mark.parametrize(
    ("loss", "silent"), [("nacl", True), ("nacl_mixed_dice", False), ("ml1ace", True)]
)
def test_step_waits_for_its_device_once(datasets, tmp_path, loss, silent):
    """To see that it has not diverged; the curves' values are one more wait together."""
    places = {"dataset_dir": datasets["hippocampus"], "cache_dir": tmp_path / "cache"}
    changes = {"loss": f"@losses::{loss}", "network_def": NETWORK, "silent": silent}
    parser = parser_of("hippocampus", "train", output_dir=tmp_path / "run", **places, **changes)
    waits = waits_of_a_step(parser)

    assert waits.total() == 1 + (not silent), waits
