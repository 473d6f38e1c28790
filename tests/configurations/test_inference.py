"""Inference on users' files: what is taken for an image, whose truth is known, and what is refused.

The network of these tests is a convolution of one voxel that turns scaled intensity into two classes, so
the label map of a bright object is that object, wherever its voxels are.
"""

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from monai.bundle import ConfigParser
from scipy.stats import entropy

from nacl_monai.cli import main
from nacl_monai.training.checkpoints import save_weights
from tests.configurations.conftest import FAST, ROOT, arguments
from tests.conftest import save_nifti
from tests.dicom_series import read_back, rotation, write_series

SHAPE, SPACING = (64, 56, 40), (1.5, 1.5, 3.0)
DARK, BRIGHT = -200.0, 400.0


def affine(directions, spacing=SPACING, shape=SHAPE):
    """Voxels to mm, with the middle of the image at (20, -30, 40)."""
    matrix = np.eye(4)
    matrix[:3, :3] = directions * np.array(spacing)
    matrix[:3, 3] = [20, -30, 40] - matrix[:3, :3] @ (np.array(shape) - 1) / 2
    return matrix


def slices_first():
    """As KiTS19 stores its volumes: axes z, y, x, each against the patient's axis."""
    directions = -np.fliplr(np.eye(3))
    return affine(directions, SPACING[::-1], SHAPE[::-1]), SHAPE[::-1]


GEOMETRIES = {
    "flipped": (affine(np.diag([-1.0, -1.0, 1.0])), SHAPE),
    "oblique": (affine(rotation([1, 2, 3], 25)), SHAPE),
    "slices_first": slices_first(),
}


