"""Splits are disjoint by patient, exact in size, repeatable, and live in a file."""

import json
import re
from fractions import Fraction
from functools import partial
from itertools import islice
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nacl_monai.data import (
    complete_split,
    is_drawn,
    leave_one_out,
    read_split,
    split_by_folds,
    split_cases,
    split_patients,
)
from nacl_monai.errors import InputError, SettingError
from tests.conftest import refused

PAPER = {"train": 70, "val": 10, "test": 20}


def draw(seed=0):
    return partial(split_patients, proportions=PAPER, seed=seed)


def cases_of(patients, frames=2):
    return [
        {"case": f"{patient}_{frame}", "patient": patient, "image": "", "label": ""}
        for patient in patients
        for frame in range(frames)
    ]


def apportioned(total, weights):
    """Largest remainders in exact arithmetic, the earlier set first in a tie; every set gets one.

    The patient that a set still lacks is taken from the largest set.
    """
    quotas = [Fraction(total) * weight / sum(weights) for weight in weights]
    sizes = [floor(quota) for quota in quotas]
    by_remainder = sorted(range(len(sizes)), key=lambda part: sizes[part] - quotas[part])
    for part in by_remainder[: total - sum(sizes)]:
        sizes[part] += 1
    while 0 in sizes:
        sizes[sizes.index(max(sizes))] -= 1
        sizes[sizes.index(0)] += 1
    return sizes


def shuffled(names, seed):
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(names))
    return [names[i] for i in order]


def dealt(patients, proportions, seed):
    """The split as a dealer makes it: shuffle the sorted names, hand them out set by set."""
    hands = iter(shuffled(sorted(set(patients)), seed))
    sizes = apportioned(len(set(patients)), list(proportions.values()))
    return {
        part: sorted(islice(hands, size)) for part, size in zip(proportions, sizes, strict=True)
    }


def sets_in(file):
    """The sets in a split's file, without the word on how they were drawn."""
    content = json.loads(file.read_text())
    content.pop("drawn", None)
    return content


class TestSizes:
    @pytest.mark.parametrize(
        ("patients", "weights", "expected"),
        [
            # quotas 1.5, 1.5: the earlier set takes the odd one
            (3, (1, 1), (2, 1)),
            # quotas 1.5 each, two to hand out: the first two sets take them
            (6, (1, 1, 1, 1), (2, 2, 1, 1)),
            # quotas 4.75, 1.58…, 4.75, …: in order, however many sets
            (190, (3, 1) * 30, (5, 2) * 10 + (5, 1) * 20),
            # quotas 2.5, 1.25, 1.25: the largest remainder, not the smallest set
            (5, (2, 1, 1), (3, 1, 1)),
            # quotas 1.25, 1.25, 2.5: nor the first set
            (5, (1, 1, 2), (1, 1, 3)),
            # quotas 3.8, 0.1, 0.1: what an empty set lacks is taken from the largest
            (4, (38, 1, 1), (2, 1, 1)),
            # quotas 0.05, 4.9, 0.05: wherever that is
            (5, (1, 98, 1), (1, 3, 1)),
            # quotas 0.04…, 2.48, 2.48, rounded to 0, 3, 2: of these two, the larger
            (5, (1, 60, 60), (1, 2, 2)),
        ],
    )
    def test_ties_and_small_sets_are_settled_in_order(self, patients, weights, expected):
        """Remainders decide, then the order of the sets; every set has a patient."""
        proportions = {f"set{n}": weight for n, weight in enumerate(weights)}

        split = split_patients([f"p{n}" for n in range(patients)], proportions, seed=0)

        assert expected == tuple(map(len, split.values()))

    def test_as_many_patients_as_sets_are_enough(self):
        """Each set has one."""
        split = split_patients("abc", PAPER, 0)
        assert sorted(name for names in split.values() for name in names) == ["a", "b", "c"]

    @pytest.mark.parametrize(
        "weights", [(70, -10, 20), (0, 0, 0), (float("nan"), 1, 1), (float("inf"), 1, 1)]
    )
    def test_proportions_that_are_none_are_refused(self, weights):
        """Sets would overlap, or take everybody; a share of 0 is one patient."""
        line = r"^split_proportions: are .*; write numbers of 0 or more"
        with pytest.raises(InputError, match=line):
            split_patients("abcdefgh", dict(zip(PAPER, weights, strict=True)), 0)

        split = split_patients("abcdefgh", {"train": 1, "val": 0}, 0)
        assert [len(names) for names in split.values()] == [7, 1]


