"""`--write nifti`: maps are where the label map is, with names that viewers read."""

import errno
import math
import re

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch

from nacl_monai.audits.channels import Channels
from nacl_monai.audits.images import Probabilities
from nacl_monai.audits.labels import Labels
from nacl_monai.audits.pictures import write_maps
from nacl_monai.inference.saving import label_tables
from tests.audits.conftest import AFFINE, SHAPE, save

GEOMETRY = ("GetSize", "GetSpacing", "GetOrigin", "GetDirection")


def check_maps(folder, study):
    """Every map of every case, voxel by voxel, by loops, and its place as ITK sees it."""
    for case, (probs, _) in study.cases.items():
        label = nibabel.load(study.root / "labels" / f"{case}.nii.gz")
        itk = SimpleITK.ReadImage(study.root / "labels" / f"{case}.nii.gz")
        entropy = np.array(
            [
                -sum(p * math.log(p) for p in voxel if p) / math.log(len(probs))
                for voxel in probs.reshape(len(probs), -1).astype(float).T
            ]
        ).reshape(SHAPE)
        expected = {
            "probabilities": np.moveaxis(probs, 0, -1),
            "confidence": probs.max(0),
            "entropy": entropy,
            "label": probs.argmax(0),
        }
        for name, voxels in expected.items():
            file = folder / f"{case}_{name}.nii.gz"
            image = nibabel.load(file)
            np.testing.assert_allclose(image.get_fdata(), voxels, atol=1e-6, err_msg=name)
            assert image.get_data_dtype() == (np.int16 if name == "label" else np.float32)
            np.testing.assert_array_equal(image.affine, label.affine)
            for field in ("qform_code", "sform_code", "xyzt_units", "quatern_b", "srow_x"):
                np.testing.assert_array_equal(image.header[field], label.header[field])
            if name == "confidence":
                read = SimpleITK.ReadImage(file)
                for value in GEOMETRY:
                    assert getattr(read, value)() == getattr(itk, value)()


def test_maps_lie_where_their_label_map_lies(study, run, tmp_path):
    """On its own axes, with its own header; the numbers are those of an audit without them."""
    words = (study.nnunet(), study.labels)
    code, out, err = run(*words, "--write", "nifti")
    assert code == 0, err

    check_maps(tmp_path / "audit/nifti", study)
    assert f"wrote {tmp_path / 'audit' / 'nifti'}" in out
    assert len(list((tmp_path / "audit/nifti").iterdir())) == 3 * 4 + 2
    assert run(*words, output="plain")[0] == 0
    assert not (tmp_path / "plain/nifti").exists()
    for name in ("cases.csv", "summary.json", "evaluation.json"):
        assert (tmp_path / "audit" / name).read_text() == (tmp_path / "plain" / name).read_text()


def test_axes_that_nnunet_has_turned_are_turned_back(study, run, tmp_path):
    """Probabilities that run right, anterior, superior, of labels that do not."""
    place = study.nnunet(plans="NibabelIOWithReorient")
    turn = nibabel.orientations.io_orientation(AFFINE)
    for case, (probs, _) in study.cases.items():
        turned = np.stack([nibabel.orientations.apply_orientation(p, turn) for p in probs])
        np.savez(place / f"{case}.npz", probabilities=turned.transpose(0, 3, 2, 1))
    code, _, err = run(place, study.labels, "--write", "nifti")
    assert code == 0, err

    check_maps(tmp_path / "audit/nifti", study)


def test_overlapping_structures_have_no_label_map(regions, run, tmp_path):
    """Their confidence is that of the least certain structure."""
    code, _, err = run(regions.nnunet(), regions.labels, "--write", "nifti")
    assert code == 0, err

    folder = tmp_path / "audit/nifti"
    assert not list(folder.glob("*_label.nii.gz"))
    for case, (probs, _) in regions.cases.items():
        found = nibabel.load(folder / f"{case}_confidence.nii.gz").get_fdata()
        np.testing.assert_allclose(found, np.maximum(probs, 1 - probs).min(0), atol=1e-6)


def maps_of(tmp_path, voxels, label, affine=AFFINE):
    """The maps of one case of two classes."""
    predicted = Probabilities(voxels, None, label, label)
    labels = Labels(torch.zeros(voxels.shape[1:], dtype=torch.uint8), None, affine)
    channels = Channels("softmax", {"background": (0,), "tumor": (7,)})
    write_maps(tmp_path, "case", predicted, labels, label, channels)
    names = ("probabilities", "confidence", "entropy", "label")
    return {name: nibabel.load(tmp_path / f"case_{name}.nii.gz") for name in names}


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
def test_stored_precision_becomes_single_precision(tmp_path, dtype):
    """A byte counts 255ths; label maps have the values that the dataset gives its classes."""
    tumor = np.arange(SHAPE[0] * SHAPE[1] * SHAPE[2]).reshape(SHAPE[::-1]) % 256
    stored = np.stack([255 - tumor, tumor])
    stored = stored.astype(np.uint8) if dtype == np.uint8 else (stored / 255).astype(dtype)
    save(tmp_path / "l.nii.gz", np.zeros(SHAPE, np.uint8))
    maps = maps_of(tmp_path, stored, tmp_path / "l.nii.gz")

    exact = stored / 255 if dtype == np.uint8 else stored.astype(float)
    probs = np.asarray(maps["probabilities"].dataobj)
    np.testing.assert_allclose(probs, exact.transpose(3, 2, 1, 0), rtol=1e-6)
    assert set(np.unique(maps["label"].dataobj)) == {0, 7}


