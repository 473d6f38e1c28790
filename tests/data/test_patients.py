"""Whose case it is."""

import re

import pytest

from nacl_monai.data import (
    decathlon_cases,
    hippocampus_patient,
    patient_by_pattern,
    patient_by_table,
    split_cases,
    split_patients,
)
from nacl_monai.data.patients import patients_of
from nacl_monai.errors import InputError
from nacl_monai.menus import read_dataset


@pytest.mark.parametrize(
    ("numbers", "person"), [((1, 2), "001"), ((3, 4), "002"), ((259, 260), "130")]
)
def test_both_sides_of_a_person_have_one_patient(numbers, person):
    """Volumes 2k - 1 and 2k of Task04 are the two hippocampi of person k."""
    for number in numbers:
        assert hippocampus_patient(f"hippocampus_{number:03d}") == f"person_{person}"


@pytest.mark.parametrize("name", ["hippocampus", "hippocampus_left", "hippocampus_-1", ""])
def test_name_without_a_number_is_refused(name):
    """A number is what tells the person."""
    with pytest.raises(InputError, match=f"^{name}: has no number; name volumes as Task04 does"):
        hippocampus_patient(name)


def test_no_person_of_the_real_task_is_in_two_sets(hippocampus_dir, tmp_path):
    """The 170 people of the 260 volumes are split 119 / 17 / 34, whatever the seed."""
    cases = decathlon_cases(hippocampus_dir, patient_of=hippocampus_patient)
    proportions = read_dataset("hippocampus")["split_proportions"]

    for seed in range(5):
        split = split_cases(
            cases,
            lambda patients, seed=seed: split_patients(patients, proportions, seed),
            tmp_path / f"{seed}.json",
        )

        people = {
            part: {(int(re.search(r"\d+", case["case"])[0]) + 1) // 2 for case in members}
            for part, members in split.items()
        }
        assert {part: len(names) for part, names in people.items()} == {
            "train": 119,
            "val": 17,
            "test": 34,
        }
        assert len(set.union(*people.values())) == 170
        assert sum(map(len, split.values())) == 260


def test_patient_is_in_the_name_or_in_a_table():
    """A pattern has one group; a table names every case."""
    assert patient_by_pattern("sub-07_ses-1", pattern=r"(sub-\d+)_") == "sub-07"
    for table in ({"a": "x", "b": "y"}, [["a", "x"], ["b", "y"]]):
        assert [patient_by_table(case, patients=table) for case in "ab"] == ["x", "y"]

    with pytest.raises(InputError, match="^c: has no patient in `patient_of`; add it there"):
        patient_by_table("c", patients={"a": "x"})
    with pytest.raises(InputError, match="^ses-1: does not match"):
        patient_by_pattern("ses-1", pattern=r"(sub-\d+)_")


def test_spaces_make_no_other_patient(tmp_path):
    """A spreadsheet leaves them behind; the two cases of a person would be split."""
    table = tmp_path / "people.csv"
    table.write_text("case, patient\na,p1\nb, p1\n c ,p2 \n\nd\n")

    assert patients_of(["a", "b", "c"], table=table) == ["p1", "p1", "p2"]
    with pytest.raises(InputError, match=f"^{table}: has no patient for the case 'd'; add it$"):
        patients_of(["d"], table=table)


def test_table_that_contradicts_itself_is_refused(tmp_path):
    """The last line would count; the same line twice says nothing new."""
    table = tmp_path / "people.csv"
    table.write_text("case,patient\na,p1\na,p1\n")
    assert patients_of(["a"], table=table) == ["p1"]

    table.write_text("case,patient\na,p1\nb,p2\na,p3\n")
    with pytest.raises(
        InputError, match=r"has two patients for the case 'a', 'p1' and 'p3'; leave"
    ):
        patients_of(["a", "b"], table=table)
