"""Layouts become lists of cases with their patients; other layouts are refused in one line."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest

from nacl_monai.data import (
    acdc_cases,
    brats_cases,
    decathlon_cases,
    flare_cases,
    hippocampus_patient,
    kits_cases,
    listed_cases,
    mrbrains_cases,
    paired_cases,
    patient_by_pattern,
    patient_by_table,
)
from nacl_monai.data.cases import image_files, patients_of
from nacl_monai.errors import InputError
from tests.conftest import refused


class TestACDC:
    def test_every_patient_gives_two_frames(self, acdc_phantom):
        """Every patient gives two cases, ED and ES, named by the frames in Info.cfg."""
        cases = acdc_cases(acdc_phantom)

        assert len(cases) == 12
        for patient in {case["patient"] for case in cases}:
            info = (acdc_phantom / "training" / patient / "Info.cfg").read_text()
            lines = [line for line in info.splitlines() if line[:2] in ("ED", "ES")]
            names = [case["case"] for case in cases if case["patient"] == patient]
            assert names == [f"{patient}_frame{int(line.split(':')[1]):02d}" for line in lines]

    @pytest.mark.parametrize("parent", ["", "database"])
    def test_older_and_newer_releases_give_the_same_cases(self, acdc_phantom, tmp_path, parent):
        """Older and newer releases, and the training folder itself, give the same cases."""
        shutil.copytree(acdc_phantom / "training", tmp_path / parent / "training")
        (tmp_path / parent / "testing").mkdir()

        names = [case["case"] for case in acdc_cases(acdc_phantom)]

        assert names == [case["case"] for case in acdc_cases(tmp_path)]
        assert names == [case["case"] for case in acdc_cases(tmp_path / parent / "training")]

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("Group: NOR\n", "needs the lines 'ED: <frame>'"),
            ("ED: one\nES: 2\n", "needs the lines 'ED: <frame>'"),
            ("ED: 3\nES: 3\n", "ED and ES are both frame 3; correct it"),
            (None, "missing"),
        ],
    )
    def test_unusable_info_is_named(self, acdc_copy, text, line):
        """Without usable ED and ES lines; ED = ES would count the same image twice."""
        info = acdc_copy / "training" / "patient001" / "Info.cfg"
        info.unlink() if text is None else info.write_text(text)

        assert f"patient001/Info.cfg: {line}" in refused(acdc_cases, acdc_copy)

    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_info_of_windows_is_read(self, acdc_copy, mark):
        """A byte order mark and lines that end with CRLF change nothing."""
        names = [case["case"] for case in acdc_cases(acdc_copy)]
        for info in acdc_copy.rglob("Info.cfg"):
            text = mark + info.read_text().replace("\n", "\r\n")
            info.write_bytes(text.encode())

        assert names == [case["case"] for case in acdc_cases(acdc_copy)]


def files(root, *names):
    """Empty files, since only names are looked at."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def brats(below=""):
    """Patients of both grades, each with two of its images."""
    names = {"A": "HGG", "B": "HGG", "C": "LGG"}
    stems = [f"{below}{grade}/BraTS19_{name}_1/BraTS19_{name}_1" for name, grade in names.items()]
    return [(Path(stem).name, [f"{stem}_t1", f"{stem}_flair"], f"{stem}_seg") for stem in stems]


REGISTERED = ("reg_T1", "reg_IR", "FLAIR")
find_brats = partial(brats_cases, modalities=["t1", "flair"])
find_mrbrains = partial(mrbrains_cases, modalities=REGISTERED)
#: How cases are found, from which folders, their names, images and labels, and what is no case.
LAYOUTS = {
    "decathlon": (
        decathlon_cases,
        [""],
        [(f"a_{n}", [f"imagesTr/a_{n}"], f"labelsTr/a_{n}") for n in range(2)],
        ["imagesTr/._a_0", "imagesTs/a_2"],
    ),
    "flare": (
        flare_cases,
        [""],
        [
            (f"train_{n}", [f"TrainingImg/train_{n}_0000"], f"TrainingMask/train_{n}")
            for n in (0, 7)
        ],
        ["TrainingMask/._train_0"],
    ),
    "kits": (
        kits_cases,
        ["", "data"],
        [(f"case_{n}", [f"data/case_{n}/imaging"], f"data/case_{n}/segmentation") for n in (0, 1)],
        ["data/kits", "data/case_210/imaging"],
    ),
    "mrbrains": (
        find_mrbrains,
        ["", "training"],
        [
            (n, [f"training/{n}/pre/{kind}" for kind in REGISTERED], f"training/{n}/segm")
            for n in ("070", "1")
        ],
        ["training/1/pre/T1", "training/070/pre/IR"],
    ),
    "brats": (find_brats, [""], brats(), ["name_mapping"]),
    "brats in a folder": (find_brats, [""], brats("MICCAI_BraTS_2019_Data_Training/"), []),
}


