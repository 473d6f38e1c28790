"""One slice of every case, from which figures can be drawn without the model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import numpy as np
import numpy.typing as npt
import torch
from ignite.engine import Engine, Events

from nacl_monai.files import atomic_path
from nacl_monai.handlers.case_handler import batch_entries
from nacl_monai.runs import EvaluationFolder


class SliceMaps:
    """Writes ``maps/<case>.npz``: the slice with most foreground in the label.

    The choice depends on the label alone, so that all methods show the same slice. Arrays:
    ``image`` float32 (first channel), ``label`` and ``prediction`` uint8, ``confidence`` float32 (the
    largest probability), ``entropy`` float32 (``−Σ p ln p / ln C``, from 0, certain, to 1, equal
    probabilities), each ``(rows, columns)`` as one looks at it: of an axis pair that runs right and
    anterior, anterior is up; ``slice``, its position; ``classes`` (C,), their names.

    Args:
        output_dir: The folder in which ``maps/`` is made.
        classes: Names of all classes, background first.
    """

    def __init__(self, output_dir: str | Path, classes: Sequence[str]) -> None:
        self.folder = EvaluationFolder(Path(output_dir))
        self.classes = list(classes)

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, whose outputs are decollated and postprocessed."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._gather)

    def _start(self) -> None:
        self._others: list[tuple[str, dict[str, Any]]] = []

    def _gather(self) -> None:
        """Writes what the other processes keep until the end; the first one writes for all."""
        if idist.get_world_size() == 1:
            return
        shares: list[Any] = [None] * idist.get_world_size()
        torch.distributed.all_gather_object(shares, self._others)
        if idist.get_rank() == 0:
            for share in shares:
                for case, arrays in share:
                    self._write(case, arrays)

    def _collect(self, engine: Engine) -> None:
        outputs = cast("list[dict[str, torch.Tensor]]", engine.state.output)
        for case, output in zip(batch_entries(engine, "case"), outputs, strict=True):
            arrays = {**_slice_arrays(output), "classes": np.array(self.classes)}
            if idist.get_rank() == 0:
                self._write(case, arrays)
            else:
                self._others.append((case, arrays))

    def _write(self, case: str, arrays: dict[str, Any]) -> None:
        with atomic_path(self.folder.map_of(case)) as temporary:
            np.savez(temporary, **arrays)  # compressing takes longer than segmenting


def _slice_arrays(output: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The slice of one case with most foreground, and its position."""
    position = int((output["label"][0] != 0).sum(dim=(0, 1)).argmax())
    probs = output["probabilities"][..., position]
    label, prediction = (output[key][0, ..., position] for key in ("label", "pred"))
    return {
        "image": _upright(output["image"][0, ..., position], np.float32),
        "label": _upright(label, np.uint8),
        "prediction": _upright(prediction, np.uint8),
        "confidence": _upright(probs.amax(dim=0), np.float32),
        "entropy": _upright(normalized_entropy(probs), np.float32),
        "slice": position,
    }


def normalized_entropy(probs: torch.Tensor) -> torch.Tensor:
    """Entropy over the classes, ``(C, *spatial)`` → ``(*spatial)``, as a share of its maximum ln C.

    Example:
        >>> normalized_entropy(torch.tensor([[1.0, 0.5], [0.0, 0.5]]))
        tensor([0., 1.])
    """
    entropy: torch.Tensor = torch.special.entr(probs).sum(dim=0)
    return (entropy / math.log(len(probs))).clamp(max=1)


def _upright(picture: torch.Tensor, dtype: type[np.generic]) -> npt.NDArray[Any]:
    return np.rot90(picture.cpu().numpy()).astype(dtype)
