"""Curves count the voxels of every set, exactly, whatever the order of voxels, cases and sites."""

import json
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nacl_monai.errors import InputError
from nacl_monai.inference.promised import Levels, structure_levels
from nacl_monai.inference.records import MARGINS
from nacl_monai.metrics import read_curves
from nacl_monai.metrics.curves import THRESHOLDS, label_curve
from nacl_monai.metrics.sums_file import arrays_checksum
from nacl_monai.promises.cases import curves_of_arrays
from tests.same import same_bits, same_values

SUMS = ("counts", "hits", "sums")
ARRAYS = (*SUMS, "spacings")


def looped(inside, predicted, label, spacing, mask=None):
    """Every set by its definition, voxel by voxel; probabilities as whole numbers of any size."""
    places = np.argwhere(predicted) * np.array(spacing)
    shape = len(THRESHOLDS), len(MARGINS)
    curve = {name: np.zeros(shape, object) for name in SUMS}
    for index in np.ndindex(inside.shape):
        if mask is not None and not mask[index]:
            continue
        away = np.sqrt(((places - np.array(index) * spacing) ** 2).sum(1)).min(initial=np.inf)
        for k, threshold in enumerate(THRESHOLDS):
            for m, margin in enumerate(MARGINS):
                if inside[index] >= threshold and away <= margin + 1e-6:
                    curve["counts"][k, m] += 1
                    curve["hits"][k, m] += int(label[index])
                    curve["sums"][k, m] += int(np.rint(inside[index] * 2**32))
    return curve


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_thresholds_are_those_of_a_search(dtype):
    """At each threshold, at the numbers beside it, in between, at both ends and beyond 1."""
    steps = THRESHOLDS[1:-1].astype(dtype)
    beside = [np.nextafter(steps, dtype(end)) for end in (0, 2)]
    between = 1 / (1 + np.exp(-np.random.default_rng(0).uniform(-20, 20, 20_000)))
    ends = [0, 1, np.nextafter(dtype(1), dtype(2)), 1e-40]
    probs = np.concatenate([steps, *beside, between, ends]).astype(dtype)
    levels = Levels(probs, np.zeros(len(probs), np.int8))

    curve = label_curve(levels, np.zeros(len(probs), bool))

    expected = (probs.astype(float)[:, None] >= THRESHOLDS).sum(0)
    assert curve["counts"][:, 0].tolist() == expected.tolist()


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.7, 1.2)])
@pytest.mark.parametrize("masked", [False, True])
def test_curve_is_that_of_a_loop_to_the_bit(spacing, masked):
    """Of a union of two classes, with thresholds, margins and probabilities of 0 and 1 among them."""
    rng = np.random.default_rng(7)
    shape = (3, 6, 5)
    probs = rng.dirichlet([0.05, 0.05, 0.05], shape).astype(np.float32).transpose(3, 0, 1, 2)
    probs[:, :, :3] = np.array([0.9, 0.06, 0.04], np.float32)[:, None, None, None]
    probs[:, 0, 0, 0], probs[:, 0, 0, 1] = [1, 0, 0], [0, 1, 0]
    label = rng.random(shape) < 0.4
    mask = rng.random(shape) < 0.7 if masked else None
    inside = probs[1].astype(float) + probs[2].astype(float)
    predicted = np.isin(probs.argmax(0), [1, 2])

    (levels,) = structure_levels(torch.from_numpy(probs), {"both": (1, 2)}, spacing)
    curve = label_curve(levels, label, mask)

    expected = looped(inside, predicted, label, spacing, mask)
    for name in SUMS:
        assert curve[name].dtype == np.int64
        same_values(curve[name], expected[name])
    for k, margin in ((0, 0.0), (40, 2.0), (150, 8.0), (201, np.inf)):
        inside_set = levels.above(np.where(np.array(MARGINS) <= margin, THRESHOLDS[k], 2))
        counts = inside_set if mask is None else inside_set & mask
        assert counts.sum() == curve["counts"][k, MARGINS.index(margin)]