@pytest.mark.parametrize(("find", "places", "cases", "extra"), LAYOUTS.values(), ids=LAYOUTS)
def test_cases_are_those_of_the_layout(tmp_path, find, places, cases, extra):
    """In the order of their names, with images in the order that was asked for; nothing else is one."""
    names = [name for _, images, label in cases for name in (*images, label)]
    files(tmp_path, *(f"{name}.nii.gz" for name in (*names, *extra)))
    for place in places:
        found = find(tmp_path / place)

        assert [case["case"] for case in found] == [name for name, *_ in cases]
        for case, (_, images, label) in zip(found, cases, strict=True):
            assert image_files(case) == [f"{tmp_path}/{image}.nii.gz" for image in images]
            assert case["label"] == f"{tmp_path}/{label}.nii.gz"


@pytest.mark.parametrize(
    "find", [acdc_cases, *dict.fromkeys(find for find, *_ in LAYOUTS.values())]
)
class TestEveryLayout:
    @pytest.mark.parametrize("unset", [None, ""])
    def test_unset_folder_names_the_key(self, find, unset):
        """Without dataset_dir the message says which key to set."""
        with pytest.raises(InputError, match="dataset_dir is not set; .* --dataset_dir DIR"):
            find(unset)

    def test_missing_folder_is_named(self, find, tmp_path):
        """A folder that is not there is named."""
        with pytest.raises(InputError, match=rf"dataset_dir {tmp_path}/nowhere: no such folder"):
            find(tmp_path / "nowhere")

    def test_other_layout_names_the_expected_one(self, find, tmp_path):
        """A folder in another layout is refused with the layout that is expected."""
        (tmp_path / "images").mkdir()

        with pytest.raises(InputError, match="layout, .* is there|is not there"):
            find(tmp_path)


def test_pairs_are_found_by_name_and_channel(tmp_path):
    """In the order of names; hidden files are not cases; the patient is by a function."""
    files(
        tmp_path, "i/b_0000.nii", "i/b_0001.nii", "i/a_0000.nii", "i/a_0001.nii", "i/._a_0000.nii"
    )
    files(tmp_path, "l/a.nii", "l/b.nii")
    cases = paired_cases(
        tmp_path, [["i", "l"]], ["_0000", "_0001"], ".nii", patient_of=lambda case: case * 2
    )

    assert [case["case"] for case in cases] == ["a", "b"]
    assert [case["patient"] for case in cases] == ["aa", "bb"]
    assert cases[0]["image"] == [f"{tmp_path}/i/a_000{k}.nii" for k in range(2)]
    assert cases[0]["label"] == f"{tmp_path}/l/a.nii"


def test_all_files_without_a_partner_are_reported(tmp_path):
    """Labels, images and single channels; complete cases are returned."""
    files(tmp_path, "i/a_0.nii.gz", "i/a_1.nii.gz", "i/b_0.nii.gz", "i/c_1.nii.gz", "i/d_0.nii.gz")
    files(tmp_path, "i/d_1.nii.gz", "l/a.nii.gz", "l/b.nii.gz", "l/c.nii.gz", "l/e.nii.gz")
    faults = []
    cases = paired_cases(tmp_path, [["i", "l"]], ["_0", "_1"], report_fault=faults.append)

    assert [case["case"] for case in cases] == ["a"]
    named = ["i/b_1", "i/c_0", "i/d_0", "i/e_0", "i/e_1"]
    reported = [str(fault).partition(".nii.gz: ")[0] for fault in faults]
    assert reported == [f"{tmp_path}/{name}" for name in named]


