"""Numbers of several processes, gathered from all of them or from none."""

from __future__ import annotations

from typing import Any

import ignite.distributed as idist
import torch
from monai.metrics.metric import Cumulative

from nacl_monai.errors import InputError
from nacl_monai.metrics.inputs import as_tensor

_NAMES = {"y": "labels"}


class GatheredTogether(Cumulative):
    """A base for metrics of MONAI that takes arrays, and refuses to gather where a process saw no case.

    In MONAI such a process takes no part, and the others wait for it forever. Here every process
    raises, so that all of them end. In lists, each case has its own mask, and none is left out. Name it
    before MONAI's class among the bases.
    """

    def __call__(self, y_pred: Any, y: Any = None, mask: Any = None, **others: Any) -> Any:
        """Adds a batch, or a list of cases; see the class and `inputs` for the forms.

        Args:
            y_pred: Predictions, tensors or arrays.
            y: Labels, if the metric needs them.
            mask: The voxels that count.
            **others: None; MONAI's signature has them.

        Raises:
            InputError: If there are any, such as the ``spacing`` that MONAI's metric takes here.
        """
        for name in others:
            raise InputError(
                f"{name}: is given with a batch, and would not be used; give it to "
                f"{type(self).__name__} where that is made"
            )
        return super().__call__(as_tensor(y_pred), as_tensor(y), mask=as_tensor(mask))  # type: ignore[misc]

    def _compute_list(self, y_pred: Any, y: Any = None, **kwargs: Any) -> Any:
        # MONAI drops cases that have no label, and hands a whole list of masks to every case.
        beside = {"y": y, **kwargs}
        beside = {name: values for name, values in beside.items() if values is not None}
        if not len(y_pred):
            raise InputError("probs: are an empty list, without a voxel; leave empty batches out")
        for name, values in beside.items():
            if len(values) != len(y_pred):
                raise InputError(
                    f"{_NAMES.get(name, name)}: {len(values)} for {len(y_pred)} cases; give one for each"
                )
        compute: Any = self._compute_tensor  # type: ignore[attr-defined]
        results = [
            compute(case[None], **{name: values[k][None] for name, values in beside.items()})
            for k, case in enumerate(y_pred)
        ]
        if isinstance(results[0], torch.Tensor):
            return torch.cat(results)
        return [torch.cat(buffers) for buffers in zip(*results, strict=True)]

    def update(self, y_pred: Any, y: Any = None, **kwargs: Any) -> None:
        """Calls the metric, as torchmetrics names it."""
        self(y_pred, y, **kwargs)

    def compute(self) -> Any:
        """Returns what ``aggregate`` returns, as torchmetrics names it."""
        return self.aggregate()

    def _sync(self) -> None:
        # Only one process reads what is gathered already, such as the one that writes the files.
        several = torch.distributed.is_available() and torch.distributed.is_initialized()
        if several and not self._synced:
            seen: Any = idist.all_gather(int(self._buffers is not None))
            idle = [rank for rank, any_case in enumerate(map(int, seen)) if not any_case]
            if idle:
                raise InputError(
                    f"process {idle[0]} of {len(seen)}: has seen no case, so that nothing can be "
                    "gathered; start fewer processes, or give each of them a case"
                )
        super()._sync()  # type: ignore[no-untyped-call]