def test_label_maps_of_other_formats_give_their_place(tmp_path):
    """NRRD knows no header of NIfTI's, but the place."""
    turned = np.array([[0, 0, 3.0, -20], [-1.5, 0, 0, 30], [0, 2, 0, 7], [0, 0, 0, 1]])
    image = SimpleITK.GetImageFromArray(np.zeros(SHAPE[::-1], np.uint8))
    lps = np.diag([-1.0, -1, 1, 1]) @ turned
    image.SetSpacing([1.5, 2, 3])
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / [1.5, 2, 3]).ravel().tolist())
    SimpleITK.WriteImage(image, tmp_path / "l.nrrd")
    probs = np.full((2, *SHAPE[::-1]), 0.5, np.float32)
    maps = maps_of(tmp_path, probs, tmp_path / "l.nrrd", turned)

    np.testing.assert_allclose(maps["entropy"].affine, turned)
    read = SimpleITK.ReadImage(tmp_path / "case_entropy.nii.gz")
    for value in GEOMETRY:
        np.testing.assert_allclose(getattr(read, value)(), getattr(image, value)(), atol=1e-6)


SNAP = re.compile(r'\s*(\d+)((?:\s+\d+){3})\s+([\d.]+)\s+([01])\s+([01])\s+"([^"]*)"')


def test_names_are_read_by_both_programs():
    """ITK-SNAP's eight columns, the last in quotes; Slicer's six, a name without blanks."""
    channels = Channels(
        "softmax", {"background": (0,), 'left "lung"': (1,), "tumor": (5,)}, ignore=9
    )
    tables = label_tables(channels.label_names)
    snap, slicer = tables["labels.txt"], tables["labels.ctbl"]

    rows = [line for line in snap.splitlines() if not line.startswith("#")]
    found = {int(match[1]): match for match in map(SNAP.fullmatch, rows)}
    assert {value: match[6] for value, match in found.items()} == {
        0: "background",
        1: "left 'lung'",
        5: "tumor",
        9: "ignore",
    }
    assert "# ITK-SnAP Label Description File" in snap
    assert [(float(found[value][3]), found[value][4]) for value in (0, 1)] == [(0, "0"), (1, "1")]

    lines = slicer.splitlines()
    assert lines[:2] == ["# Color table file labels.ctbl", "# 4 values"]
    table = {int(row[0]): row[1:] for row in map(str.split, lines[2:])}
    assert {value: row[0] for value, row in table.items()} == {
        0: "background",
        1: "left_'lung'",
        5: "tumor",
        9: "ignore",
    }
    for value, (_, *color, alpha) in table.items():
        assert [int(part) for part in color] == [int(part) for part in found[value][2].split()]
        assert int(alpha) == (255 if value else 0)


def test_full_disk_leaves_the_audit_before(study, run, tmp_path, monkeypatch):
    """One line, exit code 1, and nothing half-written."""
    words = (study.nnunet(), study.labels)
    assert run(*words, "--write", "nifti")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "audit").rglob("*.*")}

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("nacl_monai.audits.pictures.write_nifti", refuse)
        code, _, err = run(*words, "--write", "nifti")
    errors = [line for line in err.splitlines() if "error" in line]

    assert code == 1
    assert len(errors) == 1
    assert re.search(
        r"_\w+\.nii\.gz: cannot be written \(No space left on device\); choose", errors[0]
    )
    assert {path: path.read_bytes() for path in (tmp_path / "audit").rglob("*.*")} == before
    assert not list(tmp_path.glob(".audit*"))


def test_maps_belong_to_their_audit(study, run, tmp_path):
    """An audit without them takes the place of one with them; a case with a fault has none."""
    words = (study.nnunet(), study.labels)
    assert run(*words, "--write", "nifti")[0] == 0
    assert run(*words)[0] == 0
    assert not (tmp_path / "audit/nifti").exists()

    case = next(iter(study.cases))
    (words[0] / f"{case}.npz").write_bytes(b"damaged")
    assert run(*words, "--write", "nifti")[0] == 1
    assert len(list((tmp_path / "audit/nifti").glob("*_entropy.nii.gz"))) == 2
    assert not list((tmp_path / "audit/nifti").glob(f"{case}_*"))


def test_maps_are_not_replaced_by_an_audit_of_them(study, run, tmp_path):
    """The audit would take the place of what it is made of."""
    maps = tmp_path / "audit/nifti"
    assert run(study.nnunet(), study.labels, "--write", "nifti")[0] == 0

    code, _, err = run(maps, study.labels)
    assert code == 2
    assert f"audit, of which {maps} is read, and would be replaced; choose another" in err
    assert len(list(maps.glob("*_probabilities.nii.gz"))) == 3


def test_maps_of_an_audit_that_was_killed_are_removed(study, run, tmp_path):
    """They are beside the folder, and the next audit begins without them."""
    left = tmp_path / ".audit.new/nifti/other_entropy.nii.gz"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"")
    assert run(study.nnunet(), study.labels, "--write", "nifti")[0] == 0

    assert not (tmp_path / "audit/nifti/other_entropy.nii.gz").exists()
    assert not left.parent.exists()
