"""Folders of raters: every case by every rater on one grid, or one line."""

import nibabel
import numpy as np
import pytest
import SimpleITK

from nacl_monai.errors import InputError
from nacl_monai.raters.folders import check_values, find_cases, read_cases, structure


def test_cases_are_read_by_name_whatever_the_tool(write, tmp_path):
    """NIfTI and NRRD; axes in any order and direction become right, anterior, superior."""
    one, other = write(tmp_path, cases=2, spacing=(1.0, 2.0, 4.0), shape=(20, 14, 3), error=0)
    file = other / "case01.nii.gz"
    image = SimpleITK.ReadImage(str(file))
    SimpleITK.WriteImage(image, str(other / "case01.nrrd"))
    file.unlink()
    for folder in (one, other):
        file = folder / "case00.nii.gz"
        image = nibabel.load(file)
        turned = image.as_reoriented(np.array([[2, 1], [0, -1], [1, 1]]))
        nibabel.save(turned, file)

    for case in read_cases(find_cases([one, other])):
        assert case.spacing == (1.0, 2.0, 4.0)
        assert case.labels.shape == (2, 20, 14, 3)
        assert np.array_equal(case.labels[0], case.labels[1])
        x, y = (np.arange(20) - 9.5), (np.arange(14) - 6.5) * 2
        radius = np.hypot(x[:, None], y)
        inside = case.labels[0, :, :, 0] > 0
        assert radius[inside].max() <= radius[~inside].min()


def test_slices_of_an_oblique_stack_are_its_own(write, tmp_path):
    """The axis of the longest voxels is the last, though it runs nearest to the right."""
    folders = write(tmp_path, cases=1, spacing=(1.0, 1.5, 8.0), shape=(20, 14, 3))
    expected = next(read_cases(find_cases(folders)))
    oblique = np.array([[0.1, 0, 8.0, 0], [1.0, 0.1, 0, 0], [0, 1.5, 0.1, 0], [0, 0, 0, 1]])
    for folder in folders:
        file = folder / "case00.nii.gz"
        voxels = np.asarray(nibabel.load(file).dataobj)
        nibabel.save(nibabel.Nifti1Image(voxels, oblique), file)

    case = next(read_cases(find_cases(folders)))
    assert case.spacing[2] == pytest.approx(8.0, rel=1e-3)
    counts = [sorted(of.labels.sum((0, 1, 2))) for of in (case, expected)]
    assert counts[0] == counts[1]
    assert case.labels.shape[-1] == 3


def test_missing_and_repeated_raters_are_refused(write, tmp_path):
    """Before the first volume is read."""
    one, other, third = write(tmp_path, raters=3, cases=3)
    (third / "case01.nii.gz").unlink()

    with pytest.raises(InputError, match=r"rater2: has no label map of the case 'case01'"):
        find_cases([one, other, third])
    with pytest.raises(InputError, match=r"rater0: is given twice"):
        find_cases([one, other, one / ".." / one.name])
    with pytest.raises(InputError, match=r"rater0: is the only rater"):
        find_cases([one])


def test_other_grids_are_refused(write, tmp_path):
    """Other shapes, and other places of the same shape."""
    one, _ = write(tmp_path / "a", cases=1)
    smaller, _ = write(tmp_path / "b", cases=1, shape=(40, 48, 5))
    wider, _ = write(tmp_path / "c", cases=1, spacing=(1.1, 1.0, 4.0))
    for other, fault in ((smaller, "has shape"), (wider, "its affine puts voxels")):
        with pytest.raises(InputError, match=rf"rater0/case00\.nii\.gz: {fault}"):
            list(read_cases(find_cases([one, other])))


def test_distance_that_is_accepted_is_read(write, tmp_path):
    """As the refusal says it: 0.1 mm over 39 voxels are 3.9."""
    one, _ = write(tmp_path / "a", cases=1, shape=(40, 40, 3))
    wider, _ = write(tmp_path / "b", cases=1, shape=(40, 40, 3), spacing=(1.1, 1.0, 4.0))
    files = find_cases([one, wider])

    with pytest.raises(InputError, match=r"--affine_tolerance 3\.91$"):
        list(read_cases(files))
    assert len(list(read_cases(files, 3.91))) == 1


@pytest.mark.parametrize("rater", [0, 1])
@pytest.mark.parametrize("row", [[0, 0, 0, 0], [1, 0, 0, np.nan]])
def test_affine_that_gives_no_size_or_place_is_refused(write, tmp_path, rater, row):
    """Any rater's; it is named."""
    folders = write(tmp_path, cases=1)
    file = folders[rater] / "case00.nii.gz"
    image = nibabel.load(file)
    header = image.header
    header["srow_x"], header["sform_code"], header["qform_code"] = row, 1, 0
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), None, header), file)

    with pytest.raises(InputError, match=f"^{file}: its affine gives the voxels no size"):
        list(read_cases(find_cases(folders)))


def test_other_label_sets_are_refused(tmp_path):
    """A structure that one rater never labeled, or nothing at all."""
    folders = [tmp_path / "one", tmp_path / "other"]
    assert check_values(folders, [{2, 1}, {1, 2}]) == [1, 2]
    with pytest.raises(InputError, match=r"other: holds the label values \[1\], but .* \[1, 2\]"):
        check_values(folders, [{1, 2}, {1}])
    with pytest.raises(InputError, match="one: holds no foreground"):
        check_values(folders, [set(), set()])


def test_structure_is_cut_out_with_a_margin(write, tmp_path):
    """Slices along the third axis, or one volume; None where no rater has it."""
    (case,) = read_cases(find_cases(write(tmp_path, cases=1, shape=(48, 48, 7))))
    slices = structure(case, 1, "one", 3.0, volumes=False)
    volume = structure(case, 1, "one", 3.0, volumes=True)

    assert slices.spacing == (1.0, 1.0)
    assert volume.spacing == (1.0, 1.0, 4.0)
    assert np.array_equal(np.moveaxis(volume.masks[:, 0], 3, 1), slices.masks)
    assert slices.masks.sum() == (case.labels == 1).sum()
    assert not slices.masks[..., :3].any()
    assert not slices.masks[:, :, -3:].any()
    assert structure(case, 2, "one", 3.0, volumes=False) is None
