"""What a bundle declares of its classes agrees."""

import pytest

from nacl_monai.data.check import check_label_classes, check_official_cases, check_structures
from nacl_monai.errors import SettingError

CLASSES = ["background", "myocardium", "cavity"]


@pytest.mark.parametrize("values", [[[0], [1]], [[0], [1], [2], [3]]], ids=["fewer", "more"])
def test_label_values_are_of_as_many_classes(values):
    """One line says both numbers."""
    check_label_classes(CLASSES, [[0], [1, 4], [2]])

    line = (
        f"^classes: names 3 .*, but label_values has the values of {len(values)} classes; set both"
    )
    with pytest.raises(SettingError, match=line):
        check_label_classes(CLASSES, values)


@pytest.mark.parametrize(
    "indices", [[3], [-1], 1, ["cavity"], [], [1, 1], [2.0], [True], [[1, 2]], None]
)
def test_structures_are_of_classes_that_are_there(indices):
    """A name or a number alone is not a list of places, and a place is there once."""
    check_structures(CLASSES, {"heart": [1, 2]})

    line = "^structures: heart is of the classes .* from 0 to 2, each once$"
    with pytest.raises(SettingError, match=line):
        check_structures(CLASSES, {"heart": indices})


@pytest.mark.parametrize("structures", [["heart"], None, 3])
def test_structures_have_names(structures):
    """A list has none."""
    with pytest.raises(SettingError, match=r"^structures: are .*; write for each name a list of"):
        check_structures(CLASSES, structures)


@pytest.mark.parametrize("classes", [["background", "a", "a"], ["background", 1, "1"], 3, None])
def test_classes_have_names_of_their_own(classes):
    """Rows of a table with one name would become one."""
    with pytest.raises(SettingError, match=r"^classes: are .*; write a list of names, each once$"):
        check_label_classes(classes, [[0], [1], [2]])


@pytest.mark.parametrize("number", ["six", 0, -1, 2.5, True, None])
def test_official_cases_are_a_number(number):
    """There is at least one."""
    check_official_cases(1)

    with pytest.raises(SettingError, match=rf"^official_cases: is {number}; write how many"):
        check_official_cases(number)


def test_classes_beyond_a_byte_are_refused():
    """Labels would wrap round: the last class would be background."""
    names = [f"organ {k}" for k in range(257)]
    check_label_classes(names[:256], [[k] for k in range(256)])

    with pytest.raises(SettingError, match="^classes: are 257, and labels are kept in bytes;"):
        check_label_classes(names, [[k] for k in range(257)])