@pytest.mark.parametrize("folders", [[["i", "l"]], [["x", "l"]]])
def test_folder_without_images_is_another_layout(tmp_path, folders):
    """The message says which names were expected."""
    files(tmp_path, "l/a.nii.gz")
    with pytest.raises(InputError, match=rf"no {folders[0][0]}/\*_0\.nii\.gz is there"):
        paired_cases(tmp_path, folders, ["_0"])


def test_names_in_two_folders_are_refused(tmp_path):
    """One name is one case."""
    files(tmp_path, "i/a.nii.gz", "l/a.nii.gz", "j/a.nii.gz", "m/a.nii.gz")
    with pytest.raises(InputError, match="m/a.nii.gz: its case is called a, as that of .*/l/a"):
        paired_cases(tmp_path, [["i", "l"], ["j", "m"]])


def write(root, **lists):
    files(root, *(str(file) for entries in lists.values() for e in entries for file in e.values()))
    (root / "d.json").write_text(json.dumps(lists))


def test_listed_cases_are_those_of_the_lists(tmp_path):
    """Only the lists that are asked for, in the order of names."""
    training = [{"image": "i/b.nii.gz", "label": "l/b.nii.gz"}]
    testing = [{"image": "i/a.nii.gz", "label": "l/x.nii.gz"}]
    write(tmp_path, training=training, testing=testing, test=[])

    assert [case["case"] for case in listed_cases(tmp_path, "d.json", ["training"])] == ["b"]
    both = listed_cases(tmp_path, "d.json", ["training", "testing"], patient_of=str.upper)
    assert [case["case"] for case in both] == ["a", "b"]
    assert [case["patient"] for case in both] == ["A", "B"]
    assert both[0]["label"] == f"{tmp_path}/l/x.nii.gz"


def test_absolute_files_of_a_list_are_named_without_their_root(tmp_path):
    """Maps of cases are files of these names, in the folder of an evaluation."""
    entries = [{key: f"{tmp_path}/p{k}/{key}.nii.gz" for key in ("image", "label")} for k in (1, 2)]
    files(tmp_path, *(file for entry in entries for file in entry.values()))
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
    assert "no such file" in refused(listed_cases, tmp_path, "e.json")


@pytest.mark.parametrize("name", ["hippocampus", "hippocampus_left", "hippocampus_-1", ""])
def test_name_without_a_number_is_refused(name):
    """A number is what tells the person."""
    with pytest.raises(InputError, match=f"^{name}: has no number; name volumes as Task04 does"):
        hippocampus_patient(name)


def test_patient_is_in_the_name_or_in_a_table():
    """A pattern has one group; a table names every case."""
    assert patient_by_pattern("sub-07_ses-1", pattern=r"(sub-\d+)_") == "sub-07"
    for table in ({"a": "x", "b": "y"}, [["a", "x"], ["b", "y"]]):
        assert [patient_by_table(case, patients=table) for case in "ab"] == ["x", "y"]

    with pytest.raises(InputError, match="^c: has no patient in `patient_of`; add it there"):
        patient_by_table("c", patients={"a": "x"})
    with pytest.raises(InputError, match="^ses-1: does not match"):
        patient_by_pattern("ses-1", pattern=r"(sub-\d+)_")


def test_table_of_patients_has_one_for_each_case(tmp_path):
    """A blank would make another patient, and the last of two lines would count."""
    table = tmp_path / "people.csv"
    table.write_text("case,patient\na,p1\n\nNA,1\n")
    assert patients_of(["a", "NA"], table=table) == ["p1", "1"]

    for lines, line in (
        ("a,p1", "has no patient for the case 'b'; add it"),
        ("a,p1\nb,", "has no patient for the case 'b'; add it"),
        ("a,p1\nb, p1", "has blanks around ' p1'; remove them"),
        ("a,p1\nb,p2\na,p3", "has 2 rows of 'a'; leave one"),
    ):
        table.write_text(f"case,patient\n{lines}\n")
        assert refused(patients_of, ["a", "b"], table=table) == f"{table}: {line}"
