"""The check reads as a training does, collects faults, and says what a bundle makes of data."""

import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import yaml
from monai.data import MetaTensor

from nacl_monai.data import decathlon_cases
from nacl_monai.data.__main__ import main
from nacl_monai.data.cases import make_case
from nacl_monai.data.check import (
    DatasetSummary,
    check_dataset,
    check_label_classes,
    check_official_cases,
    check_structures,
    settings_lines,
)
from nacl_monai.data.loading import LoadedCase
from nacl_monai.errors import InputError, SettingError
from tests.conftest import ROOT, change, put, refused, save_nifti

BUNDLES = ROOT / "bundles"
NO_NIFTI = b"<html>please log in</html>"


def check(root, subset=True, **how):
    return check_dataset("hippocampus", root, bundles=BUNDLES, subset=subset, **how)


@pytest.fixture
def root(decathlon_phantom, tmp_path):
    """Ten cases, for a test that spoils them."""
    return Path(shutil.copytree(decathlon_phantom, tmp_path / "task"))


class TestSound:
    def test_shapes_spacings_and_voxels_are_those_of_the_files(self, decathlon_phantom):
        """Shapes, spacings and voxels of each class are those of the files."""
        summary = check(decathlon_phantom)

        files = sorted((decathlon_phantom / "labelsTr").glob("h*"))
        labels = [*map(nibabel.load, files)]
        assert summary.faults == []
        assert summary.shapes == [label.shape for label in labels]
        assert summary.spacings == [label.header.get_zooms() for label in labels]
        for value in range(3):
            voxels = [int((label.get_fdata() == value).sum()) for label in labels]
            assert summary.voxels[value] == sum(voxels)
            assert summary.holders[value] == sum(number > 0 for number in voxels)

    @pytest.mark.nightly
    def test_real_task_is_complete_and_sound(self, hippocampus_dir):
        """The real task is complete and sound."""
        summary = check(hippocampus_dir, subset=False)

        assert summary.faults == []
        assert len(summary.units) == 260
        assert len(set(summary.units)) == 170


def move(file):
    stored = nibabel.load(file)
    affine = stored.affine.copy()
    affine[0, 3] += 1
    save_nifti(np.asarray(stored.dataobj), file, affine)


def fit(root, folder, other):
    """Gives a case of its own grid the other file of its case: noise, or a label of all classes."""
    stored = nibabel.load(other)
    rng = np.random.default_rng(0)
    voxels = (
        rng.normal(size=stored.shape) if folder == "imagesTr" else rng.integers(0, 3, stored.shape)
    )
    save_nifti(voxels.astype(np.float32), root / folder / other.name, stored.affine)


