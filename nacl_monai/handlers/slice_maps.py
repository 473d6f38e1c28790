"""One telling slice of every case, kept so that figures can be drawn without the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import numpy as np
import numpy.typing as npt
import torch
from ignite.engine import Engine, Events

from nacl_monai.files import atomic_path
from nacl_monai.handlers.cases import names


class SliceMaps:
    """Writes ``maps/<case>.npz``: the slice that holds most ground-truth foreground.

    The choice depends on the label alone, so that all methods show the same slice. Arrays:
    ``image`` float32 (first channel), ``label`` and ``prediction`` uint8, ``confidence`` float32 (the
    largest probability), ``entropy`` float32 (``−Σ p ln p / ln C``, from 0, certain, to 1, equal
    probabilities), each ``(rows, columns)`` as one looks at it: of an axis pair that runs right and
    anterior, anterior is up; ``slice``, its position; ``classes`` (C,), their names.

    Args:
        output_dir: ``maps/`` is made below it.
        classes: Names of all classes, background first.
    """

    def __init__(self, output_dir: str | Path, classes: Sequence[str]) -> None:
        self.output_dir = Path(output_dir) / "maps"
        self.classes = list(classes)

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, whose outputs are decollated and postprocessed."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._gather)

    def _start(self) -> None:
        self._others: list[tuple[str, dict[str, Any]]] = []

    def _gather(self) -> None:
        """Of several processes the first writes, also what the others hold until the end."""
        if idist.get_world_size() == 1:
            return
        shares: list[Any] = [None] * idist.get_world_size()
        torch.distributed.all_gather_object(shares, self._others)
        if idist.get_rank() == 0:
            for case, arrays in (held for share in shares for held in share):
                self._write(case, arrays)

    def _collect(self, engine: Engine) -> None:
        outputs = cast("list[dict[str, torch.Tensor]]", engine.state.output)
        for case, output in zip(names(engine, "case"), outputs, strict=True):
            position = int((output["label"][0] != 0).sum(dim=(0, 1)).argmax())
            label, prediction = (
                _upright(output[key][0, ..., position]).astype(np.uint8)
                for key in ("label", "pred")
            )
            probabilities = output["probabilities"][..., position]
            image, confidence, entropy = (
                _upright(picture).astype(np.float32)
                for picture in (
                    output["image"][0, ..., position],
                    probabilities.amax(dim=0),
                    normalized_entropy(probabilities),
                )
            )
            arrays = {
                "image": image,
                "label": label,
                "prediction": prediction,
                "confidence": confidence,
                "entropy": entropy,
                "slice": position,
                "classes": np.array(self.classes),
            }
            if idist.get_rank() == 0:
                self._write(case, arrays)
            else:
                self._others.append((case, arrays))

    def _write(self, case: str, arrays: dict[str, Any]) -> None:
        with atomic_path(self.output_dir / f"{case}.npz") as temporary:
            np.savez(temporary, **arrays)  # compressing takes longer than segmenting


def normalized_entropy(probs: torch.Tensor) -> torch.Tensor:
    """Entropy over the classes, ``(C, *spatial)`` → ``(*spatial)``, as a share of its maximum ln C.

    Example:
        >>> normalized_entropy(torch.tensor([[1.0, 0.5], [0.0, 0.5]]))
        tensor([0., 1.])
    """
    entropy: torch.Tensor = torch.special.entr(probs).sum(dim=0)
    return (entropy / math.log(len(probs))).clamp(max=1)


def _upright(image: torch.Tensor) -> npt.NDArray[Any]:
    return np.rot90(image.cpu().numpy())
