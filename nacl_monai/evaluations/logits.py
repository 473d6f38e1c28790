"""How large the logits are, as files of a run keep it: per true class, and per epoch of training.

============================= ==================================================================
``evaluation/logits.npz``     ``classes`` (C,); ``sums`` (C, C): at ``[k, j]`` the sum of |logit j|
                              over the voxels of true class k; ``counts`` (C,): their number.
``logit_histogram.npz``       ``epochs`` (E,); ``edges`` (M + 1,); ``counts`` (E, M + 2): voxels
                              whose largest logit is below, in each bin, and above the edges.
============================= ==================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nacl_monai.errors import InputError
from nacl_monai.evaluations.evaluated import folds_of
from nacl_monai.metrics.record import REMEDY
from nacl_monai.metrics.sums_file import read_arrays
from nacl_monai.runs import RunFolder
from nacl_monai.tensors import Floats


@dataclass(frozen=True)
class ClassLogits:
    """The content of ``logits.npz``, as means: (true class, output); NaN where a class is absent."""

    classes: list[str]
    means: Floats


@dataclass(frozen=True)
class EpochLogits:
    """The content of ``logit_histogram.npz``."""

    epochs: npt.NDArray[np.int64]
    edges: Floats
    counts: npt.NDArray[np.int64]

    @property
    def shares(self) -> Floats:
        """The share of each epoch's voxels per bin, (E, M); those outside the edges are missing."""
        shares: Floats = self.counts[:, 1:-1] / self.counts.sum(axis=1, keepdims=True)
        return shares

    @property
    def outside(self) -> float:
        """The share of all voxels that are outside the edges."""
        return float(self.counts[:, [0, -1]].sum() / self.counts.sum())

    def quantiles(self, levels: Sequence[float]) -> Floats:
        """Quantiles of each epoch's largest logits, (E, levels), linear within a bin.

        A quantile outside the edges is the outermost edge.
        """
        below = self.counts.cumsum(axis=1)
        return np.array(
            [
                np.interp(np.multiply(levels, total), reached, self.edges)
                for reached, total in zip(below[:, :-1], below[:, -1], strict=True)
            ]
        )


def read_class_logits(folder: str | Path) -> ClassLogits:
    """Reads ``evaluation/logits.npz`` of a run.

    Raises:
        InputError: If the file is missing or is not what it should be, or if the folder names a
            cross-validation, whose networks have logits of their own.
    """
    if folds := folds_of(folder):
        raise InputError(
            f"{folder}: logits are drawn of single runs; name a fold, such as {folds[0]}"
        )
    path = RunFolder(Path(folder)).evaluation.logits
    arrays = read_arrays(path, ("classes", "sums", "counts"), REMEDY)
    n = len(arrays["classes"])
    if arrays["sums"].shape != (n, n) or arrays["counts"].shape != (n,):
        raise InputError(
            f"{path}: sums is {arrays['sums'].shape} and counts is {arrays['counts'].shape}, "
            f"not ({n}, {n}) and ({n},); evaluate the run again"
        )
    with np.errstate(invalid="ignore"):
        means = arrays["sums"] / arrays["counts"][:, None]
    return ClassLogits([str(name) for name in arrays["classes"]], means)


def read_epoch_logits(folder: str | Path) -> EpochLogits:
    """Reads ``logit_histogram.npz`` of a run.

    Raises:
        InputError: If the file is missing or is not what it should be.
    """
    path = RunFolder(Path(folder)).logit_histogram
    arrays = read_arrays(path, ("epochs", "edges", "counts"), remedy="train the run again")
    shape = (len(arrays["epochs"]), len(arrays["edges"]) + 1)
    if arrays["counts"].shape != shape or not shape[0]:
        raise InputError(
            f"{path}: counts is {arrays['counts'].shape}, not {shape}; train the run again"
        )
    return EpochLogits(arrays["epochs"], arrays["edges"], arrays["counts"])