class TestDraw:
    def test_split_of_ten_is_the_one_on_paper(self):
        """PCG64 seeded with 0 permutes ten as 4 6 2 7 3 5 9 | 0 | 8 1; names are dealt in this order.

        So they are in every version of NumPy.
        """
        assert split_patients([f"p{n}" for n in range(10)], PAPER, seed=0) == {
            "train": ["p2", "p3", "p4", "p5", "p6", "p7", "p9"],
            "val": ["p0"],
            "test": ["p1", "p8"],
        }

    @given(
        patients=st.sets(st.text("abc019_", min_size=1), min_size=4, max_size=40),
        weights=st.lists(st.sampled_from([1, 2, 4, 8, 16]), min_size=1, max_size=4),
        seed=st.integers(0, 2**32 - 1),
    )
    def test_split_is_that_of_a_dealer(self, patients, weights, seed):
        """The sorted names, shuffled by the seed, are dealt out set by set, and sorted again."""
        total = sum(weights)
        weights[-1] += 2 ** (total - 1).bit_length() - total  # shares that floats hold exactly
        proportions = {f"set{n}": weight for n, weight in enumerate(weights)}

        expected = dealt(patients, proportions, seed)

        drawn = split_patients(list(patients), proportions, seed)
        assert list(expected.items()) == list(drawn.items())


@settings(max_examples=25)
@given(patients=st.lists(st.text(min_size=1), min_size=3, max_size=12, unique=True))
def test_left_out_is_one_patient_and_the_next_validates(patients):
    """Over the folds each patient is tested once; names are sorted, the first follows the last."""
    names = sorted(patients)
    for fold, name in enumerate(names):
        split = leave_one_out(patients * 2, fold)
        following = (names + names)[fold + 1]
        remaining = [other for other in names if other not in (name, following)]

        assert split == {"train": remaining, "val": [following], "test": [name]}
        assert list(split) == ["train", "val", "test"]


class TestFractions:
    @given(
        patients=st.integers(4, 60),
        fraction=st.floats(0, 1, exclude_min=True),
        seed=st.integers(0, 2**32 - 1),
    )
    def test_kept_patients_are_the_first_of_a_shuffle(
        self, patients, fraction, seed, tmp_path_factory
    ):
        """So that smaller shares are subsets of larger ones; validation and test do not change."""
        cases = cases_of([f"p{n:02d}" for n in range(patients)], frames=1)
        file = tmp_path_factory.mktemp("splits") / "split.json"
        expected = draw(seed=1)([case["patient"] for case in cases])
        train = expected["train"]
        expected["train"] = sorted(shuffled(train, seed)[: max(1, round(fraction * len(train)))])

        used = split_cases(cases, draw(seed=1), file, fraction, seed)

        names = {part: [case["patient"] for case in members] for part, members in used.items()}
        assert names == sets_in(file) == expected

    @pytest.mark.parametrize("fraction", [0, -0.5, 1.001, 25, float("nan")])
    def test_impossible_shares_are_refused(self, tmp_path, fraction):
        """A share that is none is refused, and nothing is written."""
        message = rf"^train_fraction {fraction}: .* above 0 and at most 1$"
        with pytest.raises(InputError, match=message):
            split_cases(cases_of("abc"), draw(), tmp_path / "split.json", fraction)
        assert not list(tmp_path.iterdir())


