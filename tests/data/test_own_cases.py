"""Folders of pairs and lists in JSON become cases; what has no partner is named."""

import json

import pytest

from nacl_monai.data import listed_cases, paired_cases
from nacl_monai.data.own_cases import read_entries
from nacl_monai.errors import InputError


def touch(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()


def test_pairs_are_found_by_name_and_channel(tmp_path):
    """In the order of names; hidden files are not cases; the patient is by a function."""
    touch(
        tmp_path, "i/b_0000.nii", "i/b_0001.nii", "i/a_0000.nii", "i/a_0001.nii", "i/._a_0000.nii"
    )
    touch(tmp_path, "l/a.nii", "l/b.nii")
    cases = paired_cases(
        tmp_path, [["i", "l"]], ["_0000", "_0001"], ".nii", patient_of=lambda case: case * 2
    )

    assert [case["case"] for case in cases] == ["a", "b"]
    assert [case["patient"] for case in cases] == ["aa", "bb"]
    assert cases[0]["image"] == [f"{tmp_path}/i/a_000{k}.nii" for k in range(2)]
    assert cases[0]["label"] == f"{tmp_path}/l/a.nii"


def test_all_files_without_a_partner_are_reported(tmp_path):
    """Labels, images and single channels; complete cases are returned."""
    touch(tmp_path, "i/a_0.nii.gz", "i/a_1.nii.gz", "i/b_0.nii.gz", "i/c_1.nii.gz", "i/d_0.nii.gz")
    touch(tmp_path, "i/d_1.nii.gz", "l/a.nii.gz", "l/b.nii.gz", "l/c.nii.gz", "l/e.nii.gz")
    faults = []
    cases = paired_cases(tmp_path, [["i", "l"]], ["_0", "_1"], report_fault=faults.append)

    assert [case["case"] for case in cases] == ["a"]
    named = ["i/b_1", "i/c_0", "i/d_0", "i/e_0", "i/e_1"]
    assert [str(fault).partition(".nii.gz: ")[0] for fault in faults] == [
        f"{tmp_path}/{name}" for name in named
    ]


@pytest.mark.parametrize("folders", [[["i", "l"]], [["x", "l"]]])
def test_folder_without_images_is_another_layout(tmp_path, folders):
    """The message says which names were expected."""
    touch(tmp_path, "l/a.nii.gz")
    with pytest.raises(InputError, match=rf"no {folders[0][0]}/\*_0\.nii\.gz is there"):
        paired_cases(tmp_path, folders, ["_0"])


def test_names_in_two_folders_are_refused(tmp_path):
    """One name is one case."""
    touch(tmp_path, "i/a.nii.gz", "l/a.nii.gz", "j/a.nii.gz", "m/a.nii.gz")
    with pytest.raises(InputError, match="m/a.nii.gz: its case is called a, as that of .*/l/a"):
        paired_cases(tmp_path, [["i", "l"], ["j", "m"]])


def write(root, **lists):
    touch(root, *(str(file) for entries in lists.values() for e in entries for file in e.values()))
    (root / "d.json").write_text(json.dumps(lists))


def test_listed_cases_are_those_of_the_lists(tmp_path):
    """Only the lists that are asked for, in the order of names."""
    write(
        tmp_path,
        training=[{"image": "i/b.nii.gz", "label": "l/b.nii.gz"}],
        testing=[{"image": "i/a.nii.gz", "label": "l/x.nii.gz"}],
        test=[],
    )

    assert [case["case"] for case in listed_cases(tmp_path, "d.json", ["training"])] == ["b"]
    both = listed_cases(tmp_path, "d.json", ["training", "testing"], patient_of=str.upper)
    assert [case["case"] for case in both] == ["a", "b"]
    assert [case["patient"] for case in both] == ["A", "B"]
    assert both[0]["label"] == f"{tmp_path}/l/x.nii.gz"


def test_absolute_files_of_a_list_are_named_without_their_root(tmp_path):
    """Maps of cases are files of these names, in the folder of an evaluation."""
    entries = [{key: f"{tmp_path}/p{k}/{key}.nii.gz" for key in ("image", "label")} for k in (1, 2)]
    touch(tmp_path, *(file for entry in entries for file in entry.values()))
    (tmp_path / "d.json").write_text(json.dumps({"training": entries}))

    assert [case["case"] for case in listed_cases(tmp_path, "d.json")] == ["p1_image", "p2_image"]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("[", "is damaged"),
        ("{}", "has no list 'training'"),
        ('{"training": []}', "has no list 'training' with cases"),
        ('{"training": [{"image": [], "label": "a"}]}', r"training\[0\] has something else"),
        (
            '{"training": [{"image": ["a", "b", "a"], "label": "c"}]}',
            r"training\[0\] has a file .* twice",
        ),
        ('{"training": ["a.nii.gz"]}', r"training\[0\] needs an image and a label"),
        ('{"training": [{"image": 3, "label": "a"}]}', r"training\[0\] has something else"),
        ('{"training": [{"image": ["a"], "label": null}]}', r"training\[0\] has something else"),
    ],
)
def test_list_that_is_none_is_refused(tmp_path, content, part):
    """The file and the entry are named."""
    (tmp_path / "d.json").write_text(content)
    with pytest.raises(InputError, match=f"^{tmp_path}/d.json: {part}"):
        listed_cases(tmp_path, "d.json")
    with pytest.raises(InputError, match="no such file"):
        read_entries(tmp_path / "e.json", "training")
