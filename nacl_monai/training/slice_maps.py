"""One slice of every case, from which figures can be drawn without the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine
from monai.utils.enums import CommonKeys

from nacl_monai.files import atomic_path
from nacl_monai.runs import EvaluationFolder
from nacl_monai.training.case_handler import CaseHandler
from nacl_monai.training.case_slice import case_slice
from nacl_monai.training.outputs import case_outputs, label_of, probabilities_of
from nacl_monai.training.processes import joined


class SliceMaps(CaseHandler):
    """Writes ``maps/<case>.npz``: the slice with most foreground in the label.

    The choice depends only on the label, so that all methods show the same slice. Arrays:
    ``image`` float32 (first channel), ``label`` and ``prediction`` uint8, ``confidence`` float32 (the
    largest probability), ``entropy`` float32 (``−Σ p ln p / ln C``, from 0, certain, to 1, equal
    probabilities), each ``(rows, columns)`` as one looks at it: where an axis pair runs right and
    anterior, anterior is up; ``slice``, its position; ``classes`` (C,), their names. For structures that
    overlap, see `case_slice`. Voxels to be ignored are shown as background in the label.

    Args:
        output_dir: The folder in which ``maps/`` is made.
        classes: Names of all classes, background first.
        structures: In their place, names of the channels where these are structures that may overlap.
        ignore_index: The label of voxels to be ignored.

    Raises:
        InputError: While the evaluator runs, if there are no probabilities, or other channels.
    """

    def __init__(
        self,
        output_dir: str | Path,
        classes: Sequence[str] = (),
        structures: Sequence[str] = (),
        ignore_index: int | None = None,
    ) -> None:
        super().__init__()
        self.folder = EvaluationFolder(Path(output_dir))
        self.names = list(structures or classes)
        self.overlapping = bool(structures)
        self.ignore_index = ignore_index

    def write(self, engine: Engine, cases: list[str], patients: list[str]) -> None:  # noqa: ARG002
        """Gives every slice the name of its case."""
        for case, kept in zip(cases, self._kept, strict=True):
            file = self.folder.map_of(case)
            if isinstance(kept, Path):
                file.parent.mkdir(parents=True, exist_ok=True)
                kept.replace(file)
            else:
                write_slice(file, kept)

    def _start(self) -> None:
        super()._start()
        self._kept: list[Path | dict[str, Any]] = []

    def _collect(self, engine: Engine) -> None:
        """Writes the slices of a batch under numbers, since names are known only in the end.

        Processes other than the first keep theirs, which that one writes.
        """
        super()._collect(engine)
        for output in case_outputs(engine.state.output):
            arrays = self._arrays(output)
            if idist.get_rank() == 0:
                numbered = self.folder.map_of(f".{len(self._kept)}")
                write_slice(numbered, arrays)
                self._kept.append(numbered)
            else:
                self._kept.append(arrays)

    def _arrays(self, output: Mapping[str, Any]) -> dict[str, Any]:
        label = label_of(output)
        return case_slice(
            probabilities_of(output),
            label if self.ignore_index is None else label.where(label != self.ignore_index, 0),
            self.names,
            image=output.get(CommonKeys.IMAGE),
            overlapping=self.overlapping,
        )

    def _finish(self, engine: Engine) -> None:
        self._kept = joined(self._kept)
        super()._finish(engine)


def write_slice(file: Path, arrays: Mapping[str, Any]) -> None:
    """Writes a `case_slice`, whole or not at all."""
    with atomic_path(file) as temporary:
        np.savez(temporary, **arrays)  # compressing takes longer than segmenting
