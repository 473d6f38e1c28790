"""Loading a case: what is sound comes through unchanged, every fault is named with its file."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from nacl_monai.data import LoadCased
from nacl_monai.errors import InputError
from tests.conftest import save_nifti

OBLIQUE = np.array([[-1.4, 0.2, 0, 5], [0.2, 1.4, 0, 6], [0, 0, 8, 7], [0, 0, 0, 1.0]])


@pytest.fixture
def case(tmp_path):
    """A sound case of 6×5×4 voxels."""
    rng = np.random.default_rng(0)
    save_nifti(rng.normal(size=(6, 5, 4)).astype(np.float32), tmp_path / "image.nii.gz", OBLIQUE)
    save_nifti(rng.integers(0, 3, (6, 5, 4)).astype(np.uint8), tmp_path / "label.nii.gz", OBLIQUE)
    return {"image": str(tmp_path / "image.nii.gz"), "label": str(tmp_path / "label.nii.gz")}


def change(file, function):
    """Rewrites ``file`` with ``function`` applied to its voxels."""
    stored = nibabel.load(file)
    save_nifti(function(np.asarray(stored.dataobj).copy()), Path(file), stored.affine)


def put(value):
    def function(voxels):
        voxels[1, 2, 3] = value
        return voxels

    return function


def test_sound(case):
    """Voxels, affine and types are those of the files."""
    loaded = LoadCased(range(3))({**case, "case": "c"})

    for key, dtype in (("image", torch.float32), ("label", torch.uint8)):
        stored = nibabel.load(case[key])
        np.testing.assert_array_equal(stored.get_fdata(dtype=np.float32), loaded[key][0].numpy())
        np.testing.assert_allclose(stored.affine, loaded[key].affine.numpy(), atol=1e-6)
        assert loaded[key].dtype == dtype
    assert loaded["case"] == "c"


@pytest.mark.parametrize(
    ("key", "function", "message"),
    [
        ("image", put(np.nan), "holds NaN or infinite voxels"),
        ("image", put(np.inf), "holds NaN or infinite voxels"),
        ("image", np.zeros_like, "is constant"),
        ("image", lambda voxels: voxels[..., 0], "a 3-D volume is needed"),
        ("label", put(3), "holds the label value 3; expected only \\[0, 1, 2\\]"),
        ("label", lambda voxels: put(0.5)(voxels.astype(np.float32)), "holds the label value 0.5"),
        ("label", np.zeros_like, "holds no foreground voxel"),
        ("label", lambda voxels: voxels[1:], "shape \\(5, 5, 4\\) but its image \\(6, 5, 4\\)"),
    ],
)
def test_faulty_voxels(case, key, function, message):
    """Voxels that cannot be learnt from are refused; the message names the file."""
    change(case[key], function)

    with pytest.raises(InputError, match=rf"{key}\.nii\.gz: .*{message}"):
        LoadCased(range(3))(case)


def test_other_affine(case):
    """Image and label on different grids are refused."""
    label = nibabel.load(case["label"])
    save_nifti(np.asarray(label.dataobj), Path(case["label"]), OBLIQUE + 0.01 * np.eye(4))

    with pytest.raises(
        InputError, match=r"label\.nii\.gz: its affine differs from that of .*image"
    ):
        LoadCased(range(3))(case)


def truncate(file):
    file.write_bytes(file.read_bytes()[:100])


def damage(file):
    content = bytearray(file.read_bytes())
    content[60:70] = b"0123456789"
    file.write_bytes(content)


def empty(file):
    file.write_bytes(b"")


def cut_voxels(file):
    """A whole gzip file around half a NIfTI file."""
    content = gzip.decompress(file.read_bytes())
    file.write_bytes(gzip.compress(content[: len(content) - 40]))


def no_nifti(file):
    file.write_bytes(gzip.compress(b"<html>please log in</html>"))


def remove(file):
    file.unlink()


@pytest.mark.parametrize("key", ["image", "label"])
@pytest.mark.parametrize("spoil", [truncate, damage, empty, cut_voxels, no_nifti, remove])
def test_unreadable(case, key, spoil):
    """A file that cannot be read, for whatever reason, is named in one line."""
    spoil(Path(case[key]))

    with pytest.raises(InputError, match=rf"{key}\.nii\.gz: cannot be read") as caught:
        LoadCased(range(3))(case)
    assert "\n" not in str(caught.value)
