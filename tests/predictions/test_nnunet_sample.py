"""What nnU-Net itself wrote is audited: softmax, regions, and predictions without a segmentation."""

import pickle
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.predictions.conftest import CLASSES, Study, save
from tests.predictions.test_contract import check_numbers

ROOT = Path(__file__).parents[2]
SAMPLE = Path(__file__).parent / "nnunet_sample"
SOFTMAX = ROOT / "demo" / "nnunet"  # which the tutorial audits
DEMO = ROOT / "demo" / "Task04_Hippocampus" / "labelsTr"
REGIONS = {"hippocampus": (1, 2), "posterior": (2,)}


def label_of(case, affine, shape):
    """The demo's label on the sample's part of the grid, ``(x, y, z)``."""
    image = nibabel.load(DEMO / f"{case}.nii.gz")
    start = (np.linalg.inv(image.affine) @ affine)[:3, 3].round().astype(int)
    box = tuple(slice(low, low + size) for low, size in zip(start, shape, strict=True))
    return np.asarray(image.dataobj)[box].astype(np.uint8)


@pytest.fixture
def cases():
    """Probabilities ``(C, x, y, z)`` and label of each case of a part of the sample; saves labels."""

    def read(part, labels):
        found = {}
        for file in sorted((SOFTMAX if part == "softmax" else SAMPLE / part).rglob("*.npz")):
            probs = np.load(file)["probabilities"].transpose(0, 3, 2, 1)
            affine = affine_of(file)
            label = label_of(file.stem, affine, probs.shape[1:])
            save(labels / f"{file.stem}.nii.gz", label, affine)
            found[file.stem] = probs, label
        return found

    return read


def affine_of(file):
    segmentation = file.with_suffix(".nii.gz")
    if segmentation.is_file():
        return nibabel.load(segmentation).affine
    x, y, z = pickle.loads(file.with_suffix(".pkl").read_bytes())["sitk_stuff"]["origin"]
    return np.array([[1.0, 0, 0, -x], [0, 1, 0, -y], [0, 0, 1, z], [0, 0, 0, 1]])


def in_memory(cases, labels=CLASSES, structures=()):
    """The metric, of voxels of 1 mm."""
    study = Study(None, cases, {"labels": labels})
    return study.metric(structures=structures, margin_spacing=(1.0, 1.0, 1.0))


def test_training_with_npz_is_audited(cases, run, tmp_path):
    """The numbers are those of the metric in memory."""
    found = cases("softmax", tmp_path / "labels")
    code, out, err = run(SOFTMAX, tmp_path / "labels")

    assert code == 0, err
    assert "nnU-Net v2, 2 cases, 3 classes by softmax" in out
    check_numbers(tmp_path / "audit", in_memory(found))


def test_region_based_training_is_audited(cases, run, tmp_path):
    """Regions of ``dataset.json`` overlap; each is a problem of its own."""
    found = cases("regions", tmp_path / "labels")
    code, out, err = run(SAMPLE / "regions", tmp_path / "labels")

    assert code == 0, err
    assert "2 cases, 2 overlapping structures by sigmoid" in out
    check_numbers(tmp_path / "audit", in_memory(found, REGIONS, list(REGIONS)))


def test_geometry_is_read_where_no_segmentation_is(cases, run, audited, tmp_path):
    """From the pkl file, by which a label that is elsewhere is refused."""
    found = cases("predicted", tmp_path / "labels")
    folder = audited(SAMPLE / "predicted", tmp_path / "labels")

    check_numbers(folder, in_memory(found))
    label = tmp_path / "labels" / "hippocampus_003.nii.gz"
    image = nibabel.load(label)
    moved = image.affine + np.array([[0, 0, 0, 1.0]] * 3 + [[0] * 4])
    save(label, np.asarray(image.dataobj), moved)
    code, _, err = run(SAMPLE / "predicted", tmp_path / "labels", output="moved")
    assert code == 1
    assert "hippocampus_003.pkl" in err