def test_structures_that_overlap_are_predicted_above_one_half():
    probs = torch.tensor([[[0.5, 0.6, 0.1]], [[0.9, 0.2, 0.7]]])

    first, second = structure_levels(probs, {"a": (0,), "b": (1,)}, (1.0, 1.0), overlapping=True)

    assert first.margins.tolist() == [[1, 0, 1]]
    assert second.margins.tolist() == [[0, 1, 0]]


def test_nothing_predicted_is_within_no_margin():
    """Only the set of all voxels has it."""
    probs = torch.tensor([[[0.8, 0.7]], [[0.2, 0.3]]])

    (levels,) = structure_levels(probs, {"a": (1,)}, (1.0, 1.0))

    assert (levels.margins == len(MARGINS) - 1).all()


def test_sums_are_exact_beyond_what_a_float_holds():
    """So many voxels of nearly 1 are more than 2^53 units, of which float64 loses the odd ones."""
    voxels = 2**21 + 2**12
    levels = Levels(np.full(voxels, 1 - 2.0**-32), np.zeros(voxels, np.int8))

    curve = label_curve(levels, np.ones(voxels, bool))

    assert curve["sums"][0, 0] == voxels * (2**32 - 1)


def some(cases, seed=0, patients=(), **options):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet([1, 1, 1], (len(cases), 4, 5)).transpose(0, 3, 1, 2).astype(np.float32)
    labels = rng.integers(0, 3, (len(cases), 4, 5))
    options = {"channels_as_given": True, **options}
    return curves_of_arrays(probs, labels, cases=cases, patients=patients, **options)


def test_volumes_and_dice_follow_from_the_curves():
    """By hand: 2 of 3 labeled voxels are predicted, of 4 that are predicted."""
    probs = np.array([[0.1, 0.2, 0.3, 0.4, 0.9, 0.98]])
    case = np.stack([probs, 1 - probs])
    label = np.array([[1, 1, 0, 0, 1, 0]])

    curves = curves_of_arrays([case], [label], spacing=(10.0, 50.0))

    assert curves.volumes.item() == pytest.approx(1.5)
    within = curves.expected_volumes[0, 0]
    assert within[0] == pytest.approx(0.5 * (0.9 + 0.8 + 0.7 + 0.6))
    assert within[-1] == pytest.approx(0.5 * 3.12)
    assert curves.dice.item() == pytest.approx(4 / 7)
    assert curves.expected_dice[0, 0, -1] == pytest.approx(2 * 3 / (4 + 3.12))


@pytest.mark.parametrize("floor", [0, 0.1, 0.4])
def test_dice_of_two_empty_structures_is_one(floor):
    """Nothing is expected of one that is not predicted, however likely each voxel far away is."""
    case = np.array([[[1.0 - floor] * 2], [[floor] * 2]])

    curves = curves_of_arrays([case], [np.zeros((1, 2), int)])

    assert curves.dice.item() == 1
    assert (curves.expected_dice == 0).all()


def taken(curves, rows):
    """Some of the cases, in this order."""
    names = {key: [getattr(curves, key)[row] for row in rows] for key in ("cases", "patients")}
    return replace(curves, **names, **{key: getattr(curves, key)[rows] for key in ARRAYS})


@settings(max_examples=25)
@given(st.permutations(range(6)), st.integers(1, 3))
def test_merged_is_pooled_to_the_bit(order, first):
    """Whatever site has which cases, in whatever order."""
    whole = some([f"case_{k}" for k in range(6)], patients=list("aabbcd"))
    patients = "abcd"[:first]
    at_first = [row for row in order if whole.patients[row] in patients]
    elsewhere = [row for row in order if whole.patients[row] not in patients]

    merged = taken(whole, at_first).joined([taken(whole, elsewhere)])

    assert (merged.cases, merged.patients) == (whole.cases, whole.patients)
    for name in ARRAYS:
        same_bits(getattr(merged, name), getattr(whole, name), "integer sums in the same order")


