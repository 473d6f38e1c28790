"""Official layouts become lists of cases; other layouts are refused in one line."""

import shutil
from functools import partial
from pathlib import Path

import pytest

from nacl_monai.data import (
    acdc_cases,
    brats_cases,
    decathlon_cases,
    flare_cases,
    kits_cases,
    mrbrains_cases,
)
from nacl_monai.errors import InputError


class TestACDC:
    def test_every_patient_gives_two_frames(self, acdc_phantom):
        """Every patient gives two cases, ED and ES, named by the frames in Info.cfg."""
        cases = acdc_cases(acdc_phantom)

        assert len(cases) == 12
        for patient in {case["patient"] for case in cases}:
            info = (acdc_phantom / "training" / patient / "Info.cfg").read_text()
            frames = [
                int(line.split(":")[1]) for line in info.splitlines() if line[:2] in ("ED", "ES")
            ]
            assert [case["case"] for case in cases if case["patient"] == patient] == [
                f"{patient}_frame{frame:02d}" for frame in frames
            ]

    @pytest.mark.parametrize("parent", ["", "database"])
    def test_older_and_newer_releases_give_the_same_cases(self, acdc_phantom, tmp_path, parent):
        """Older and newer releases, and the training folder itself, give the same cases."""
        shutil.copytree(acdc_phantom / "training", tmp_path / parent / "training")
        (tmp_path / parent / "testing").mkdir()

        names = [case["case"] for case in acdc_cases(acdc_phantom)]

        assert names == [case["case"] for case in acdc_cases(tmp_path)]
        assert names == [case["case"] for case in acdc_cases(tmp_path / parent / "training")]

    @pytest.mark.parametrize("text", ["Group: NOR\n", "ED: one\nES: 2\n"])
    def test_unusable_info_is_named(self, acdc_copy, text):
        """Info.cfg without usable ED and ES lines is named."""
        info = acdc_copy / "training" / "patient001" / "Info.cfg"
        info.write_text(text)

        with pytest.raises(InputError, match="Info.cfg: needs the lines 'ED: <frame>'"):
            acdc_cases(acdc_copy)

    def test_one_frame_for_both_phases_is_named(self, acdc_copy):
        """ED = ES would count the same image twice."""
        info = acdc_copy / "training" / "patient001" / "Info.cfg"
        info.write_text("ED: 3\nES: 3\n")

        with pytest.raises(InputError, match=r"Info\.cfg: ED and ES are both frame 3; correct it"):
            acdc_cases(acdc_copy)

    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_info_of_windows_is_read(self, acdc_copy, mark):
        """A byte order mark and lines that end with CRLF change nothing."""
        names = [case["case"] for case in acdc_cases(acdc_copy)]
        for info in acdc_copy.rglob("Info.cfg"):
            text = mark + info.read_text().replace("\n", "\r\n")
            info.write_bytes(text.encode())

        assert names == [case["case"] for case in acdc_cases(acdc_copy)]

    def test_missing_info_is_named(self, acdc_copy):
        """A patient's folder without Info.cfg is named."""
        (acdc_copy / "training" / "patient002" / "Info.cfg").unlink()

        with pytest.raises(InputError, match=r"patient002/Info\.cfg: missing"):
            acdc_cases(acdc_copy)


class TestDecathlon:
    def test_images_and_labels_are_paired_by_name(self, decathlon_phantom):
        """Images and labels are paired by name, without macOS's ._ files; no patient is known."""
        cases = decathlon_cases(decathlon_phantom)

        assert [case["case"] for case in cases] == [f"hippocampus_{n:03d}" for n in range(10)]
        for case in cases:
            assert "patient" not in case
            assert Path(case["image"]).parent.name == "imagesTr"
            assert Path(case["label"]).parent.name == "labelsTr"
            assert Path(case["image"]).name == Path(case["label"]).name