class TestOwnBundle:
    @pytest.fixture
    def own(self, tmp_path):
        """Our own dataset.yaml under another name, to be changed."""
        file = tmp_path / "own/mine/configs/dataset.yaml"
        file.parent.mkdir(parents=True)
        file.write_text((BUNDLES / "hippocampus/configs/dataset.yaml").read_text())
        return file

    @pytest.fixture
    def check_with(self, own, root):
        """The check of this bundle with other keys, or without one."""

        def check(preprocess=False, without=None, **changed):
            keys = {**yaml.safe_load(own.read_text()), **changed}
            keys.pop(without, None)
            own.write_text(yaml.safe_dump(keys))
            bundles = own.parents[2]
            return check_dataset("mine", root, bundles=bundles, subset=True, preprocess=preprocess)

        return check

    @pytest.mark.parametrize("key", ["classes", "cases", "structures", "cropping", "spatial_size"])
    def test_key_that_is_missing_is_named(self, own, check_with, key):
        """Before the data are read."""
        with pytest.raises(InputError, match=f"^{own}: has no {key}[^,\n]*; add it"):
            check_with(without=key)

    @pytest.mark.parametrize(
        ("key", "shared"), [("max_epochs", "train"), ("calibration", "evaluate")]
    )
    def test_key_of_a_shared_file_is_refused(self, own, check_with, key, shared):
        """That file is behind it and would replace it."""
        with pytest.raises(SettingError, match=f"^{own}: {key} is of common/{shared}.yaml, which"):
            check_with(**{key: 2})

    @pytest.mark.parametrize(
        ("keys", "line"),
        [
            ({"classes": ["background", "anterior"]}, "classes: names 2 "),
            ({"structures": {"whole": [1, 2, 4]}}, "structures: whole is of the classes "),
            ({"official_cases": 0}, "official_cases: is 0; "),
        ],
    )
    def test_keys_that_do_not_agree_are_a_slip(self, check_with, keys, line):
        """As they are to a training or an evaluation; the declarations below say all of them."""
        with pytest.raises(SettingError, match=f"^{line}"):
            check_with(**keys)

    @pytest.mark.parametrize(
        ("keys", "message"),
        [
            (
                {"ignore_index": 2},
                r"load_case cannot be used \(ignore_index: is 2; it must be above",
            ),
            ({"label_values": [0, 1, 2]}, r"load_case cannot be used \('int' object is not iter"),
            ({"preprocessing": ["@to_rass"]}, r"reading cannot be used \(.*to_rass"),
            ({"preprocessing": None}, r"reading cannot be used \("),
            ({"preprocessing": [{"_target_": "Nope"}]}, r"reading cannot be used \(.*Nope"),
            ({"cases": {"_target_": "nacl_monai.data.nope"}}, r"cases cannot be used \(.*nope"),
        ],
    )
    def test_value_that_cannot_be_used_is_a_slip(self, own, check_with, keys, message):
        """With the file and the key, before the data are read."""
        with pytest.raises(SettingError, match=rf"^{own}: {message}[^\n]*\); correct it$"):
            check_with(**keys)

    def test_function_of_ones_own_needs_no_report(self, check_with):
        """It may take the folder alone."""
        function = "tests.data.test_check.first_case"
        summary = check_with(cases={"_target_": function, "dataset_dir": "@dataset_dir"})

        assert summary.faults == []
        assert len(summary.units) == 1

    def test_step_that_a_training_would_refuse_is_refused(self, check_with):
        """Before a file is read; without the steps nobody asks."""
        double = {"_target_": "Lambdad", "keys": "image", "func": "$lambda image: 2 * image"}

        assert check_with(preprocessing=[double]).units
        line = "^preprocessing: .*; name a function instead of a lambda"
        with pytest.raises(InputError, match=line):
            check_with(preprocess=True)


def first_case(dataset_dir):
    """A case function as somebody may write it."""
    return decathlon_cases(dataset_dir)[:1]


class TestFaults:
    def test_faults_of_several_files_are_all_named(self, root):
        """Faults of several files are all named."""
        (root / "imagesTr/hippocampus_001.nii.gz").unlink()
        (root / "labelsTr/hippocampus_004.nii.gz").write_bytes(NO_NIFTI)
        move(root / "labelsTr/hippocampus_008.nii.gz")

        faults = [str(fault) for fault in check(root).faults]

        assert len(faults) == 3
        for number, fault in zip((1, 4, 8), faults, strict=True):
            assert f"hippocampus_00{number}.nii.gz: " in fault

    def test_fault_of_the_image_does_not_hide_that_of_the_label(self, root):
        """Faults of the image do not hide those of the label."""
        (root / "imagesTr/hippocampus_004.nii.gz").write_bytes(NO_NIFTI)
        change(root / "labelsTr/hippocampus_004.nii.gz", put(9))

        summary = check(root)

        assert ["imagesTr" in str(fault) for fault in summary.faults] == [True, False]
        assert summary.voxels[9] == 0
        assert len(summary.units) == 9

    @pytest.mark.parametrize(("kind", "folder"), [("image", "imagesTr"), ("label map", "labelsTr")])
    def test_case_that_is_there_twice_is_found(self, root, kind, folder):
        """By its image or by its label, under whatever name and data type; its other file is its own."""
        copy = root / folder / "hippocampus_777.nii.gz"
        shutil.copyfile(root / folder / "hippocampus_002.nii.gz", copy)
        change(copy, lambda voxels: voxels)
        fit(root, "labelsTr" if folder == "imagesTr" else "imagesTr", copy)

        summary = check(root)

        assert [str(fault) for fault in summary.faults] == [
            f"{root}/{folder}/hippocampus_777.nii.gz: is the same {kind} as "
            f"{root}/{folder}/hippocampus_002.nii.gz; remove one of the cases"
        ]
        assert len(summary.units) == 10

    def test_class_that_no_label_holds_is_a_fault(self, root):
        """A training would refuse it, since nothing can be learned of it."""
        for label in (root / "labelsTr").glob("h*"):
            change(label, lambda voxels: np.minimum(voxels, 1))

        assert [str(fault) for fault in check(root).faults] == [
            "classes: posterior in none of the 10 sound labels; remove it from classes, label_values "
            "and structures"
        ]

    def test_difference_of_affines_is_accepted_on_demand(self, root):
        """It is named in mm, and so is the tolerance that accepts it."""
        move(root / "labelsTr/hippocampus_004.nii.gz")

        (fault,) = check(root).faults
        assert "puts voxels up to 1 mm away" in str(fault)
        assert str(fault).endswith("accept it: --affine_tolerance 1.01")
        for tolerance, faults in ((0.99, 1), (1.01, 0)):
            assert len(check(root, affine_tolerance=tolerance).faults) == faults


