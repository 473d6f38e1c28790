"""A header tells the grid and the channels, without the voxels."""

import numpy as np
import pytest

from nacl_monai.data.headers import Header
from nacl_monai.errors import InputError
from tests.conftest import save_nifti

AFFINE = np.array([[0, -2.0, 0, 5], [3, 0, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]])
LPS = np.diag([-1, -1, 1])


@pytest.mark.parametrize(("channels", "expected"), [((), 1), ((2,), 2)])
def test_header_describes_the_file(tmp_path, channels, expected):
    """Shape and spacing without channels; the affine in SimpleITK's coordinates."""
    file = str(tmp_path / "a.nii.gz")
    save_nifti(np.zeros((4, 5, 6, *channels), np.float32), tmp_path / "a.nii.gz", AFFINE)

    header = Header.read(file)

    assert (header.grid.file, header.grid.shape, header.channels) == (file, (4, 5, 6), expected)
    np.testing.assert_allclose(header.spacing, (3, 2, 4))
    np.testing.assert_allclose(header.grid.affine, LPS @ AFFINE[:3], atol=1e-5)


def test_voxels_are_not_read(tmp_path):
    """A file that is cut off behind its header is described all the same."""
    file = tmp_path / "a.nii"
    save_nifti(np.zeros((4, 5, 6), np.float32), file)
    file.write_bytes(file.read_bytes()[:360])

    assert Header.read(str(file)).grid.shape == (4, 5, 6)


@pytest.mark.parametrize(
    ("voxels", "message"),
    [
        (np.zeros((4, 5), np.float32), r"has shape \(4, 5\); a 3-D volume is needed"),
        (np.zeros((4, 5, 6, 2, 2), np.float32), r"has shape \(4, 5, 6, 2\); a 3-D volume"),
        (np.zeros((4, 5, 6), np.complex64), "its voxels are .*complex.*; convert it"),
    ],
)
def test_other_files_are_refused(tmp_path, voxels, message):
    """Other numbers of axes, and voxels that are no numbers, are refused with the file's name."""
    save_nifti(voxels, tmp_path / "a.nii.gz")

    with pytest.raises(InputError, match=rf"a\.nii\.gz: {message}"):
        Header.read(str(tmp_path / "a.nii.gz"))


def test_missing_file_is_refused(tmp_path):
    """What SimpleITK says is the cause, in one line."""
    with pytest.raises(InputError, match=r"a\.nii\.gz: cannot be read \(.*\); download") as caught:
        Header.read(str(tmp_path / "a.nii.gz"))

    assert "\n" not in str(caught.value)
