"""Two records are compared key by key, in words for one line."""

import pytest

from nacl_monai.differences import differences, first_of, leaves


def test_leaves_are_values_with_the_way_to_them():
    """With `inner`, branches precede what is in them."""
    config = {"a": {"b": [1, {"c": None}]}, "d": 2}

    assert list(leaves(config)) == [("a::b::0", 1), ("a::b::1::c", None), ("d", 2)]
    assert [key for key, _ in leaves(config, inner=True)] == [
        *("a", "a::b", "a::b::0", "a::b::1", "a::b::1::c", "d")
    ]


def test_keys_of_either_side_are_compared():
    """A value that is None is not one that is missing."""
    before, now = {"a": 1, "b": None, "c": 2}, {"c": 2, "a": 3, "d": [1]}

    assert differences(before, now) == ["a (1, now 3)", "d (not set, now [1])"]


def test_long_values_are_cut():
    """A line has room for 60 letters of each."""
    assert differences({"a": "x" * 99}, {"a": "y" * 60}) == [f"a ({'x' * 60}, now {'y' * 60})"]


@pytest.mark.parametrize(
    ("number", "text"), [(1, "0"), (5, "0, 1, 2, 3, 4"), (7, "0, 1, 2, 3, 4 and 2 more")]
)
def test_first_five_are_listed_and_the_others_counted(number, text):
    """A line that names hundreds of keys says nothing."""
    assert first_of([str(n) for n in range(number)]) == text


def test_fewer_are_listed_on_demand():
    """The others are counted all the same."""
    assert first_of(["a", "b", "c"], most=1) == "a and 2 more"
    assert first_of(["a"], most=1) == "a"
