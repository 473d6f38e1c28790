"""Sets and folds that somebody else has drawn are kept; what is drawn beside them is disjoint."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nacl_monai.data import complete_split, split_by_folds, split_patients
from nacl_monai.errors import InputError, SettingError

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


def test_next_fold_validates():
    """Cyclically; the model is never selected on those who are tested."""
    folds = [["a"], ["b"], ["c", "d"]]

    assert split_by_folds("abcd", folds, 0) == {"train": ["c", "d"], "val": ["b"], "test": ["a"]}
    assert split_by_folds("abcd", folds, 2) == {"train": ["b"], "val": ["a"], "test": ["c", "d"]}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: complete_split("abc", {"test": ["x"]}, {"train": 1}, 0), "x: is in the bundle's"),
        (
            lambda: complete_split("abc", {"test": ["a"], "val": ["a"]}, {"train": 1}, 0),
            "a: is in two sets of the bundle's split",
        ),
        (
            lambda: split_by_folds("abc", [["a"], ["b"], ["x"]], 0),
            "x: is in the bundle's split, but",
        ),
        (lambda: split_by_folds("abc", [["a"], ["b"], ["a"]], 0), "a: is in two sets"),
        (lambda: split_by_folds("abc", [["a"], ["b"]], 0, test=["b"]), "b: is in two sets"),
        (
            lambda: split_by_folds("edabc", [["a"], ["b"], ["c"]], 0),
            "d: is in no fold of the bundle's split, and would be left out; add it to one",
        ),
        (lambda: split_by_folds("ab", [["a"], ["b"]], 0), "fold 0: leaves nobody to train on"),
        (lambda: split_by_folds("ab", [["a"]], 0, test=["b"]), "fold 0: leaves nobody to train on"),
        (lambda: complete_split("ab", {"test": ["a", "b"]}, {"train": 1}, 0), "dataset: 0 patient"),
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