@pytest.mark.parametrize("name", ["$print('run')", "@classes", "%classes"])
def test_folder_whose_name_is_code_is_refused(name, tmp_path, monkeypatch, capsys):
    """Before MONAI parses it; with a path in front it is the name of a folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()

    assert refused(check_dataset, "acdc", name) == (
        f"{name}: {name!r} begins with {name[0]}, by which MONAI evaluates a text; "
        "write a path in front of it, such as ./, or rename it"
    )
    assert not capsys.readouterr().out
    assert "not ACDC's layout" in refused(check_dataset, "acdc", tmp_path / name)


def loaded(shape, spacing, voxels):
    """A case of which all but the shape, the spacing and the numbers of voxels is irrelevant."""
    affine = torch.diag(torch.tensor([*spacing, 1.0]))
    volume = MetaTensor(torch.zeros(1, *shape), affine=affine)
    return LoadedCase(volume, volume, voxels, ("image", "label"))


@pytest.fixture
def summary():
    """Two patients with three cases; 7 becomes background, 1 and 2 one class."""
    summary = DatasetSummary("heart", ["background", "wall", "blood"], [[0, 7], [1, 2], [4]], 2, 5)
    for name, patient, shape, spacing, voxels in (
        ("a1", "a", (10, 20, 5), (1.0, 1.5, 8.0), {0: 900, 1: 50, 2: 50}),
        ("a2", "a", (12, 18, 5), (1.0, 1.25, 8.0), {0: 1000, 4: 80}),
        ("b1", "b", (11, 19, 7), (0.5, 1.5, 10.0), {7: 1400, 2: 63}),
    ):
        summary.add(make_case(name, name, name, patient), loaded(shape, spacing, voxels))
    return summary


def test_table_is_that_on_paper(summary):
    """Ranges are axis by axis; shares are of all voxels, in percent."""
    title, *lines = summary.table().splitlines()

    assert title == "heart: 3 sound cases of 2 patients (official: 5 cases), 2 channel(s)"
    assert [line.split() for line in lines] == [
        ["shape", "10×18×5", "to", "12×20×7"],
        ["spacing", "0.50×1.25×8.00", "to", "1.00×1.50×10.00", "mm"],
        ["class", "values", "voxels", "%", "cases"],
        ["background", "0,", "7", "3300", "93.141", "3"],
        ["wall", "1,", "2", "163", "4.601", "2"],
        ["blood", "4", "80", "2.258", "1"],
    ]


def test_voxels_that_nobody_labeled_have_a_line_of_their_own():
    """Behind the classes."""
    summary = DatasetSummary("heart", ["background", "wall"], [[0], [1]], 1, 1, ignore_index=4)
    case = make_case("a", "a", "a")
    summary.add(case, loaded((2, 2, 2), (1.0, 1.0, 1.0), {0: 4, 1: 2, 4: 2}))

    assert summary.table().splitlines()[-1].split() == ["(ignored)", "4", "2", "25.000", "1"]


def test_cases_of_unknown_patients_are_not_called_patients(summary):
    """One case without a patient is enough: nobody can count them then."""
    summary.add(make_case("c", "c", "c"), loaded((10, 20, 5), (1.0, 1.5, 8.0), {0: 1000}))

    assert summary.units == ["a", "a", "b", "c"]
    assert summary.table().startswith("heart: 4 sound cases (official: 5 cases), 2 channel(s)")


CLASSES = ["background", "myocardium", "cavity"]
NAMES = [f"organ {k}" for k in range(257)]
VALUES = [[k] for k in range(257)]
PLACES = ([3], [-1], 1, ["cavity"], [], [1, 1], [2.0], [True], [[1, 2]], None)


DECLARATIONS = [
    (
        check_label_classes,
        [(CLASSES, values) for values in ([[0], [1]], [[0], [1], [2], [3]])],
        r"classes: names 3 \(background, .*\), but label_values has the values of . classes; set both",
    ),
    (check_label_classes, [(NAMES, VALUES)], "classes: are 257, and labels are kept in bytes;"),
    (
        check_label_classes,
        [
            (names, VALUES[:3])
            for names in (["background", "a", "a"], ["background", 1, "1"], 3, None)
        ],
        "classes: are .*; write a list of names, each",
    ),
    (
        check_structures,
        [(CLASSES, {"heart": indices}) for indices in PLACES],
        "structures: heart is of the classes .*; write a list of places in `classes`, from 0 to 2, each",
    ),
    (
        check_structures,
        [(CLASSES, structures) for structures in (["heart"], None, 3)],
        "structures: are .*; write for each name a list",
    ),
    *(
        (check_official_cases, [(number,)], f"official_cases: is {number}; write how many")
        for number in ("six", 0, -1, 2.5, True, None)
    ),
]


@pytest.mark.parametrize(
    ("refusing", "arguments", "line"),
    [(refusing, value, line) for refusing, many, line in DECLARATIONS for value in many],
)
def test_declaration_that_cannot_be_meant_is_refused(refusing, arguments, line):
    """By key, and with what to write; what is at the edge passes."""
    check_label_classes(NAMES[:256], VALUES[:256])
    check_structures(CLASSES, {"heart": [1, 2]})
    check_official_cases(1)
    with pytest.raises(SettingError, match=f"^{line}"):
        refusing(*arguments)


def test_lines_are_those_of_the_dataset():
    """FLARE's, as an example."""
    text = settings_lines("flare", BUNDLES)

    resampled = "Spacingd(pixdim=2.0, 2.0, 6.0, mode=bilinear, nearest)"
    assert f"to_ras; {resampled}; ScaleIntensityRanged(" in text
    assert "cropping           CenterSpatialCropd(roi_size=192, 192, 30)" in text
    assert "split_proportions  train: 240, val: 40, test: 80" in text


