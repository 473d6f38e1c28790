"""Groups of patients, as a table has them."""

import pytest

from nacl_monai.errors import InputError
from nacl_monai.evaluations.groups import read_groups, thirds

PATIENTS = {"a_left": "a", "a_right": "a", "b": "b"}


def table(tmp_path, *lines):
    file = tmp_path / "groups.csv"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "lines",
    [
        ("patient,site,sex", "b, X ,f", "a,Y,", "c,Z,m"),
        ("case, site,patient,sex", "b,X,b,f", "a_left,Y,a,", "a_right,Y,a,"),
    ],
)
def test_a_patient_has_the_value_of_a_row_or_of_all_their_cases(tmp_path, lines):
    """An empty cell is unknown; who is not asked for is in no group."""
    found = read_groups(table(tmp_path, *lines), PATIENTS)

    assert found == {"site": {"a": "Y", "b": "X"}, "sex": {"a": "unknown", "b": "f"}}
    assert [*found["site"]] == ["b", "a"]


def test_without_a_table_there_is_no_group():
    assert read_groups(None, PATIENTS) == {}


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        ((), "is not a table of groups"),
        (("patient", "a", "b"), "write the column case or patient, and others"),
        (("name,site", "a,X"), "write the column case or patient, and others"),
        (("patient,site", "a,X"), "lacks the patient 'b'; add it"),
        (
            ("case,site", "a_left,X", "a_right,Y", "b,X"),
            "the patient 'a' has two values of site, 'X' and 'Y'",
        ),
        (("patient,site", "a,=1", "b,X"), "takes for a formula"),
    ],
)
def test_table_that_tells_no_groups_is_refused(tmp_path, lines, line):
    with pytest.raises(InputError, match=line):
        read_groups(table(tmp_path, *lines), PATIENTS)


def test_as_many_values_as_of_ages_are_no_groups(tmp_path):
    names = [f"p{k}" for k in range(21)]
    file = table(tmp_path, "patient,age", *(f"{name},{k}" for k, name in enumerate(names)))

    with pytest.raises(InputError, match="age has more than 20 values"):
        read_groups(file, dict(zip(names, names, strict=True)))


def test_thirds_are_of_patients_by_the_mean_over_their_cases():
    assert thirds([1, 5, 2, 4, 6, 7], ["a", "a", "b", "c", "d", "e"]) == {
        "b": "smallest third, to 3 ml",
        "a": "smallest third, to 3 ml",
        "c": "middle third, to 6 ml",
        "d": "middle third, to 6 ml",
        "e": "largest third, to 7 ml",
    }
