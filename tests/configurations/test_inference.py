"""Inference on users' files: what is taken for an image, whose truth is known, and what is refused.

The network of these tests is a convolution of one voxel that turns scaled intensity into two classes, so
the label map of a bright object is that object, wherever its voxels are.
"""

import nibabel
import numpy as np
import pytest
import torch
from scipy.stats import entropy

from nacl_monai.cli import main
from nacl_monai.training.checkpoints import save_weights
from tests.configurations.conftest import FAST, arguments, parser_of
from tests.conftest import nightly_but, save_nifti
from tests.dicom_series import read_back, rotation, write_series
from tests.same import same_bits, same_values

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
    return {name: parser_of(name) for name in FAST}


@pytest.fixture
def infer(bundle, dataset_of, tmp_path):
    """Runs inference with the network described above; returns exit code and standard error."""

    def run(dataset, images, *overrides, channels=None):
        channels = channels or dataset_of[dataset]["in_channels"]
        network = torch.nn.Conv2d(channels, 2, kernel_size=1)
        torch.nn.init.zeros_(network.weight)
        network.weight.data[1], network.bias.data[:] = 20 / channels, torch.tensor([0, -10])
        save_weights(network.state_dict(), tmp_path / "model.pt")
        definition = {"_target_": "torch.nn.Conv2d", "in_channels": channels}
        definition |= {"out_channels": 2, "kernel_size": 1}
        settings = {"--checkpoint": tmp_path / "model.pt", "--output_dir": tmp_path / "out"}
        settings |= {"--spatial_size": "[96, 96]", "--network_def": definition, "--images": images}
        settings |= {"--classes": "['background', 'object']"}
        settings |= dict(zip(overrides[::2], overrides[1::2], strict=True))
        return bundle(
            *arguments("inference", dataset, *(w for pair in settings.items() for w in pair))
        )

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


# Two are prepared by the steps of kits, and of hippocampus.
@pytest.mark.parametrize("dataset", nightly_but({*FAST} - {"flare", "mrbrains"}, sorted(FAST)))
def test_map_is_where_its_image_is(infer, dataset_of, tmp_path, dataset):
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
            same_bits(output.affine, image.affine, "it is copied")
            assert output.header["sform_code"] > 0
        values = {name: output.get_fdata(dtype=np.float32) for name, output in written.items()}
        assert overlap(values["label"] == 1, inside) >= 0.98, file
        check_agreement(values)


def check_agreement(values):
    """The maps are functions of the probabilities, recomputed here by NumPy and SciPy."""
    probabilities = values["probabilities"]
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-5)
    same_values(probabilities.argmax(axis=-1), values["label"])
    same_bits(probabilities.max(axis=-1), values["confidence"], "the largest is one of them")
    expected = entropy(probabilities, axis=-1) / np.log(probabilities.shape[-1])
    np.testing.assert_allclose(values["entropy"], expected, atol=1e-5)
    assert values["entropy"].min() >= 0
    assert values["entropy"].max() <= 1


MATRIX = affine(np.eye(3))
INSIDE = inside_object(MATRIX, SHAPE)
IMAGE = np.where(INSIDE, BRIGHT, DARK).astype(np.float32)


@pytest.mark.parametrize("images", ["cases/1", "cases/*", "cases/?/*_first.nii"])
def test_modalities(infer, tmp_path, images):
    """A case is a folder with a file per modality, or is named by its first; channels are in order."""
    other = np.full(SHAPE, DARK, np.float32)
    other[0, 0, 0] = BRIGHT
    for case, second in (("1", IMAGE), ("2", other)):
        save_nifti(IMAGE, tmp_path / f"cases/{case}/p_first.nii", MATRIX)
        save_nifti(second, tmp_path / f"cases/{case}/p_second.nii", MATRIX)

    args = ["--modalities", "['first', 'second']", "--in_channels", 2]
    code, errors = infer("hippocampus", tmp_path / images, *args, channels=2)

    assert code == 0, errors
    found = {path.parent.name: path for path in (tmp_path / "out").rglob("*_label.nii.gz")}
    label = nibabel.load(found.get("1", found.get("out"))).get_fdata() == 1
    assert overlap(label, INSIDE) >= 0.98
    if "*" in images:
        # One bright modality is half of the weight, and on the threshold, which is background's.
        assert nibabel.load(found["2"]).get_fdata().mean() < 0.01


def test_dicom_series_becomes_dicom_again(infer, tmp_path):
    """A folder with a DICOM series is an image; what is written of it lies where the object is."""
    matrix = affine(rotation([1, 2, 3], 25))
    inside = inside_object(matrix, SHAPE)
    series = tmp_path / "1.2.840.113"
    write_series(series, np.where(inside, BRIGHT, DARK), matrix)

    code, errors = infer("acdc", series)

    assert code == 0, errors
    assert main(["dicom", str(series), str(tmp_path / "out/1.2.840.113_label.nii.gz")]) == 0
    label = read_back(tmp_path / "out/1.2.840.113_label.dcm", SHAPE, matrix)[..., 0]
    assert overlap(label == 1, inside) >= 0.98
