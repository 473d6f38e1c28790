"""The outputs of a MONAI evaluator for each case, whatever form its batches have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from ignite.engine import Engine
from monai.engines.utils import IterationEvents
from monai.transforms import Decollated
from monai.utils.enums import CommonKeys
from torch.utils._pytree import tree_map

from nacl_monai.data.cases import names_by_path
from nacl_monai.errors import InputError

PROBABILITIES = "probabilities"
#: Where a file's name is in the metadata of a tensor that MONAI's ``LoadImage`` has read.
_FILE = "filename_or_obj"


def batch_entries(engine: Engine, key: str) -> list[str]:
    """The entries ``key`` of ``engine``'s current batch, collated or not; none where one is missing."""
    batch: Any = engine.state.batch
    items = batch if isinstance(batch, list) else [batch]
    if not all(isinstance(item, Mapping) and key in item for item in items):
        return []
    return [item[key] for item in batch] if isinstance(batch, list) else list(batch[key])


def case_outputs(output: Any) -> list[Mapping[str, Any]]:
    """The output of each case of an iteration of MONAI's, decollated or not.

    Args:
        output: ``engine.state.output``.

    Raises:
        InputError: If it is neither dictionaries, one per case, nor one of batches.
    """
    outputs = Decollated(keys=None, detach=True)(output) if isinstance(output, dict) else output
    if not (isinstance(outputs, list) and all(isinstance(case, Mapping) for case in outputs)):
        raise InputError(
            f"output: of the evaluator is a {type(output).__name__}; these handlers read that of a "
            "MONAI evaluator, a dictionary with 'pred' and 'label' for each case or batch"
        )
    return outputs


class SampleOutputs:
    """Divides a trainer's output into one dictionary per sample, and waits for no device.

    MONAI's own decollation asks for the loss as a number, once per sample. Here each sample has the loss
    of its batch as a tensor, so that handlers with `from_engine(["loss"], first=True)` read it, too.
    """

    def attach(self, engine: Engine) -> None:
        """Registers the handler with ``engine``, a trainer of MONAI with ``decollate=False``."""
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self._divide)

    def _divide(self, engine: Engine) -> None:
        state: Any = engine.state
        samples = range(len(state.output[CommonKeys.IMAGE]))
        state.output = [tree_map(partial(_sample, k), state.output) for k in samples]


def _sample(position: int, value: Any) -> Any:
    """A sample's part of a value of a batch, or a value of all."""
    if not isinstance(value, torch.Tensor):
        return value
    value = value.detach()
    return value[position] if value.ndim else value


def batch_files(engine: Engine) -> list[str]:
    """The file of each case of the current batch, as its image's metadata say; "" where they do not."""
    output: Any = engine.state.output
    if isinstance(output, dict):  # of a whole batch, in which predictions may be lists
        output = {key: output[key] for key in (CommonKeys.IMAGE, CommonKeys.LABEL) if key in output}
    images = [case.get(CommonKeys.IMAGE) for case in case_outputs(output)]
    return [str(getattr(image, "meta", {}).get(_FILE, "")) for image in images]


def probabilities_of(output: Mapping[str, Any]) -> torch.Tensor:
    """The probabilities of a case, ``(C, *spatial)``: ``probabilities``, or else what ``pred`` is.

    Raises:
        InputError: If there are none, or if ``pred`` has been made a label map, whose zeros and ones
            would pass for the probabilities of a network that is always certain.
    """
    probs: torch.Tensor | None = output.get(PROBABILITIES)
    if probs is not None:
        return probs
    pred: torch.Tensor | None = output.get(CommonKeys.PRED)
    if pred is None or (pred == pred.round()).all():
        what = "is missing" if pred is None else "holds whole numbers, so these are labels"
        raise InputError(
            f"pred: {what}; keep the probabilities by a CopyItemsd('pred', names='probabilities') "
            "behind the Activationsd of the postprocessing"
        )
    return pred


def label_of(output: Mapping[str, Any]) -> torch.Tensor:
    """The label of a case, with a channel axis.

    Raises:
        InputError: If there is none.
    """
    label: torch.Tensor | None = output.get(CommonKeys.LABEL)
    if label is None:
        raise InputError("label: is missing; give the evaluator cases with a 'label'")
    return label


def outputs_without_ignored(
    output: Any, keys: Sequence[str], ignore_index: int
) -> tuple[list[torch.Tensor], ...]:
    """Predictions and labels of every case; in voxels to be ignored both are 0, so of no structure.

    Args:
        output: ``engine.state.output``.
        keys: Those of classes or masks, such as ``["pred", "label"]``.
        ignore_index: The label of voxels to be ignored.

    Raises:
        InputError: If there is no label.
    """
    outputs = case_outputs(output)
    counted = [label_of(case) != ignore_index for case in outputs]
    return tuple(
        [case[key].where(of_case, 0) for case, of_case in zip(outputs, counted, strict=True)]
        for key in keys
    )


def probabilities_and_labels(output: Any) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Those of every case of an iteration, as a metric of MONAI's takes them.

    Args:
        output: ``engine.state.output``.

    Raises:
        InputError: If they are not there.
    """
    outputs = case_outputs(output)
    return [probabilities_of(case) for case in outputs], [label_of(case) for case in outputs]


def most_probable_class(probs: torch.Tensor) -> torch.Tensor:
    """The class of every voxel, ``(1, *spatial)``, of probabilities ``(C, *spatial)``.

    MONAI's ``AsDiscrete(argmax=True)`` in integers, ten times as fast on a CPU.

    Example:
        >>> most_probable_class(torch.tensor([[0.4, 0.1], [0.6, 0.9]]))
        tensor([[1, 1]])
    """
    return probs.max(dim=0, keepdim=True).indices


def case_names(files: Sequence[str]) -> list[str]:
    """A name for each case, no two alike.

    A file gives its name without ending; if that is not enough to tell files apart, the folders above
    precede it. Cases of one file, such as its slices, are numbered, and so are those of none, by
    their position.

    Args:
        files: The images' files, in the order of the cases; "" where nobody knows.

    Example:
        >>> case_names(["a/t1.nii.gz", "b/t1.nii.gz", ""])
        ['a_t1', 'b_t1', '2']
        >>> case_names(["p1.nii.gz", "p1.nii.gz"])
        ['p1_0', 'p1_1']

        A part that begins with a digit is not an ending: a size, or the number of a DICOM series.
        Numbers have as many digits as the last one, so that names sort as the cases did:

        >>> case_names(["/d/brain_01.nii.gz", "/d/lung_1.5mm", "/d/1.2.840.113", "d/x.NII"])
        ['brain_01', 'lung_1.5mm', '1.2.840.113', 'x']
        >>> case_names([""] * 11)[:2], case_names(["a.nii", "", "b.nii"]), case_names([])
        (['00', '01'], ['a', '1', 'b'], [])
    """
    width = len(str(len(files) - 1))
    names = [name or f"{k:0{width}}" for k, name in enumerate(names_by_path(files))]
    while len(set(names)) < len(names):
        names = _numbered(names)
    return names


def _numbered(names: Sequence[str]) -> list[str]:
    """Those that are there several times with a number behind them."""
    times, seen = Counter(names), Counter[str]()
    numbered = []
    for name in names:
        numbered.append(f"{name}_{seen[name]}" if times[name] > 1 else name)
        seen[name] += 1
    return numbered