def files(root, *names):
    """Empty files, since only names are looked at."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


class TestBraTS:
    MODALITIES = ("flair", "t1", "t1ce", "t2")
    PATIENTS = ("HGG/BraTS19_A_1", "HGG/BraTS19_B_1", "LGG/BraTS19_C_1")

    @pytest.fixture
    def root(self, tmp_path):
        return files(
            tmp_path,
            "name_mapping.csv",
            *(
                f"{patient}/{Path(patient).name}_{kind}.nii.gz"
                for patient in self.PATIENTS
                for kind in (*self.MODALITIES, "seg")
            ),
        )

    @pytest.mark.parametrize("below", ["", "MICCAI_BraTS_2019_Data_Training"])
    def test_patients_of_both_grades_have_their_modalities_in_order(self, root, tmp_path, below):
        """High and low grades, each with its modalities in the order that was asked for."""
        if below:
            for grade in ("HGG", "LGG"):
                (root / below).mkdir(exist_ok=True)
                (root / grade).rename(root / below / grade)

        cases = brats_cases(tmp_path, ["t1", "flair"])

        assert [case["case"] for case in cases] == [Path(name).name for name in self.PATIENTS]
        for case, patient in zip(cases, self.PATIENTS, strict=True):
            stem = str(root / below / patient / case["patient"])
            assert case["image"] == [f"{stem}_t1.nii.gz", f"{stem}_flair.nii.gz"]
            assert case["label"] == f"{stem}_seg.nii.gz"


class TestFLARE:
    def test_images_and_masks_are_paired_by_number(self, tmp_path):
        """Images and masks are paired by their number."""
        names = [f"train_{number:03d}" for number in (0, 7)]
        images = [f"TrainingImg/{name}_0000.nii.gz" for name in names]
        masks = [f"TrainingMask/{name}.nii.gz" for name in names]

        cases = flare_cases(files(tmp_path, *images, *masks, "TrainingMask/._train_000.nii.gz"))

        assert [case["case"] for case in cases] == names
        assert [case["image"] for case in cases] == [str(tmp_path / image) for image in images]
        assert [case["label"] for case in cases] == [str(tmp_path / mask) for mask in masks]


class TestKiTS:
    @pytest.fixture
    def root(self, tmp_path):
        folder = "data/case_{:05d}/{}.nii.gz"
        return files(
            tmp_path,
            "data/kits.json",
            *(folder.format(n, kind) for n in (0, 1) for kind in ("imaging", "segmentation")),
            folder.format(210, "imaging"),
        )

    @pytest.mark.parametrize("below", ["", "data"])
    def test_cases_without_a_segmentation_are_skipped(self, root, below):
        """Cases are named by their folders; those without a segmentation are skipped."""
        cases = kits_cases(root / below)

        assert [case["case"] for case in cases] == ["case_00000", "case_00001"]
        assert cases[1]["image"] == str(root / "data/case_00001/imaging.nii.gz")
        assert cases[1]["label"] == str(root / "data/case_00001/segmentation.nii.gz")


class TestMRBrainS:
    MODALITIES = ("reg_T1", "reg_IR", "FLAIR")

    @pytest.fixture
    def root(self, tmp_path):
        patients = ("1", "070")
        labels = [f"training/{patient}/segm.nii.gz" for patient in patients]
        kinds = (*self.MODALITIES, "T1", "IR")
        images = [f"training/{name}/pre/{kind}.nii.gz" for name in patients for kind in kinds]
        return files(tmp_path, *labels, *images)

    @pytest.mark.parametrize("below", ["", "training"])
    def test_patients_keep_their_names_and_registered_images(self, root, below):
        """Patients keep their names; images are the registered ones in `pre`."""
        cases = mrbrains_cases(root / below, self.MODALITIES)

        assert [case["case"] for case in cases] == ["070", "1"]
        assert [Path(file).name for file in cases[0]["image"]] == [
            "reg_T1.nii.gz",
            "reg_IR.nii.gz",
            "FLAIR.nii.gz",
        ]
        assert {Path(file).parent for file in cases[0]["image"]} == {root / "training/070/pre"}
        assert cases[0]["label"] == str(root / "training/070/segm.nii.gz")


LAYOUTS = [
    acdc_cases,
    decathlon_cases,
    flare_cases,
    kits_cases,
    partial(brats_cases, modalities=["t1"]),
    partial(mrbrains_cases, modalities=["T1"]),
]


def test_every_missing_file_is_reported_in_one_go(decathlon_phantom, tmp_path):
    """Every missing file can be heard of in one go; the cases that are complete are returned."""
    root = Path(shutil.copytree(decathlon_phantom, tmp_path / "task"))
    (root / "imagesTr/hippocampus_003.nii.gz").unlink()
    (root / "labelsTr/hippocampus_005.nii.gz").unlink()
    faults = []

    cases = decathlon_cases(root, report_fault=faults.append)

    assert [str(fault).split(": ")[1][:9] for fault in faults] == ["missing i", "has no la"]
    assert {case["case"][-1] for case in cases} == set("01246789")


@pytest.mark.parametrize("find", LAYOUTS)
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
