"""What a bundle declares of its classes agrees."""

import pytest

from nacl_monai.data.declared import check_label_classes, check_structures
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


@pytest.mark.parametrize("indices", [[3], [-1], 1, ["cavity"]])
def test_structures_are_of_classes_that_are_there(indices):
    """A name or a number alone is no list of places."""
    check_structures(CLASSES, {"heart": [1, 2]})

    with pytest.raises(SettingError, match=r"^structures: heart is of the classes .* from 0 to 2$"):
        check_structures(CLASSES, {"heart": indices})


def test_classes_beyond_a_byte_are_refused():
    """Labels would wrap round: the last class would be background."""
    names = [f"organ {k}" for k in range(257)]
    check_label_classes(names[:256], [[k] for k in range(256)])

    with pytest.raises(SettingError, match="^classes: are 257, and labels are kept in bytes;"):
        check_label_classes(names, [[k] for k in range(257)])
