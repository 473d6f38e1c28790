"""Names are those of the table that inference writes; codes are DICOM's own."""

import pytest
from pydicom.sr.codedict import codes

from nacl_monai.dicom.names import check_names, class_names, property_of
from nacl_monai.errors import InputError
from nacl_monai.inference.saving import label_tables


def write_table(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.txt").write_text(label_tables(names)["labels.txt"], encoding="utf-8")


def test_names_are_those_of_the_nearest_table(tmp_path):
    """Beside the map, or above it, where inference keeps the folders of images below its own."""
    write_table(tmp_path, {0: "background", 1: "left atrium", 2: "Höhle"})
    write_table(tmp_path / "a", {0: "background", 1: "liver"})

    assert class_names(tmp_path / "b/c/x_label.nii.gz") == ["background", "left atrium", "Höhle"]
    assert class_names(tmp_path / "a/x_label.nii.gz") == ["background", "liver"]


@pytest.mark.parametrize("names", [{0: "background", 2: "tumor"}, {0: "background"}])
def test_values_are_those_of_classes(tmp_path, names):
    """0, 1, … without a gap, as inference has them; one value is not a table of classes."""
    write_table(tmp_path, names)

    with pytest.raises(InputError, match=r"labels.txt: does not name classes 0, 1, …; name those"):
        class_names(tmp_path / "x_label.nii.gz")


def test_missing_table_is_one_line(tmp_path, monkeypatch):
    """With what to write instead; relative paths have folders above them, too."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InputError, match="x.nii.gz: no labels.txt beside it names its classes"):
        class_names(tmp_path / "x.nii.gz")


@pytest.mark.parametrize("names", [["background"], ["b", ""], ["b", "a\\b"], ["b", "x" * 65]])
def test_names_that_dicom_does_not_take_are_refused(names):
    """Segments are called by 1 to 64 characters; a backslash separates values."""
    with pytest.raises(InputError, match="--names"):
        check_names(names)
    check_names(["background", "x" * 64])


@pytest.mark.parametrize(
    ("name", "category", "kind"),
    [
        ("liver", codes.SCT.AnatomicalStructure, codes.SCT.Liver),
        ("Left Ventricle", codes.SCT.AnatomicalStructure, codes.SCT.LeftVentricle),
        ("gray_matter", codes.SCT.AnatomicalStructure, codes.SCT.GrayMatter),
        ("edema", codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Edema),
    ],
)
def test_name_that_dicom_lists_has_its_code(name, category, kind):
    """Whatever its case and its spaces."""
    assert property_of(name) == (category, kind, False)


@pytest.mark.parametrize("name", ["PZ", "trait_names", "concepts", "dir", "…", "liver 2"])
def test_any_other_name_is_tissue(name):
    """The one code that is never wrong."""
    assert property_of(name) == (codes.SCT.Tissue, codes.SCT.Tissue, True)
