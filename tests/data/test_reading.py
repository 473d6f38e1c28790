"""Damage that libraries overlook is noticed; what they raise becomes one line."""

import gzip
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest

from nacl_monai.audits.images import read_grid, read_image
from nacl_monai.data import LoadCase, faults
from nacl_monai.data.faults import check_file, readable, warn_of_forms
from nacl_monai.errors import InputError
from nacl_monai.inference import ReadImage
from tests.conftest import save_nifti


@pytest.fixture(params=["a.nii", "a.nii.gz"])
def file(request, tmp_path):
    save_nifti(np.arange(60, dtype=np.int16).reshape(3, 4, 5), tmp_path / request.param)
    return tmp_path / request.param


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32, np.float64])
def test_sound_file_passes(tmp_path, dtype):
    """Signed, unsigned and floating-point numbers are plain numbers."""
    save_nifti(np.ones((2, 2, 2), dtype), tmp_path / "a.nii.gz")

    check_file(str(tmp_path / "a.nii.gz"))


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [(np.complex64, "complex"), (np.dtype([(name, np.uint8) for name in "RGB"]), "RGB")],
)
def test_voxels_that_are_no_numbers_are_refused(tmp_path, dtype, kind):
    """The message names what the voxels are."""
    save_nifti(np.zeros((2, 2, 2), dtype), tmp_path / "a.nii.gz")

    message = rf"a\.nii\.gz: its voxels are {kind}.*; convert it to one real number per voxel"
    with pytest.raises(InputError, match=message):
        check_file(str(tmp_path / "a.nii.gz"))


def test_checksum_is_compared(tmp_path):
    """A voxel that was changed behind the first megabyte is noticed, though it decompresses."""
    file = tmp_path / "a.nii.gz"
    save_nifti(np.zeros((128, 128, 100), np.uint8), file)
    before = file.read_bytes()
    content = bytearray(gzip.decompress(before))
    content[-1] ^= 1
    file.write_bytes(gzip.compress(content, 1)[:-8] + before[-8:])

    with pytest.raises(InputError, match=r"a\.nii\.gz: cannot be read \(CRC check failed"):
        check_file(str(file))


def test_file_that_is_no_nifti_is_refused(file):
    """Whatever its ending."""
    file.write_bytes(b"<html>please log in</html>")

    with pytest.raises(InputError, match="cannot be read .*; download or unpack it again"):
        check_file(str(file))


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OSError("first line\nlast line\n"), "last line"),
        (RuntimeError("  itk: bad  "), "itk: bad"),
        (EOFError(), "EOFError"),
        (MemoryError(" \n"), "MemoryError"),
        (zlib.error("invalid block"), "invalid block"),
        (ValueError("one"), "one"),
    ],
)
def test_last_line_of_an_error_is_its_cause(error, cause):
    """A library's error without words is called by its type; the error itself is kept."""
    with pytest.raises(InputError) as caught, readable("a.nii"):
        raise error

    assert str(caught.value) == f"a.nii: cannot be read ({cause}); download or unpack it again"
    assert caught.value.__cause__ is error


def test_other_errors_are_not_hidden():
    """A fault of the program is not a fault of the file."""
    with pytest.raises(ZeroDivisionError), readable("a.nii"):
        raise ZeroDivisionError


class TestForms:
    @pytest.fixture
    def contradiction(self, tmp_path, monkeypatch):
        """ACDC's release: the sform without the size of the voxels, which is in the qform."""
        monkeypatch.setattr(faults, "_warned", [])
        ramp = np.arange(132, dtype=np.float32).reshape(11, 4, 3)
        image = nibabel.Nifti1Image(ramp, np.diag([2.0, 2, 10, 1]))
        image.set_qform(np.diag([2.0, 2, 10, 1]), code=1)
        nibabel.save(image, tmp_path / "a.nii")
        image.header.set_sform(np.eye(4), code=1)
        content = image.header.binaryblock + (tmp_path / "a.nii").read_bytes()[348:]
        for name in ("a.nii", "b.nii"):
            (tmp_path / name).write_bytes(content)
        return tmp_path

    def test_one_warning_for_all_files(self, contradiction, capsys):
        """One line, which names a file and the distance: here (10, 3, 9·2) mm at the last voxel."""
        for name in ("a.nii", "b.nii", "a.nii"):
            warn_of_forms(str(contradiction / name))

        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(
            f"warning: {contradiction}/a.nii: its sform and qform put voxels up to 20.8 mm"
        )

    @pytest.mark.parametrize("code", [(0, 1), (0, 0)])
    def test_undeclared_form_contradicts_nothing(self, contradiction, capsys, code):
        """A form whose code is 0 says nothing; the qform has the voxel sizes of pixdim by its nature."""
        warn_of_forms(with_codes(contradiction / "a.nii", *code))

        assert capsys.readouterr().err == ""

    def test_sform_alone_with_other_sizes_than_pixdim_gets_a_warning(self, contradiction, capsys):
        """Both sizes, and which of them counts."""
        warn_of_forms(with_codes(contradiction / "a.nii", 1, 0))

        assert capsys.readouterr().err == (
            f"warning: {contradiction}/a.nii: has voxels of 1×1×1 mm by its sform and of 2×2×10 mm by "
            "its pixdim, and others may do so; the sform counts\n"
        )

    @pytest.mark.parametrize(
        ("sform_code", "qform_code", "sizes"),
        [(1, 1, (2, 2, 10)), (1, 0, (1, 1, 1)), (0, 1, (2, 2, 10)), (0, 0, (2, 2, 10))],
    )
    def test_same_form_counts_in_training_inference_and_audits(
        self, contradiction, sform_code, qform_code, sizes
    ):
        """A declared one; of two, the one with the voxel sizes of pixdim."""
        file = with_codes(contradiction / "a.nii", sform_code, qform_code)

        training = LoadCase([[0], [1]], 1).read_volume(file, is_image=True)
        inference = ReadImage(1)({"image": [file]})["image"]
        audit, (_, of_grid) = read_image(Path(file)), read_grid(Path(file))

        found = np.linalg.norm(training.affine[:3, :3], axis=0)
        np.testing.assert_allclose(found, sizes, rtol=1e-6)
        for affine in (inference.affine, audit.affine, of_grid):
            np.testing.assert_array_equal(training.affine, affine)


def with_codes(file, sform_code, qform_code):
    """Rewrites the codes of the header in ``file``; returns its name."""
    content = file.read_bytes()
    header = nibabel.load(file).header.copy()
    header["sform_code"], header["qform_code"] = sform_code, qform_code
    header["vox_offset"] = 352  # which nibabel forgets
    file.write_bytes(header.binaryblock + content[348:])
    return str(file)
