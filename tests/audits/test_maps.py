"""`--write nifti`: maps are where the label map is, with names that viewers read."""

import nibabel
import numpy as np
import pytest
import scipy
import SimpleITK
import torch

from nacl_monai.audits.measuring import write_maps
from nacl_monai.predictions.channels import Channels
from nacl_monai.predictions.images import Labels, Prediction, Probabilities
from nacl_monai.predictions.reading import Case, Reading
from tests.predictions.conftest import AFFINE, REGIONS, SHAPE, save
from tests.same import same_bits

GEOMETRY = ("GetSize", "GetSpacing", "GetOrigin", "GetDirection")


def check_maps(folder, study):
    """Every map of every case, voxel by voxel, and its place as ITK sees it."""
    for case, (probs, _) in study.cases.items():
        label = nibabel.load(study.root / "labels" / f"{case}.nii.gz")
        itk = SimpleITK.ReadImage(study.root / "labels" / f"{case}.nii.gz")
        expected = {
            "probabilities": np.moveaxis(probs, 0, -1),
            "confidence": probs.max(0),
            "entropy": scipy.stats.entropy(probs.astype(float), base=len(probs)),
            "label": probs.argmax(0),
        }
        for name, voxels in expected.items():
            file = folder / f"{case}_{name}.nii.gz"
            image = nibabel.load(file)
            np.testing.assert_allclose(image.get_fdata(), voxels, atol=1e-6, err_msg=name)
            assert image.get_data_dtype() == (np.int16 if name == "label" else np.float32)
            same_bits(image.affine, label.affine, "it is copied")
            for field in ("qform_code", "sform_code", "xyzt_units", "quatern_b", "srow_x"):
                same_bits(image.header[field], label.header[field], "it is copied")
            if name == "confidence":
                read = SimpleITK.ReadImage(file)
                for value in GEOMETRY:
                    assert getattr(read, value)() == getattr(itk, value)()


def test_maps_lie_where_their_label_map_lies(study, run, audited, tmp_path):
    """On its own axes, with its own header; the numbers are those of an audit without them."""
    args, folder = (study.nnunet(), study.labels), tmp_path / "audit"
    out = run(*args, "--write", "nifti")[1]

    check_maps(folder / "nifti", study)
    assert f"wrote {folder / 'nifti'}" in out
    assert len(list((folder / "nifti").iterdir())) == 3 * 4 + 2
    plain = audited(*args, output="plain")
    assert not (plain / "nifti").exists()
    for name in ("cases.csv", "summary.json", "evaluation.json"):
        assert (folder / name).read_text() == (plain / name).read_text()


def test_axes_that_nnunet_has_turned_are_turned_back(study, audited):
    """Probabilities that run right, anterior, superior, of labels that do not."""
    place = study.nnunet(plans="NibabelIOWithReorient")

    check_maps(audited(place, study.labels, "--write", "nifti") / "nifti", study)


def test_overlapping_structures_have_a_label_map_where_their_order_is_known(regions, audited):
    """Their confidence is that of the least certain structure."""
    folder = audited(regions.nnunet(), regions.labels, "--write", "nifti") / "nifti"
    regions.dataset = {"labels": REGIONS}
    unordered = audited(regions.nnunet("n"), regions.labels, "--write", "nifti", output="unordered")

    assert len(list(folder.glob("*_label.nii.gz"))) == 3
    assert not list(unordered.glob("nifti/*_label.nii.gz"))
    for case, (probs, _) in regions.cases.items():
        found = nibabel.load(folder / f"{case}_confidence.nii.gz").get_fdata()
        np.testing.assert_allclose(found, np.maximum(probs, 1 - probs).min(0), atol=1e-6)


def maps_of(tmp_path, voxels, label, affine=AFFINE):
    """The maps of one case of two classes."""
    predicted = Probabilities(voxels, None, label, label)
    labels = Labels(torch.zeros(voxels.shape[1:], dtype=torch.uint8), None, affine)
    channels = Channels("softmax", {"background": (0,), "tumor": (7,)})
    case = Case("case", Prediction("case", {"": label}), [label])
    write_maps(tmp_path, Reading(case, predicted, [labels], channels, 0.1))
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


def test_case_with_a_fault_has_no_maps(study, fault_of, tmp_path):
    """The others have theirs."""
    place, case = study.nnunet(), next(iter(study.cases))
    (place / f"{case}.npz").write_bytes(b"damaged")

    fault_of(case, place, study.labels, "--write", "nifti")
    assert len(list((tmp_path / "audit/nifti").glob("*_entropy.nii.gz"))) == 2
    assert not list((tmp_path / "audit/nifti").glob(f"{case}_*"))
