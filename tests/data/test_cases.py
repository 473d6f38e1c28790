"""Official layouts become lists of cases; other layouts are refused in one line."""

import shutil
from pathlib import Path

import pytest

from nacl_monai.data import acdc_cases, decathlon_cases
from nacl_monai.errors import InputError


class TestACDC:
    def test_frames(self, acdc_phantom):
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

    def test_files(self, acdc_phantom):
        """Image and label are those of the case's frame, and never the 4-D cine."""
        for case in acdc_cases(acdc_phantom):
            assert Path(case["image"]).name == f"{case['case']}.nii.gz"
            assert Path(case["label"]).name == f"{case['case']}_gt.nii.gz"

    @pytest.mark.parametrize("parent", ["", "database"])
    def test_releases(self, acdc_phantom, tmp_path, parent):
        """Older and newer releases, and the training folder itself, give the same cases."""
        shutil.copytree(acdc_phantom / "training", tmp_path / parent / "training")
        (tmp_path / parent / "testing").mkdir()

        names = [case["case"] for case in acdc_cases(acdc_phantom)]

        assert names == [case["case"] for case in acdc_cases(tmp_path)]
        assert names == [case["case"] for case in acdc_cases(tmp_path / parent / "training")]

    def test_missing_label(self, acdc_copy):
        """An image without its label is named, with the label's expected place."""
        label = next(acdc_copy.rglob("*_gt.nii.gz"))
        label.unlink()

        with pytest.raises(InputError, match=f"has no label; expected it at .*{label.name}"):
            acdc_cases(acdc_copy)

    def test_missing_image(self, acdc_copy):
        """A frame that Info.cfg announces and that is not there is named."""
        case = acdc_cases(acdc_copy)[0]
        Path(case["image"]).unlink()

        with pytest.raises(InputError, match=rf"{case['case']}\.nii\.gz: missing image"):
            acdc_cases(acdc_copy)

    @pytest.mark.parametrize("text", ["Group: NOR\n", "ED: one\nES: 2\n"])
    def test_unusable_info(self, acdc_copy, text):
        """Info.cfg without usable ED and ES lines is named."""
        info = acdc_copy / "training" / "patient001" / "Info.cfg"
        info.write_text(text)

        with pytest.raises(InputError, match="Info.cfg: needs the lines 'ED: <frame>'"):
            acdc_cases(acdc_copy)

    def test_missing_info(self, acdc_copy):
        """A patient's folder without Info.cfg is named."""
        (acdc_copy / "training" / "patient002" / "Info.cfg").unlink()

        with pytest.raises(InputError, match=r"patient002/Info\.cfg: missing"):
            acdc_cases(acdc_copy)


class TestDecathlon:
    def test_pairs(self, decathlon_phantom):
        """Images and labels are paired by name, one case a patient, without macOS's ._ files."""
        cases = decathlon_cases(decathlon_phantom)

        assert [case["case"] for case in cases] == [f"hippocampus_{n:03d}" for n in range(10)]
        for case in cases:
            assert case["patient"] == case["case"]
            assert Path(case["image"]).parent.name == "imagesTr"
            assert Path(case["label"]).parent.name == "labelsTr"
            assert Path(case["image"]).name == Path(case["label"]).name

    @pytest.mark.parametrize(
        ("folder", "message"), [("labelsTr", "no label"), ("imagesTr", "no image")]
    )
    def test_unpaired(self, decathlon_phantom, tmp_path, folder, message):
        """A file without its partner is named, whichever of the two is missing."""
        root = Path(shutil.copytree(decathlon_phantom, tmp_path / "task"))
        (root / folder / "hippocampus_003.nii.gz").unlink()

        with pytest.raises(InputError, match=rf"hippocampus_003\.nii\.gz: has {message}"):
            decathlon_cases(root)

    def test_real(self, hippocampus_dir):
        """The real task holds 260 labelled patients."""
        assert len(decathlon_cases(hippocampus_dir)) == 260


@pytest.mark.parametrize("find", [acdc_cases, decathlon_cases])
class TestEveryLayout:
    @pytest.mark.parametrize("unset", [None, ""])
    def test_unset(self, find, unset):
        """Without dataset_dir the message says which key to set."""
        with pytest.raises(InputError, match="dataset_dir is not set; .* --dataset_dir DIR"):
            find(unset)

    def test_missing(self, find, tmp_path):
        """A folder that is not there is named."""
        with pytest.raises(InputError, match=rf"dataset_dir {tmp_path}/nowhere: no such folder"):
            find(tmp_path / "nowhere")

    def test_other_layout(self, find, tmp_path):
        """A folder in another layout is refused with the layout that is expected."""
        (tmp_path / "images").mkdir()

        with pytest.raises(InputError, match="layout, .* is there|is not there"):
            find(tmp_path)