def test_exit_code_says_whether_there_are_faults(decathlon_phantom, capsys):
    """The command prints the table and ends with 0, or with 1 where the number is too small."""
    args = ["check", "hippocampus", str(decathlon_phantom), "--bundles", str(BUNDLES)]

    assert main([*args, "--subset"]) == 0
    assert "posterior" in capsys.readouterr().out
    assert main(args) == 1
    printed = capsys.readouterr()
    assert "posterior" in printed.out
    faults = [line for line in printed.err.splitlines() if line.startswith("fault: ")]
    assert len(faults) == 1
    assert "10 sound cases, but the official download has 260" in faults[0]


@pytest.mark.parametrize(
    ("dataset", "bundles", "message"),
    [
        ("hippocampus", BUNDLES, "not the Decathlon's layout"),
        ("brain", BUNDLES, "no such dataset; choose from: acdc, "),
        ("acdc", "/nowhere", "no bundles there; run this in the project's root"),
    ],
)
def test_wrong_folder_or_name_is_one_line(tmp_path, capsys, dataset, bundles, message):
    """Nothing is printed but the error, and the exit code is 1."""
    assert main(["check", dataset, str(tmp_path), "--bundles", str(bundles)]) == 1

    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.slow
def test_package_is_imported_where_there_are_no_modules_of_posix():
    """As on Windows, where there is neither fcntl nor resource."""
    script = """
import sys
sys.modules["fcntl"] = sys.modules["resource"] = None
import nacl_monai.data
for name in nacl_monai.data.__all__:
    getattr(nacl_monai.data, name)
import nacl_monai.data.check, nacl_monai.data.new_bundle
"""
    subprocess.run([sys.executable, "-c", script], check=True)