class TestFile:
    def test_frames_of_a_patient_stay_together(self, tmp_path):
        """All cases of a patient are in the patient's set, in the order of the cases."""
        cases = cases_of([f"p{n}" for n in range(10)])

        split = split_cases(cases, draw(), tmp_path / "split.json")

        for part, patients in sets_in(tmp_path / "split.json").items():
            assert split[part] == [case for case in cases if case["patient"] in patients]

    @pytest.mark.parametrize(
        ("name", "alike"),
        [
            ("p{}_left p{}_right", True),
            ("sub-{}-1 sub-{}-2", True),
            ("case_{}a case_{}b", False),
            ("site1_{}a site1_{}b", False),
        ],
    )
    def test_scans_that_begin_alike_in_two_sets_get_a_warning(self, tmp_path, capsys, name, alike):
        """Unless somebody says whose they are; numbers of cases, and of a hospital, are none."""
        names = [pattern.format(n) for n in range(20) for pattern in name.split()]
        cases = [{"case": name, "image": "", "label": ""} for name in names]
        split_cases(cases, draw(), tmp_path / "split.json")
        warned = capsys.readouterr().err
        assert ("are in two sets, and begin alike; if they are of one person" in warned) == alike

        people = [{**case, "patient": f"p{k // 2}"} for k, case in enumerate(cases)]
        split_cases(people, draw(), tmp_path / "people.json")
        assert capsys.readouterr().err == ""

    def test_drawn_split_is_written_with_how_it_was_drawn(self, tmp_path):
        """The file names the sets in order, a patient a line, and then everything that decided."""
        cases = cases_of([f"p{n}" for n in range(10)])
        file = tmp_path / "run" / "split.json"

        drawn = split_cases(cases, draw(seed=3), file, 0.5, seed=4)

        assert drawn == read_split(cases, file) == split_cases(cases, draw(seed=3), file, 0.5, 4)
        sizes = [(part, len(names)) for part, names in sets_in(file).items()]
        assert sizes == [("train", 4), ("val", 1), ("test", 2)]
        how = {"by": "split_patients", "proportions": PAPER, "seed": 3}
        how |= {"train_fraction": 0.5, "train_seed": 4, "patients": 10}
        assert json.loads(file.read_text())["drawn"] == how
        lines = file.read_text().splitlines()
        assert lines[:3] == ["{", '  "train": [', '    "p0",']
        assert file.read_text().endswith("}\n")
        assert is_drawn(file)

    @pytest.mark.parametrize(
        ("again", "named"),
        [
            ({"draw": draw(seed=1)}, "seed (0, now 1)"),
            (
                {"draw": partial(split_patients, proportions={**PAPER, "test": 70}, seed=0)},
                f"proportions ({PAPER}, now { ({**PAPER, 'test': 70}) })",
            ),
            ({"train_fraction": 0.5}, "train_fraction (1.0, now 0.5)"),
            ({"cases": cases_of("abcdefghijklmno")}, "patients (10, now 15)"),
            ({"cases": cases_of("abcdefghiz")}, "patients, or changed by hand since"),
            (
                {"draw": partial(leave_one_out, fold=3)},
                "by (split_patients, now leave_one_out), fold (None, now 3)",
            ),
        ],
        ids=["seed", "proportions", "fraction", "more", "renamed", "fold"],
    )
    def test_split_that_was_drawn_otherwise_is_refused(self, tmp_path, again, named):
        """What decided then and what decides now are named, with a way out; the file stays."""
        file = tmp_path / "split.json"
        asked = {"cases": cases_of("abcdefghij"), "draw": draw(), "file": file}
        split_cases(**asked)
        before = file.read_text()

        assert refused(split_cases, **{**asked, **again}) == (
            f"{file}: was drawn with other {named}; remove it to draw another, or take 'drawn' out "
            "of it to follow it as it is"
        )
        assert file.read_text() == before

    def test_sets_that_overlap_are_not_drawn(self, tmp_path):
        """A function of one's own that puts a patient into two sets is refused; nothing is written."""

        def both(patients):
            return {"train": list(patients), "val": list(patients[:1]), "test": []}

        line = refused(split_cases, cases_of("abc", frames=1), both, tmp_path / "split.json")

        assert line == "draw_split: patient a is listed twice; list each patient once"
        assert not list(tmp_path.iterdir())

    def test_split_by_hand_cannot_be_shortened(self, tmp_path):
        """Everyone would train though a quarter was asked for."""
        file = tmp_path / "split.json"
        file.write_text('{"train": ["a", "b"], "val": ["c"]}')

        line = "by hand, so that train_fraction 0.25 cannot shorten"
        assert line in refused(split_cases, cases_of("abc"), draw(), file, 0.25)

    @pytest.mark.parametrize("name", ["tset", 3])
    def test_set_that_is_not_there_is_named_with_those_that_are(self, tmp_path, name):
        """A set that is missing or misspelled is an error where it is asked for."""
        file = tmp_path / "split.json"
        file.write_text('{"train": ["a"], "val": ["c"]}')

        line = refused(read_split(cases_of("abc"), file).__getitem__, name)
        assert line == f"{file}: has no set {name!r}; choose from train, val"

    def test_split_by_hand_is_followed(self, tmp_path):
        """A split written by hand is followed; patients that it leaves out are left out.

        Some editors begin a file with a byte-order mark.
        """
        file = tmp_path / "split.json"
        file.write_text('{"train": ["p3"], "val": ["p1"], "test": ["p2"]}', encoding="utf-8-sig")

        split = split_cases(cases_of(["p1", "p2", "p3", "p4"], frames=1), draw(), file)

        names = {part: [case["patient"] for case in cases] for part, cases in split.items()}
        assert names == {"train": ["p3"], "val": ["p1"], "test": ["p2"]}
        assert not is_drawn(file)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", r'is not a split; write it as {"train": \[names\], "val": …}, each set once$'),
            ("[1, 2]", "is not a split"),
            ('{"train": 3}', "is not a split"),
            ('{"train": "p1"}', "is not a split"),
            ('{"train": ["p1"], "train": ["p2"]}', "is not a split; .* each set once$"),
            ('{"train": ["p1"], "drawn": 1}', "is not a split"),
            ('{"train": ["p1"], "test": ["p1"]}', "patient p1 is listed twice; list each .* once$"),
            ('{"train": ["p2", "p1", "p1", "p1"]}', "patient p1 is listed twice"),
            ('{"train": ["p9", "p8", "p1"]}', "patient p8 is not in the dataset; name the folder"),
        ],
    )
    def test_unusable_file_is_refused(self, tmp_path, text, message):
        """A file that is not a split of these patients is refused, and says why."""
        file = tmp_path / "split.json"
        file.write_text(text)

        with pytest.raises(InputError, match=f"^{file}: {message}"):
            read_split(cases_of(["p1", "p2"]), file)

    def test_missing_file_says_to_train_first(self, tmp_path):
        """Reading a split that no training has written says to train first."""
        with pytest.raises(InputError, match=r"split\.json: there is no split; .* train first$"):
            read_split(cases_of(["p1"]), str(tmp_path / "split.json"))