def inside_object(matrix, shape):
    """Which voxels are in an ellipsoid with a bump, which has no symmetry, given in mm."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    position = grid @ matrix[:3, :3].T + matrix[:3, 3]
    ellipsoid = ((position - [20, -30, 40]) / [30, 26, 40]) ** 2
    bump = ((position - [32, -14, 62]) / [16, 16, 16]) ** 2
    return (ellipsoid.sum(axis=-1) < 1) | (bump.sum(axis=-1) < 1)


def overlap(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.fixture(scope="module")
def dataset_of():
    """Channels and modalities of every dataset."""
    return {
        name: ConfigParser.load_config_file(ROOT / f"bundles/{name}/configs/dataset.yaml")
        for name in FAST
    }


@pytest.fixture
def infer(bundle, dataset_of, tmp_path):
    """Runs inference with the network described above; returns exit code and standard error."""

    def run(dataset, images, *overrides, channels=None, factor=20):
        channels = channels or dataset_of[dataset]["in_channels"]
        network = torch.nn.Conv2d(channels, 2, kernel_size=1)
        torch.nn.init.zeros_(network.weight)
        network.weight.data[1], network.bias.data[:] = factor / channels, torch.tensor([0, -10])
        save_weights(network.state_dict(), tmp_path / "model.pt")
        run.spoil(tmp_path / "model.pt")
        definition = {
            "_target_": "torch.nn.Conv2d",
            "in_channels": channels,
            "out_channels": 2,
            "kernel_size": 1,
        }
        words = {"--checkpoint": tmp_path / "model.pt", "--output_dir": tmp_path / "out"}
        words |= {"--spatial_size": "[96, 96]", "--network_def": definition, "--images": images}
        words |= {"--classes": "['background', 'object']"}
        words |= dict(zip(overrides[::2], overrides[1::2], strict=True))
        run.words = arguments(
            "inference", dataset, *(word for pair in words.items() for word in pair)
        )
        return bundle(*run.words)

    run.spoil = lambda _: None
    return run


def write_case(folder, declared, inside, matrix):
    """Writes an image as a dataset declares it; returns the file after which output is named."""
    image = np.where(inside, BRIGHT, DARK).astype(np.float32)
    modalities, channels = declared["modalities"], declared["in_channels"]
    if len(modalities) == 1 and channels > 1:
        image = np.stack([image] * channels, axis=-1)
    files = [folder / f"{folder.name}_{name}.nii.gz" for name in modalities]
    for file in files:
        save_nifti(image, file, matrix)
    return files[0]


@pytest.mark.parametrize("dataset", sorted(FAST))
def test_geometry(infer, dataset_of, tmp_path, dataset):
    """In every orientation the object is found where it is, on the image's own grid.

    That is a label map resampled to what the network sees and back, so the overlap is held to 0.98.
    """
    truths = {}
    for name, (matrix, shape) in GEOMETRIES.items():
        inside = inside_object(matrix, shape)
        file = write_case(tmp_path / "images" / name, dataset_of[dataset], inside, matrix)
        truths[file] = inside

    code, errors = infer(dataset, tmp_path / "images" / "*")

    assert code == 0, errors
    for file, inside in truths.items():
        stem = f"{file.parent.name}/{file.name.removesuffix('.nii.gz')}"
        image = nibabel.load(file)
        written = {
            name: nibabel.load(tmp_path / "out" / f"{stem}_{name}.nii.gz")
            for name in ("label", "probabilities", "confidence", "entropy")
        }
        for output in written.values():
            assert output.shape[:3] == image.shape[:3]
            np.testing.assert_array_equal(output.affine, image.affine)
            assert output.header["sform_code"] > 0
        values = {name: output.get_fdata(dtype=np.float32) for name, output in written.items()}
        assert overlap(values["label"] == 1, inside) >= 0.98, file
        check_agreement(values)


def check_agreement(values):
    """The maps are functions of the probabilities, recomputed here by NumPy and SciPy."""
    probabilities = values["probabilities"]
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(axis=-1), values["label"])
    np.testing.assert_array_equal(probabilities.max(axis=-1), values["confidence"])
    expected = entropy(probabilities, axis=-1) / np.log(probabilities.shape[-1])
    np.testing.assert_allclose(values["entropy"], expected, atol=1e-5)
    assert values["entropy"].min() >= 0
    assert values["entropy"].max() <= 1


MATRIX = affine(np.eye(3))
INSIDE = inside_object(MATRIX, SHAPE)
IMAGE = np.where(INSIDE, BRIGHT, DARK).astype(np.float32)


@pytest.fixture
def two_channels(infer):
    """Inference for a dataset of two modalities in a file each."""
    words = ["--modalities", "['first', 'second']", "--in_channels", 2]
    return lambda images: infer("hippocampus", images, *words, channels=2)


@pytest.mark.parametrize("images", ["cases/1", "cases/*", "cases/?/*_first.nii"])
def test_modalities(two_channels, tmp_path, images):
    """A case is a folder with a file per modality, or is named by its first; channels are in order."""
    other = np.full(SHAPE, DARK, np.float32)
    other[0, 0, 0] = BRIGHT
    for case, second in (("1", IMAGE), ("2", other)):
        save_nifti(IMAGE, tmp_path / f"cases/{case}/p_first.nii", MATRIX)
        save_nifti(second, tmp_path / f"cases/{case}/p_second.nii", MATRIX)

    code, errors = two_channels(tmp_path / images)

    assert code == 0, errors
    found = {path.parent.name: path for path in (tmp_path / "out").rglob("*_label.nii.gz")}
    label = nibabel.load(found.get("1", found.get("out"))).get_fdata() == 1
    assert overlap(label, INSIDE) >= 0.98
    if "*" in images:
        # One bright modality is half of the weight, and on the threshold, which is background's.
        assert nibabel.load(found["2"]).get_fdata().mean() < 0.01


def test_dicom_series(infer, tmp_path):
    """A folder with a DICOM series is an image; its geometry is the one that SimpleITK reads.

    What is written of it becomes DICOM again.
    """
    matrix = affine(rotation([1, 2, 3], 25))
    inside = inside_object(matrix, SHAPE)
    series = tmp_path / "1.2.840.113"
    write_series(series, np.where(inside, BRIGHT, DARK), matrix)

    code, errors = infer("acdc", series)

    assert code == 0, errors
    label = nibabel.load(tmp_path / "out/1.2.840.113_label.nii.gz")
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
    truth = reader.Execute()
    voxels = SimpleITK.GetArrayFromImage(truth).T > 0
    found = label.get_fdata() == 1
    for index in ((0, 0, 0), (63, 0, 0), (0, 55, 0), (0, 0, 39), (30, 20, 10)):
        # Readers may store slices in either order, so places are compared by their position.
        position = np.array(truth.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
        there = np.linalg.inv(label.affine) @ [*position, 1]
        np.testing.assert_allclose(there, np.rint(there), atol=1e-2)
    order = np.rint(np.linalg.inv(label.affine) @ matrix)[:3, :3]
    assert overlap(found[:, :, :: int(order[2, 2])], voxels) >= 0.98
    maps = tmp_path / "out/1.2.840.113_"
    assert main(["dicom", str(series), f"{maps}label.nii.gz"]) == 0
    assert main(["dicom", str(series), f"{maps}probabilities.nii.gz"]) == 0
    as_dicom = read_back(f"{maps}label.dcm", SHAPE, label.affine)[..., 0]
    np.testing.assert_array_equal(as_dicom, label.get_fdata())
    as_dicom = read_back(f"{maps}probabilities.dcm", SHAPE, label.affine)[..., 0]
    probs = nibabel.load(f"{maps}probabilities.nii.gz").get_fdata()[..., 1]
    np.testing.assert_allclose(as_dicom / 255, probs, rtol=0, atol=1 / 510 + 1e-7)


def errors_of(text):
    return [line for line in text.splitlines() if line.startswith("error: ")]


def test_bad_images_do_not_stop_the_others(infer, tmp_path):
    """All others are segmented, the bad ones are named at the end, and the exit code is 1."""
    for name in "abc":
        save_nifti(IMAGE[::4, ::4, ::4], tmp_path / f"in/{name}.nii.gz", MATRIX)
    (tmp_path / "in/a0.nii.gz").write_bytes(b"no image")
    save_nifti(IMAGE[:, :, 0], tmp_path / "in/b0.nii.gz", MATRIX)

    code, errors = infer("acdc", tmp_path / "in")

    assert code == 1
    labels = {path.name for path in (tmp_path / "out").glob("*_label.nii.gz")}
    assert labels == {f"{name}_label.nii.gz" for name in "abc"}
    first, second = errors_of(errors)
    assert "a0.nii.gz: cannot be read" in first
    assert "b0.nii.gz: is not 3-D" in second
    assert "5/5 Segmenting [" in errors
