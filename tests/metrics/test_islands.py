"""Islands against a slow loop, scipy and MONAI, and as a file that joins."""

from dataclasses import replace

import numpy as np
import pytest
import scipy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import DiceMetric

from nacl_monai.errors import InputError
from nacl_monai.metrics.curves import curves_definition
from nacl_monai.metrics.islands import count_islands, joined_islands, label_islands, read_islands
from tests.same import same_bits, same_values

NAMES = ("labeled", "mm3", "score", "hit")


def flooded(mask):
    """The islands of a mask as sets of voxels: each begins at a voxel and takes all that touch it."""
    left, islands = {tuple(voxel) for voxel in np.argwhere(mask).tolist()}, []
    while left:
        island, new = set(), {min(left)}
        while new:
            island |= new
            new = {
                voxel
                for voxel in left - island
                if any(max(map(abs, np.subtract(voxel, v))) < 2 for v in new)
            }
        islands.append(island)
        left -= island
    return islands


def slow(predicted, probs, labeled, voxel, least):
    """The rows of all islands, in any order."""
    found, true = flooded(predicted), flooded(labeled)
    peaks = [max(probs[v] for v in island) for island in found]
    rows = [
        (False, len(island) * voxel, peak, any(labeled[v] for v in island))
        for island, peak in zip(found, peaks, strict=True)
    ]
    for island in true:
        best = [peak for other, peak in zip(found, peaks, strict=True) if island & other]
        rows.append((True, len(island) * voxel, max(best, default=0.0), bool(best)))
    return sorted(row for row in rows if row[1] >= least)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from([(7, 6), (5, 4, 6)]),
    share=st.sampled_from([0.05, 0.15, 0.3]),
    least=st.sampled_from([0.0, 3.0, 5.0]),
    seed=st.integers(0, 10**6),
)
def test_islands_are_those_of_a_slow_loop(shape, share, least, seed):
    rng = np.random.default_rng(seed)
    predicted, labeled = rng.uniform(size=(2, *shape)) < share
    probs = rng.uniform(size=shape)

    rows = count_islands(predicted, probs, labeled, 1.5, least)

    columns = [rows[name].tolist() for name in NAMES]
    assert sorted(zip(*columns, strict=True)) == slow(predicted, probs, labeled, 1.5, least)


@pytest.mark.parametrize("axes", [2, 3])
def test_islands_are_those_of_scipy(axes):
    mask = np.random.default_rng(0).uniform(size=(12,) * axes) < 0.1
    everywhere = scipy.ndimage.generate_binary_structure(axes, axes)

    ours, theirs = label_islands(mask), scipy.ndimage.label(mask, everywhere)

    assert ours[1] == theirs[1]
    same_values(ours[0], theirs[0])


@pytest.mark.filterwarnings("ignore:Voronoi computation is running on CPU")
@pytest.mark.parametrize("seed", range(4))
def test_found_ones_are_those_of_monais_dice_by_component(seed):
    """Where some labeled islands are predicted as they are, its mean is the share that is found."""
    rng = np.random.default_rng(seed)
    labeled = np.zeros((20, 20, 20), bool)
    for place in np.ndindex(4, 4, 4):
        if rng.uniform() < 0.4:
            labeled[tuple(slice(5 * k, 5 * k + rng.integers(1, 4)) for k in place)] = True
    numbers, count = label_islands(labeled)
    predicted = np.isin(numbers, rng.permutation(count)[: count // 2] + 1)
    metric = DiceMetric(per_component=True, include_background=False)
    pair = (np.stack([~mask, mask])[None].astype(np.float32) for mask in (predicted, labeled))

    rows = count_islands(predicted, predicted * 0.9, labeled, 1.0)

    mean = float(metric(*map(torch.from_numpy, pair)))
    assert rows["hit"][rows["labeled"]].mean() == pytest.approx(mean)
    assert rows["hit"][~rows["labeled"]].all()


def test_island_that_meets_one_too_small_to_count_is_real():
    """Overlap is decided before the small ones are left out."""
    labeled = np.array([[0, 1, 0, 0, 0, 0]]) > 0
    predicted = np.array([[1, 1, 0, 0, 0, 0]]) > 0

    rows = count_islands(predicted, predicted * 0.7, labeled, 1.0, least=2.0)

    assert [rows[name].tolist() for name in NAMES] == [[False], [2.0], [0.7], [True]]


def islands(cases, patients=(), shard=None, least=0.0, seed=0):
    """Of two structures; the first case has none."""
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(len(cases)):
        masks = rng.uniform(size=(2, 2, 5, 5)) < (0.2 if k else 0)
        rows.append(
            [
                count_islands(mask, rng.uniform(size=mask.shape), true, 1.0, least)
                for mask, true in masks
            ]
        )
    names = {"a": [1], "b": [2]}
    definition = curves_definition({"outside": [0], **names}, names, "softmax", "tool", shard=shard)
    definition |= {"minimum_mm3": least, "score": "Largest probability"}
    return joined_islands(cases, rows, patients, definition)


def test_islands_are_read_as_they_were_written(tmp_path):
    record = islands(["x", "y", "z"], ["p", "q", "q"])

    read = read_islands(record.write(tmp_path / "components.npz"))

    same_bits(read.rows, record.rows, "read back as written")
    assert (read.cases, read.patients, read.known) == (record.cases, record.patients, True)
    assert read.counted() == record.counted()


def test_joined_islands_are_those_of_all_cases_by_name():
    whole = islands(["u", "v", "w", "x"], list("pqrs"))
    order = [1, 3], [0, 2]
    parts = []
    for number, chosen in enumerate(order, 1):
        rows = whole.rows[whole.rows["case"].isin(chosen)].copy()
        rows["case"] = rows["case"].map({case: k for k, case in enumerate(chosen)})
        definition = {**whole.definition, "shard": f"{number}/2"}
        names = [[listed[k] for k in chosen] for listed in (whole.cases, whole.patients)]
        parts.append(
            replace(whole, rows=rows, cases=names[0], patients=names[1], definition=definition)
        )

    joined = parts[0].joined(parts[1:])

    assert (joined.cases, joined.patients) == (whole.cases, whole.patients)
    same_bits(joined.named, whole.named, "the same rows in the same order")


def test_islands_of_other_definitions_are_not_joined():
    for other in (islands(["y"], ["q"], least=2.0), islands(["y"])):
        with pytest.raises(InputError, match="differs from"):
            islands(["x"], ["p"]).joined([other])
    with pytest.raises(InputError, match="shard"):
        islands(["x"], ["p"], "1/2").joined([islands(["y"], ["q"], "1/2")])


@pytest.mark.parametrize(
    ("column", "value"), [("case", 7), ("structure", -1), ("score", 1.5), ("mm3", -1.0)]
)
def test_rows_that_no_voxels_give_are_refused(column, value, tmp_path):
    record = islands(["x", "y"], ["p", "q"])
    rows = record.rows.copy()
    rows.loc[0, column] = value
    file = replace(record, rows=rows).write(tmp_path / "components.npz")

    with pytest.raises(InputError, match="is not as it was written, its rows cannot be"):
        read_islands(file)
