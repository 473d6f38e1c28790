"""Splits are disjoint by patient, exact in size, repeatable, and live in a file."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nacl_monai.data import read_split, split_cases, split_patients
from nacl_monai.errors import InputError

PAPER = {"train": 70, "val": 10, "test": 20}


def cases_of(patients, frames=2):
    return [
        {"case": f"{patient}_{frame}", "patient": patient, "image": "", "label": ""}
        for patient in patients
        for frame in range(frames)
    ]


@pytest.mark.parametrize(
    ("patients", "proportions", "expected"),
    [
        (100, PAPER, (70, 10, 20)),
        (260, PAPER, (182, 26, 52)),
        (335, {"train": 235, "val": 35, "test": 65}, (235, 35, 65)),
        (3, PAPER, (1, 1, 1)),
    ],
)
def test_official_sizes(patients, proportions, expected):
    """With the official number of patients the sets have exactly the published sizes."""
    split = split_patients([f"p{n}" for n in range(patients)], proportions, seed=0)

    assert expected == tuple(len(split[part]) for part in ("train", "val", "test"))


@given(
    patients=st.sets(st.text(min_size=1), min_size=3, max_size=60),
    weights=st.tuples(*[st.integers(1, 100)] * 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_partition(patients, weights, seed):
    """Every patient is in exactly one set, no set is empty, sizes are within one of proportional."""
    proportions = dict(zip(("train", "val", "test"), weights, strict=True))

    split = split_patients(list(patients), proportions, seed)

    assert sorted(patients) == sorted(name for names in split.values() for name in names)
    for part, weight in proportions.items():
        share = len(patients) * weight / sum(weights)
        assert len(split[part]) >= 1
        if min(len(patients) * w / sum(weights) for w in weights) >= 1:
            assert abs(len(split[part]) - share) < 1


@given(seed=st.integers(0, 1000), order=st.randoms())
def test_seed(seed, order):
    """The split depends on the seed and the set of patients, not on their order."""
    patients = [f"p{n}" for n in range(20)]
    shuffled = patients * 2
    order.shuffle(shuffled)

    assert split_patients(patients, PAPER, seed) == split_patients(shuffled, PAPER, seed)
    assert split_patients(patients, PAPER, seed) != split_patients(patients, PAPER, seed + 1)


def test_too_few():
    """Fewer patients than sets cannot be split."""
    with pytest.raises(InputError, match="2 patient"):
        split_patients(["a", "b"], PAPER, 0)


def test_frames_stay_together(tmp_path):
    """All cases of a patient are in the patient's set."""
    cases = cases_of([f"p{n}" for n in range(10)])

    split = split_cases(cases, PAPER, 0, tmp_path / "split.json")

    assert sorted(case["case"] for case in cases) == sorted(
        case["case"] for part in split.values() for case in part
    )
    patients = [{case["patient"] for case in part} for part in split.values()]
    assert sum(map(len, patients)) == len(set.union(*patients))


def test_written_and_read(tmp_path):
    """The drawn split is written, and the file is followed from then on whatever the seed."""
    cases = cases_of([f"p{n}" for n in range(10)])
    file = tmp_path / "run" / "split.json"

    drawn = split_cases(cases, PAPER, 0, file)

    assert drawn == read_split(cases, file)
    assert drawn == split_cases(cases, PAPER, 1, file)
    assert {part: len(names) for part, names in json.loads(file.read_text()).items()} == {
        "train": 7,
        "val": 1,
        "test": 2,
    }


def test_own_split(tmp_path):
    """A split written by hand is followed; patients that it leaves out are left out."""
    file = tmp_path / "split.json"
    file.write_text('{"train": ["p3"], "val": ["p1"], "test": ["p2"]}')

    split = split_cases(cases_of(["p1", "p2", "p3", "p4"], frames=1), PAPER, 0, file)

    assert {part: [case["patient"] for case in cases] for part, cases in split.items()} == {
        "train": ["p3"],
        "val": ["p1"],
        "test": ["p2"],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a split"),
        ("[1, 2]", "is not a split"),
        ('{"train": 3}', "is not a split"),
        ('{"train": ["p1"], "test": ["p1"]}', "patient p1 is listed twice"),
        ('{"train": ["p9"]}', "patient p9 is not in the data set"),
    ],
)
def test_unusable_file(tmp_path, text, message):
    """A file that is no split of these patients is refused, and says why."""
    file = tmp_path / "split.json"
    file.write_text(text)

    with pytest.raises(InputError, match=f"split.json: {message}"):
        read_split(cases_of(["p1", "p2"]), file)


def test_missing_file(tmp_path):
    """Reading a split that no training has written says to train first."""
    with pytest.raises(InputError, match="no split there; .* train first"):
        read_split(cases_of(["p1"]), tmp_path / "split.json")
