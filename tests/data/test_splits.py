"""Splits are disjoint by patient, exact in size, repeatable, and live in a file."""

import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nacl_monai.data import leave_one_out, read_split, split_cases, split_patients
from nacl_monai.errors import InputError

PAPER = {"train": 70, "val": 10, "test": 20}


def draw(seed=0):
    return partial(split_patients, proportions=PAPER, seed=seed)


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
        (361, {"train": 240, "val": 40, "test": 80}, (241, 40, 80)),
        (210, {"train": 150, "val": 25, "test": 35}, (150, 25, 35)),
        (32, {"train": 22, "val": 3, "test": 7}, (22, 3, 7)),
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


@given(patients=st.sets(st.text(min_size=1), min_size=3, max_size=20))
def test_leave_one_out(patients):
    """Over the folds every patient is tested once and validates once, and trains in all others."""
    folds = [leave_one_out(sorted(patients) * 2, fold) for fold in range(len(patients))]

    for part in ("test", "val"):
        assert sorted(patients) == sorted(name for fold in folds for name in fold[part])
    for fold in folds:
        assert sorted(patients) == sorted(name for names in fold.values() for name in names)
        assert all(names == sorted(names) for names in fold.values())


@pytest.mark.parametrize(
    ("patients", "fold", "message"),
    [("abc", 3, "fold 3: .*choose from 0 to 2"), ("abc", -1, "fold -1"), ("ab", 0, "at least 3")],
)
def test_impossible_fold(patients, fold, message):
    """A fold that is not there, and too few patients, are refused."""
    with pytest.raises(InputError, match=message):
        leave_one_out(list(patients), fold)


class TestFractions:
    @given(patients=st.integers(4, 60), seed=st.integers(0, 100))
    def test_nested(self, patients, seed, tmp_path_factory):
        """Smaller shares are subsets of larger ones; validation and test do not change."""
        cases = cases_of([f"p{n}" for n in range(patients)])
        folder = tmp_path_factory.mktemp("splits")
        drawn = draw(seed)([case["patient"] for case in cases])
        before = set()
        for fraction in (0.25, 0.5, 0.75, 1.0):
            file = folder / f"{fraction}.json"
            used = split_cases(cases, draw(seed), file, fraction, seed)
            names = {part: sorted({case["patient"] for case in of}) for part, of in used.items()}

            assert names == json.loads(file.read_text())
            assert (names["val"], names["test"]) == (drawn["val"], drawn["test"])
            assert before <= set(names["train"]) <= set(drawn["train"])
            assert len(names["train"]) == max(1, round(fraction * len(drawn["train"])))
            before = set(names["train"])
        assert before == set(drawn["train"])

    def test_seed(self, tmp_path):
        """Another seed keeps other patients, also of the same drawn split."""
        cases = cases_of([f"p{n}" for n in range(40)])
        kept = [
            split_cases(cases, draw(), tmp_path / f"{seed}.json", 0.5, seed)["train"]
            for seed in (0, 1)
        ]

        assert kept[0] != kept[1]

    @pytest.mark.parametrize("fraction", [0, -0.5, 1.5, 25])
    def test_impossible(self, tmp_path, fraction):
        """A share that is none is refused, and nothing is written."""
        with pytest.raises(InputError, match="train_fraction .* above 0 and at most 1"):
            split_cases(cases_of("abc"), draw(), tmp_path / "split.json", fraction)
        assert not list(tmp_path.iterdir())


def test_frames_stay_together(tmp_path):
    """All cases of a patient are in the patient's set."""
    cases = cases_of([f"p{n}" for n in range(10)])

    split = split_cases(cases, draw(), tmp_path / "split.json")

    assert sorted(case["case"] for case in cases) == sorted(
        case["case"] for part in split.values() for case in part
    )
    patients = [{case["patient"] for case in part} for part in split.values()]
    assert sum(map(len, patients)) == len(set.union(*patients))


def test_written_and_read(tmp_path):
    """The drawn split is written, and the file is followed from then on whatever the seed."""
    cases = cases_of([f"p{n}" for n in range(10)])
    file = tmp_path / "run" / "split.json"

    drawn = split_cases(cases, draw(), file)

    assert drawn == read_split(cases, file)
    assert drawn == split_cases(cases, draw(seed=1), file)
    assert {part: len(names) for part, names in json.loads(file.read_text()).items()} == {
        "train": 7,
        "val": 1,
        "test": 2,
    }


def test_own_split(tmp_path):
    """A split written by hand is followed; patients that it leaves out are left out."""
    file = tmp_path / "split.json"
    file.write_text('{"train": ["p3"], "val": ["p1"], "test": ["p2"]}')

    split = split_cases(cases_of(["p1", "p2", "p3", "p4"], frames=1), draw(), file)

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
        ('{"train": ["p9"]}', "patient p9 is not in the dataset"),
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
    with pytest.raises(InputError, match="there is no split; .* train first"):
        read_split(cases_of(["p1"]), tmp_path / "split.json")