def test_what_is_written_is_read(tmp_path):
    curves = some(["a", "b"], patients=["p", "q"])

    read = read_curves(curves.write(tmp_path / "promise.npz"))

    assert (read.cases, read.structures, read.patients) == (
        ["a", "b"],
        curves.structures,
        ["p", "q"],
    )
    assert read.definition == curves.definition
    for name in SUMS:
        same_bits(getattr(read, name), getattr(curves, name), "read back as written")


def test_curves_are_read_without_torch(tmp_path):
    """Which takes seconds to import; whatever makes promises of them starts at once."""
    file = some(["a"]).write(tmp_path / "promise.npz")
    code = (
        "import sys; from nacl_monai.metrics.curves import read_curves\n"
        f"curves = read_curves({str(file)!r})\n"
        "print(curves.cases, [name for name in ('monai', 'torch', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "['a'] []\n"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda arrays: arrays["hits"].__setitem__((0, 0, 0, 0), 0), "its checksum differs"),
        (lambda arrays: arrays.pop("sums"), "no array sums"),
    ],
)
def test_edited_file_is_refused(tmp_path, change_arrays, change, line):
    path = some(["a"]).write(tmp_path / "promise.npz")
    change_arrays(path, change)

    with pytest.raises(InputError, match=line):
        read_curves(path)


@pytest.mark.parametrize(
    ("other", "line"),
    [
        (some(["b"], classes=["x", "y", "z"]), "differs from"),
        (some(["a"]), "'a' of its cases is in another file"),
        (some(["b"], patients=["p"]), "patients"),
    ],
)
def test_unlike_curves_are_not_merged(other, line):
    with pytest.raises(InputError, match=line):
        some(["a"]).joined([other])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"labels": np.zeros((1, 4, 5), int)}, r"labels: .*1 for 2 cases"),
        ({"cases": ["a", "a"]}, "cases: two are called 'a'"),
        ({"cases": ["a", "=1+1"]}, "takes for a formula"),
        ({"cases": ["a"]}, "cases: 1 names for 2 cases"),
        ({"patients": ["p"]}, "patients: 1 names for 2 cases"),
        ({"patients": ["a", ""]}, "that of case number 2 is missing"),
        ({"spacing": (1.0, 1.0, 0.0)}, "spacing: is"),
        ({"classes": ["x"]}, "classes: 1 names for 3 channels"),
        ({"probs": np.full((2, 3, 4, 5), 0.5)}, "sum"),
        ({"probs": np.zeros((0, 3, 4, 5)), "labels": []}, "hold no case"),
    ],
)
def test_arrays_that_cannot_be_meant_are_refused(change, line):
    arrays = {"probs": np.full((2, 3, 4, 5), 1 / 3), "labels": np.zeros((2, 4, 5), int)}

    with pytest.raises(InputError, match=line):
        curves_of_arrays(**arrays | change)


