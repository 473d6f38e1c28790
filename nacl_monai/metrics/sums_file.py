"""A file of sums, ``bins.npz`` or ``promise.npz``: arrays by name, what was counted, a checksum of both.

======================== ====================================================================
``definition``           what was counted, as JSON
``checksum``             SHA-256 of all other arrays, with their names, types and shapes
======================== ====================================================================

Files of different definitions are never joined, and files with sums that no voxels give are refused.
Nothing here needs torch, so that a promise can be made from sums without it.
"""

from __future__ import annotations

import hashlib
import json
import math
import tokenize
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

from nacl_monai.errors import InputError
from nacl_monai.files import atomic_path
from nacl_monai.inference.records import CHECKSUM
from nacl_monai.words import differences, first_of, leaves, listed

if TYPE_CHECKING:
    from nacl_monai.metrics.bins import CalibrationBins, ScoreSums
    from nacl_monai.metrics.decisions import Decisions

#: NumPy's errors for a file that is a damaged NPZ file, or not one.
UNREADABLE_NPZ = (
    EOFError,
    MemoryError,  # a header may announce too much
    OSError,
    RuntimeError,  # of a compression or a password that a flipped bit announces
    SyntaxError,  # a header is Python
    TypeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
DEFINITION = "definition"
#: Before the names of sums of cases that are nearly all 0.
FINE = "fine_"
Arrays = dict[str, Any]  # NumPy's, or sparse


class Entry(NamedTuple):
    """What a file of sums has under a name.

    Attributes:
        axes: The names of its axes, which have one length each in a file.
        dtype: That of its numbers; None of names.
        group: The arrays of a group are all there or none is; those without one always are.
    """

    axes: tuple[str, ...]
    dtype: type | None = None
    group: str = ""


#: What a kind of file holds, by name; what names an axis comes first.
Form = Mapping[str, Entry]
Faults = dict[str, npt.NDArray[np.bool_]]
Sums = npt.NDArray[Any]
# In half precision edges are rounded, and a probability may be a little above 1.
_ROUNDED = 1e-2
# So many cases are dense at a time.
_BLOCK = 64


def blocks(cases: int) -> Iterator[slice]:
    """A few cases at a time, whose fine bins fit into memory."""
    return (slice(start, min(start + _BLOCK, cases)) for start in range(0, cases, _BLOCK))


@dataclass(frozen=True)
class SparseArray:
    """An array ``(cases, …)`` of which only what is not 0 is held.

    Attributes:
        rows: The cases, with all other axes as one, in SciPy's form ``csr``.
        axes: The lengths of these axes.

    Example:
        >>> array = SparseArray.of_dense(np.eye(3, dtype=np.int64)[:, None])
        >>> array.shape, array[[2, 0]].dense().tolist()
        ((3, 1, 3), [[[0, 0, 1]], [[1, 0, 0]]])
    """

    rows: Any
    axes: tuple[int, ...]

    @classmethod
    def of_dense(cls, array: Sums) -> SparseArray:
        """The same array without what is 0."""
        axes = array.shape[1:]
        return cls(scipy.sparse.csr_array(array.reshape(len(array), math.prod(axes))), axes)

    @classmethod
    def joined(cls, parts: Sequence[SparseArray]) -> SparseArray:
        """The cases of several arrays."""
        return cls(scipy.sparse.vstack([part.rows for part in parts], "csr"), parts[0].axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of all axes."""
        return self.rows.shape[0], *self.axes

    @property
    def dtype(self) -> Any:
        """The type of the numbers."""
        return self.rows.dtype

    def __getitem__(self, cases: slice | Sequence[int]) -> SparseArray:
        return SparseArray(self.rows[cases], self.axes)

    def astype(self, dtype: type) -> SparseArray:
        """The same numbers as another type."""
        return SparseArray(self.rows.astype(dtype, copy=False), self.axes)

    def dense(self) -> Sums:
        """The array with all that is 0."""
        return np.asarray(self.rows.toarray()).reshape(self.shape)


def write_sums(file: str | Path, arrays: Mapping[str, Any], definition: Mapping[str, Any]) -> Path:
    """Writes a file of sums, whole or not at all; returns its path.

    Args:
        file: The file, whatever it is called.
        arrays: Names and sums.
        definition: What was counted.

    Raises:
        InputError: If it cannot be written.
    """
    held: Arrays = {k: v if hasattr(v, "dtype") else np.asarray(v) for k, v in arrays.items()}
    held[DEFINITION] = np.array(json.dumps(definition, ensure_ascii=False))
    held[CHECKSUM] = np.array(arrays_checksum(held))
    zipped = zipfile.ZIP_DEFLATED  # as np.savez_compressed does, which needs all of each array
    with atomic_path(file) as temporary, zipfile.ZipFile(temporary, "w", zipped) as archive:
        for key, array in held.items():
            header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
            with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, header)
                for block in _dense(array):
                    member.write(block.tobytes())
    return Path(file)


def _dense(array: Sums | SparseArray) -> Iterator[Sums]:
    """An array; of sparse ones a few cases at a time."""
    if isinstance(array, SparseArray):
        yield from (array[some].dense() for some in blocks(array.shape[0]))
    else:
        yield array


def read_sums(
    path: Path,
    form: Form,
    missing: str,
    edited: str,
    lengths: Callable[[dict[str, Any]], Mapping[str, int]] = lambda _: {},
) -> tuple[Arrays, dict[str, Any]]:
    """The arrays of a file of sums, and what was counted; the latter is empty where it records nothing.

    Args:
        path: The file.
        form: What such a file holds.
        missing: What to do where it is missing or lacks an array.
        edited: What to do where it is not as it was written.
        lengths: Of axes, by the definition.

    Returns:
        Names as lists of text, all else as arrays; and the definition.

    Raises:
        InputError: If it is refused.
    """
    needed = [key for key, part in form.items() if not part.group]
    optional = [key for key, part in form.items() if part.group]
    arrays = read_arrays(path, needed, missing, (*optional, DEFINITION, CHECKSUM))
    definition = _definition_in(arrays)
    if isinstance(definition, str):
        raise InputError(f"{path}: is not as it was written, {definition}; {edited}")
    if fault := _fault_of_form(arrays, form, lengths(definition)):
        raise InputError(f"{path}: is not as it was written, {fault}; {edited}")
    names = {key: arrays[key].tolist() for key in arrays if form[key].dtype is None}
    return arrays | names, definition


def _definition_in(arrays: Arrays) -> dict[str, Any] | str:
    """Takes what was counted out of the arrays, empty where they record nothing; or their fault."""
    if not {DEFINITION, CHECKSUM} & arrays.keys():
        return {}
    checksum = str(arrays.pop(CHECKSUM, ""))
    if checksum != arrays_checksum(arrays):
        return "its checksum differs"
    try:
        definition = json.loads(str(arrays.pop(DEFINITION)))
    except (KeyError, RecursionError, ValueError):
        definition = None
    return definition if isinstance(definition, dict) else "its definition cannot be"


def _fault_of_form(arrays: Arrays, form: Form, known: Mapping[str, int]) -> str:
    """The first array of another type or shape, or a group of which one is missing; empty without."""
    lengths = dict(known)
    for key, part in form.items():
        if key in arrays:
            fault = _fault_of_entry(arrays[key], part, lengths)
            if fault:
                return f"{key} is {fault}"
            continue
        whole = [other for other in form if form[other].group == part.group]
        if there := [other for other in whole if other in arrays]:
            return f"it holds {listed(there)} alone of {listed(whole)}"
    return ""


def _fault_of_entry(array: Sums | SparseArray, part: Entry, lengths: dict[str, int]) -> str:
    """What an array is in place of its entry; empty where it is that. Learns the lengths of axes."""
    if part.dtype is None and array.dtype.kind != "U":
        return f"of the type {array.dtype.str}, not names"
    if part.dtype is not None and array.dtype != part.dtype:
        return f"of the type {array.dtype.str}, not {np.dtype(part.dtype).name}"
    pairs = zip(part.axes, array.shape, strict=False)
    expected = tuple(lengths.setdefault(axis, length) for axis, length in pairs)
    if len(array.shape) == len(part.axes) and array.shape == expected:
        return ""
    return f"{array.shape}, not ({', '.join(part.axes)}) = {expected}"


def arrays_checksum(arrays: Mapping[str, Any]) -> str:
    """The SHA-256 of arrays with their names, types and shapes, in whatever order they are."""
    digest = hashlib.sha256()
    for key in sorted(arrays):
        digest.update(f"{key} {arrays[key].dtype.str} {arrays[key].shape}\n".encode())
        for block in _dense(arrays[key]):
            digest.update(block.tobytes())
    return digest.hexdigest()


def read_arrays(
    path: Path, keys: Sequence[str], remedy: str, optional: Sequence[str] = ()
) -> Arrays:
    """Arrays of an NPZ file by their names; those of fine bins are a `SparseArray` if they are sums.

    Args:
        path: The file.
        keys: The arrays that it must hold; any other is left alone.
        remedy: What the user can do where it does not, for the message.
        optional: Arrays that are returned where it holds them.

    Raises:
        InputError: If the file is missing, is not an NPZ file or lacks an array.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; {remedy}")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            missing = [key for key in keys if key not in archive]
            arrays = {
                key: _read_sparse(archive, key) if key.startswith(FINE) else archive[key]
                for key in (*keys, *optional)
                if key in archive
            }
    except UNREADABLE_NPZ as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable NPZ file ({reason}); {remedy}") from error
    if missing:
        raise InputError(f"{path}: no array {listed(missing)}; {remedy}")
    return arrays


def _read_sparse(archive: Any, key: str) -> Sums | SparseArray:
    """Sums of cases, a few of which are dense at a time; any other array as it is."""
    with archive.zip.open(f"{key}.npy") as member:
        np.lib.format.read_magic(member)
        shape, backward, dtype = np.lib.format.read_array_header_1_0(member)
        if backward or len(shape) != 3 or 0 in shape or dtype not in (np.int64, np.float64):
            return np.asarray(archive[key])
        parts = []
        for some in blocks(shape[0]):
            size = (some.stop - some.start) * math.prod(shape[1:]) * dtype.itemsize
            part = np.frombuffer(member.read(size), dtype).reshape(-1, *shape[1:])
            parts.append(SparseArray.of_dense(part))
    return SparseArray.joined(parts)


def alike_in(definition: Mapping[str, Any], known: bool) -> dict[str, Any]:
    """The part of a definition in which joined sums must agree; layouts of files may differ.

    Args:
        definition: What was counted.
        known: Whether patients were given.
    """
    skipped = ("tool", "shard", "known_by", "patient_pattern", "prediction_name")
    alike = {key: value for key, value in definition.items() if key not in skipped}
    return dict(leaves(alike)) | {"patients": "known" if known else "unknown"}


def check_joined(parts: Sequence[Any], remedy: str) -> None:
    """Refuses to join sums whose definition differs from the first.

    Args:
        parts: Records or curves; ``counted()`` says what must be alike in them.
        remedy: What to do.

    Raises:
        InputError: If it refuses; it names the difference.
    """
    first, *rest = parts
    counted = first.counted()
    for other in rest:
        if unlike := first_of(differences(counted, other.counted())):
            raise InputError(f"{other.path}: differs from {first.path} in {unlike}; {remedy}")


def check_shards(parts: Sequence[Any]) -> None:
    """Refuses shards that are not all of one division of their study, each once; others go with any.

    A shard is called "1/2 of …", with the checksum of all names of the study; 0.4 did not write it.

    Raises:
        InputError: If one is missing, doubled, or of another division or study.
    """
    studies = defaultdict(list)
    for part in parts:
        shard, _, study = (part.definition.get("shard") or "").partition(" of ")
        if shard:
            studies[study].append((part.path, shard))
    for shards in studies.values():
        _check_division(shards)


def _check_division(shards: Sequence[tuple[Path, str]]) -> None:
    """Refuses shards of one study that are not all of one division, each once."""
    times = Counter(shard for _, shard in shards)
    division = {f"{k + 1}/{len(shards)}" for k in range(len(shards))}
    for path, shard in shards:
        if shard not in division or times[shard] > 1:
            raise InputError(
                f"{path}: is shard {shard} of those given of its study, {listed([*times])}; give all "
                "shards of one division together, each once"
            )


def bins_faults(bins: CalibrationBins) -> Faults:
    """The faults of equal bins: sums that no voxels give."""
    edges = np.linspace(0, 1, bins.num_bins + 1)
    counts, positives, confidences = bins.arrays().values()
    slack = _ROUNDED * counts + 1e-9
    return {
        "a count is negative": (counts < 0) | (positives < 0),
        "more voxels are right than there are": positives > counts,
        "a confidence is outside its bin": ~(
            (confidences >= counts * edges[:-1] - slack)
            & (confidences <= counts * edges[1:] + slack)
        ),
        "classes have other numbers of voxels": np.ptp(counts.sum(axis=-1), axis=-1)[..., None] > 0,
    }


def score_faults(scores: ScoreSums, top: CalibrationBins) -> Faults:
    """The faults of scores: sums that no voxels give, or of other voxels than the bins."""
    counts, (nll, brier) = scores.counts.numpy(), scores.scores.numpy().transpose(2, 0, 1)
    slack = _ROUNDED * counts + 1e-9
    return {
        "the scores are of other voxels": counts != top.counts.sum(-1).numpy(),
        "a score cannot be": ~((nll >= -slack) & (brier >= -slack) & (brier <= 2 * counts + slack)),
    }


def decision_faults(decisions: Decisions) -> Faults:
    """The faults of volumes that no voxels give, ``(cases, structures)``."""
    volumes = {name: tensor.numpy() for name, tensor in vars(decisions).items()}
    slack = _ROUNDED * sum(volumes.values()) + 1e-9
    parts = {
        "overlap": ("predicted", "labeled"),
        "expected_overlap": ("predicted", "expected"),
        "expected": ("expected_everywhere",),
        "missed": ("labeled",),
    }
    wrong: npt.NDArray[np.bool_] = np.any(
        [~(volume >= -slack) | np.isinf(volume) for volume in volumes.values()]
        + [volumes[part] > volumes[whole] + slack for part in parts for whole in parts[part]],
        axis=0,
    )
    return {"a volume cannot be": wrong}


def curve_faults(thresholds: Sums, counts: Sums, hits: Sums, sums: Sums) -> Faults:
    """The faults of curves with sums that no voxels give, ``(cases, structures)``.

    Args:
        thresholds: (K,).
        counts: As `nacl_monai.metrics.curves.Curves` has them, (N, S, K, M).
        hits: As there.
        sums: As there.
    """
    outside = [((part < 0) | (part >= 2**62)).any((2, 3)) for part in (counts, hits, sums)]
    voxels, labeled, probs = (  # of each threshold and margin alone
        -np.diff(np.diff(part, prepend=0, axis=3), append=0, axis=2)
        for part in (counts, hits, sums)
    )
    low, high = thresholds[:, None], np.append(thresholds[1:-1], [1 + _ROUNDED, 0])[:, None]
    expected, slack = probs / 2.0**32, 1e-6 * np.abs(voxels) + 1e-9
    return {
        "a count cannot be": np.any(outside, axis=0) | (voxels < 0).any((2, 3)),
        "a count of labeled voxels cannot be": ((labeled < 0) | (labeled > voxels)).any((2, 3)),
        "a sum of probabilities is not between its thresholds": (
            (expected < low * voxels - slack) | (expected > high * voxels + slack)
        ).any((2, 3)),
        "structures have other numbers of voxels": np.ptp(counts[:, :, 0, -1], axis=1)[:, None] > 0,
    }
