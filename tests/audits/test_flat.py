"""Volumes of one voxel along an axis are audited, promised and drawn; of none, refused."""

import nibabel
import numpy as np
import pytest

from nacl_monai.cli import main
from tests.predictions.conftest import AFFINE, Study, save
from tests.promises.test_commands import blobs

EACH = ["--patients", "cases"]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_volume_of_one_voxel_along_an_axis_is_drawn(axis, tmp_path):
    """A row of voxels has no outline, which matplotlib would not draw."""
    cases = {}
    for k, (probs, label) in enumerate(blobs(0, 4).values()):
        place = [4, 4, 3][axis]
        cases[f"c{k}"] = probs.take([place], axis + 1), label.take([place], axis)
    study = Study(tmp_path, cases)
    data = [str(study.nnunet()), str(study.labels), *EACH]
    assert main(["audit", *data, "--output", str(tmp_path / "audit")]) == 0
    assert main(["promise", *data, "--level", "0.3", "--output", str(tmp_path / "promise")]) == 0
    assert (tmp_path / "promise" / "page.html").is_file()


@pytest.mark.parametrize("what", ["labels", "channels"])
def test_volume_without_a_voxel_is_refused_in_one_line(what, tmp_path, capsys):
    """As a fault of its case."""
    study = Study(tmp_path, {f"c{k}": pair for k, pair in enumerate(blobs(0, 4).values())})
    folders = {"channels": study.channels(), "labels": study.labels}
    file = folders[what] / "c1.nii.gz"
    shape = (9, 0, 7) if what == "labels" else (9, 0, 7, 3)
    save(file, np.zeros(shape, np.float32 if what == "channels" else np.uint8), AFFINE)
    assert 0 in nibabel.load(file).shape
    args = ["audit", *map(str, folders.values()), *EACH, "--no-pictures"]
    assert main([*args, "--output", str(tmp_path / "audit")]) == 1
    error = capsys.readouterr().err
    assert f"{file}: has no voxel along an axis, {shape}; write it again" in error
    assert "Traceback" not in error