def crafted(path, change):
    """Changes a file, and gives it the checksum that it then has."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files if name != "checksum"}
    definition = json.loads(str(arrays["definition"]))
    change(arrays, definition)
    arrays["definition"] = np.array(json.dumps(definition))
    arrays["checksum"] = np.array(arrays_checksum(arrays))
    np.savez(path, **arrays)
    return path


def at(name, value, place=(0, 0, 0, 0)):
    return lambda arrays, _: arrays[name].__setitem__(place, value)


@pytest.mark.parametrize(
    "change",
    [
        at("counts", -1),
        at("counts", 2**63 - 1),
        at("hits", 1000),
        at("hits", -1, (0, 0, -1, 0)),
        at("sums", 2**60),
        at("sums", -5),
        at("counts", 1, (0, 0, 201, 6)),  # above what no voxel reaches
        at("counts", 0, (0, 0, 0, 6)),  # fewer than within a margin
        lambda arrays, _: arrays["counts"].sort(axis=2),  # rising with the threshold
        lambda arrays, _: arrays["spacings"].fill(np.nan),
        lambda arrays, _: arrays["spacings"].fill(-1),
        lambda arrays, _: arrays.update(counts=arrays["counts"].astype(float)),
        lambda arrays, _: arrays.update(hits=arrays["hits"][:, :, 1:]),
        lambda arrays, _: arrays.update(cases=np.array(["a"])),
        lambda arrays, _: arrays.update(cases=np.array(["a", "a"])),
        lambda arrays, _: arrays.update(cases=np.array(["a", "../b"])),
        lambda arrays, _: arrays.update(cases=np.array([1, 2])),
        lambda arrays, _: arrays.update(patients=np.array(["p"])),
        lambda arrays, _: arrays.update(structures=np.array(["x", "y"])),
        lambda _, definition: definition.update(structures={"x/../y": [1], "class_2": [2]}),
        lambda _, definition: definition.update(structures={"class_1": [1], "class_2": [9]}),
        lambda _, definition: definition.update(logits=[-16, 16, 100]),
        lambda _, definition: definition.update(weights=5),
        lambda _, definition: definition.update(shard="x"),
        lambda _, definition: definition.clear(),
    ],
)
def test_crafted_file_has_a_right_checksum_and_is_refused(tmp_path, change):
    """In one line: no voxels give such sums, or the next file would be another one."""
    path = crafted(some(["a", "b"]).write(tmp_path / "promise.npz"), change)

    with pytest.raises(InputError) as caught:
        read_curves(path)
    assert str(caught.value).startswith(f"{path}: is not as it was written, ")
    assert "\n" not in str(caught.value)


def test_probabilities_that_sum_to_a_little_more_than_one_are_read(tmp_path):
    """As those of several classes do in half precision."""
    probs = np.full((1, 3, 2, 2), [[[[0.0]], [[0.5005]], [[0.5]]]], np.float16)
    curves = curves_of_arrays(probs, np.ones((1, 2, 2), int))

    assert read_curves(curves.write(tmp_path / "promise.npz")).cases == curves.cases


def identified(case, seed=0, **identity):
    """Curves of one case that say whose they are."""
    curves = some([case], seed)
    return replace(curves, definition={**curves.definition, **identity})


@pytest.mark.parametrize(
    ("shards", "line"),
    [
        (["1/2", "2/2"], None),
        (["2/2", "1/2", None], None),
        (["1/1"], None),
        (["1/2"], "is shard 1/2"),
        (["1/3", "3/3"], "is shard 1/3"),
        (["1/2", "1/2"], "is shard 1/2"),
        (["1/12", "2/3"], "is shard 1/12"),
    ],
)
def test_shards_are_joined_once_each_and_all(shards, line):
    """Patients that are missing, or of another division, would show nowhere."""
    first, *rest = (identified(f"c{k}", k, shard=shard) for k, shard in enumerate(shards))

    with pytest.raises(InputError, match=line) if line else nullcontext():
        whole = first.joined(rest)
        assert whole.definition["shard"] is None
        assert whole.cases == [f"c{k}" for k in range(len(shards))]


@pytest.mark.parametrize("key", ["weights", "split", "run"])
def test_curves_of_another_model_are_not_joined(key):
    """But predictions of one model in two layouts are."""
    ours, theirs = identified("a", **{key: "x"}), identified("b", 1, **{key: "y"})

    with pytest.raises(InputError, match=rf"differs from .* in {key} \(x, now y\)"):
        ours.joined([theirs])
    assert identified("a", tool="npz").joined([identified("b", 1, tool="nifti")]).cases == [
        "a",
        "b",
    ]


def test_file_of_an_earlier_version_is_refused(tmp_path):
    """Nobody knows of which network it is."""

    def forget(_, definition):
        for key in ("weights", "split", "run", "shard"):
            del definition[key]

    path = crafted(some(["a"]).write(tmp_path / "promise.npz"), forget)

    with pytest.raises(InputError, match=f"{path}: .*its 'definition' cannot be; make it again"):
        read_curves(path)
