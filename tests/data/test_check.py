"""A download is verified from headers and labels; every fault is named with its file."""

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from nacl_monai.data.__main__ import main
from nacl_monai.data.check import check_dataset
from nacl_monai.errors import InputError
from tests.conftest import ROOT, change, put, save_nifti

BUNDLES = ROOT / "bundles"


def check(root, dataset="hippocampus", subset=True):
    return check_dataset(dataset, root, bundles=BUNDLES, subset=subset)


@pytest.fixture
def root(decathlon_phantom, tmp_path):
    """Ten cases, for a test that spoils them."""
    return Path(shutil.copytree(decathlon_phantom, tmp_path / "task"))


class TestSound:
    def test_numbers(self, decathlon_phantom):
        """Shapes, spacings and voxels of each class are those of the files."""
        found = check(decathlon_phantom)

        labels = [
            nibabel.load(file) for file in sorted((decathlon_phantom / "labelsTr").glob("h*"))
        ]
        assert found.faults == []
        assert found.shapes == [label.shape for label in labels]
        assert found.spacings == [label.header.get_zooms() for label in labels]
        for value in range(3):
            of_each = [int((label.get_fdata() == value).sum()) for label in labels]
            assert found.voxels[value] == sum(of_each)
            assert found.holders[value] == sum(number > 0 for number in of_each)

    def test_table(self, decathlon_phantom):
        """One table: number of cases, ranges, and the classes with their share of all voxels."""
        found = check(decathlon_phantom)
        title, shape, spacing, *rows = found.table().splitlines()
        smallest, largest = np.min(found.shapes, axis=0), np.max(found.shapes, axis=0)

        assert "10 sound cases of 10 patients (official: 260 cases), 1 channel" in title
        assert shape.split()[1:] == [
            "×".join(map(str, smallest)),
            "to",
            "×".join(map(str, largest)),
        ]
        assert spacing.split()[1:] == ["1.00×1.00×1.00", "to", "1.00×1.00×1.00", "mm"]
        total = sum(found.voxels.values())
        assert [row.split() for row in rows[1:]] == [
            [name, str(k), str(found.voxels[k]), f"{100 * found.voxels[k] / total:.3f}", "10"]
            for k, name in enumerate(("background", "anterior", "posterior"))
        ]

    def test_pixels_are_not_read(self, root):
        """Of an image the header suffices: one that is cut off behind it has no fault here."""
        for image in (root / "imagesTr").glob("h*"):
            image.write_bytes(image.read_bytes()[:2000])

        assert check(root).faults == []

    def test_exit_code(self, decathlon_phantom, capsys):
        """The command prints the table and ends with 0, or with 1 where the number is too small."""
        words = ["check", "hippocampus", str(decathlon_phantom), "--bundles", str(BUNDLES)]

        assert main([*words, "--subset"]) == 0
        assert "posterior" in capsys.readouterr().out
        assert main(words) == 1
        printed = capsys.readouterr()
        assert "posterior" in printed.out
        faults = [line for line in printed.err.splitlines() if line.startswith("fault: ")]
        assert len(faults) == 1
        assert "10 sound cases, but the official download has 260" in faults[0]

    def test_real(self, hippocampus_dir):
        """The real task is complete and sound."""
        found = check(hippocampus_dir, subset=False)

        assert found.faults == []
        assert len(found.patients) == 260


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def no_nifti(file):
    file.write_bytes(b"<html>please log in</html>")


def move(file):
    stored = nibabel.load(file)
    affine = stored.affine.copy()
    affine[0, 3] += 1
    save_nifti(np.asarray(stored.dataobj), file, affine)


class TestFaults:
    def test_all_of_them(self, root):
        """Faults of several files are all named."""
        (root / "imagesTr/hippocampus_001.nii.gz").unlink()
        truncate(root / "labelsTr/hippocampus_004.nii.gz")
        move(root / "labelsTr/hippocampus_008.nii.gz")

        faults = [str(fault) for fault in check(root).faults]

        assert len(faults) == 3
        for number, fault in zip((1, 4, 8), faults, strict=True):
            assert f"hippocampus_00{number}.nii.gz: " in fault

    def test_all_of_one_case(self, root):
        """Faults of the image do not hide those of the label."""
        no_nifti(root / "imagesTr/hippocampus_004.nii.gz")
        change(root / "labelsTr/hippocampus_004.nii.gz", put(9))

        found = check(root)

        assert ["imagesTr" in str(fault) for fault in found.faults] == [True, False]
        assert found.voxels[9] == 0
        assert len(found.patients) == 9

    def test_duplicates(self, root):
        """A case that is there twice is found by its label, under whatever name and data type."""
        for folder in ("imagesTr", "labelsTr"):
            content = (root / folder / "hippocampus_002.nii.gz").read_bytes()
            (root / folder / "hippocampus_777.nii.gz").write_bytes(content)
        change(root / "labelsTr/hippocampus_777.nii.gz", lambda voxels: voxels)

        found = check(root)

        assert [str(fault) for fault in found.faults] == [
            f"{root}/labelsTr/hippocampus_777.nii.gz: is the same label map as "
            f"{root}/labelsTr/hippocampus_002.nii.gz; remove one of the cases"
        ]
        assert len(found.patients) == 10

    @pytest.mark.parametrize(
        ("dataset", "bundles", "message"),
        [
            ("hippocampus", BUNDLES, "not the Decathlon's layout"),
            ("brain", BUNDLES, "no such dataset; choose from: acdc, "),
            ("acdc", "/nowhere", "no bundles there; run this in the project's root"),
        ],
    )
    def test_refused(self, tmp_path, capsys, dataset, bundles, message):
        """A wrong folder or name is one line."""
        assert main(["check", dataset, str(tmp_path), "--bundles", str(bundles)]) == 1

        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        with pytest.raises(InputError):
            check_dataset(dataset, tmp_path, bundles=bundles)