NAMES = [f"p{number}" for number in range(12)]


@given(st.sets(st.sampled_from(NAMES), max_size=8), st.integers(0, 100))
def test_given_sets_are_kept_and_the_rest_is_drawn(test, seed):
    """All patients are in one set; the drawn ones are those of the same draw without the others."""
    rest = [name for name in NAMES if name not in test]
    split = complete_split(NAMES, {"test": sorted(test)}, {"train": 3, "val": 1}, seed)

    assert split["test"] == sorted(test)
    assert sorted(name for names in split.values() for name in names) == sorted(NAMES)
    drawn = split_patients(rest, {"train": 3, "val": 1}, seed)
    assert {part: split[part] for part in ("train", "val")} == drawn


@given(st.permutations(NAMES), st.integers(2, 5), st.booleans())
def test_every_patient_is_held_out_once(names, number, has_test):
    """Over the folds each is tested once, or with a test set validates once; nobody is in two sets."""
    test, rest = (names[:2], names[2:]) if has_test else ([], names)
    folds = [rest[fold::number] for fold in range(number)]
    if number == 2 and not has_test:
        return
    splits = [split_by_folds(names, folds, fold, test) for fold in range(number)]

    held = "val" if has_test else "test"
    assert sorted(name for split in splits for name in split[held]) == sorted(rest)
    for split in splits:
        assert sorted(name for part in split.values() for name in part) == sorted(names)
        if has_test:
            assert split["test"] == sorted(test)


def completed(patients, fixed):
    return complete_split(patients, fixed, {"train": 1}, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: completed("abc", {"test": ["x"]}), "x: is in the bundle's"),
        (
            lambda: completed("abc", {"test": ["a"], "val": ["a"]}),
            "a: is in two sets of the bundle's split",
        ),
        (lambda: completed("ab", {"test": ["a", "b"]}), "dataset: 0 patient"),
        (
            lambda: split_patients("abb", PAPER, 0),
            "dataset: 2 patient(s) cannot fill the sets train, val, test; at least one",
        ),
        (
            lambda: leave_one_out("abb", 0),
            "dataset: 2 patient(s) cannot be left out in turn; at least 3",
        ),
        (lambda: leave_one_out("abc", 3), "fold 3: there is no such fold; choose from 0 to 2"),
        (lambda: split_by_folds("abc", ["a", "b", "x"], 0), "x: is in the bundle's split, but"),
        (lambda: split_by_folds("abc", ["a", "b", "a"], 0), "a: is in two sets"),
        (lambda: split_by_folds("abc", ["a", "b"], 0, test=["b"]), "b: is in two sets"),
        (
            lambda: split_by_folds("edabc", ["a", "b", "c"], 0),
            "d: is in no fold of the bundle's split, and would be left out; add it to one",
        ),
        (lambda: split_by_folds("ab", ["a", "b"], 0), "fold 0: leaves nobody to train on"),
        (lambda: split_by_folds("ab", ["a"], 0, test=["b"]), "fold 0: leaves nobody to train on"),
    ],
)
def test_split_that_cannot_be_is_one_line(call, message):
    """It names the patient or the fold."""
    with pytest.raises(InputError, match="^" + re.escape(message)):
        call()


@pytest.mark.parametrize("fold", [-1, 3])
def test_fold_that_is_not_there_is_a_slip(fold):
    """The choices are named."""
    with pytest.raises(SettingError, match=f"^fold {fold}: .*choose from 0 to 2$"):
        split_by_folds("abc", [["a"], ["b"], ["c"]], fold)
