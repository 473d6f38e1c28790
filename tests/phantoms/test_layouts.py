"""Each phantom has the official folders, names, matrices and labels, and shows what it labels."""

import nibabel
import numpy as np
import pytest

from nacl_monai.phantoms import PHANTOMS
from tests.phantoms.files import contents, labeled_cases, voxels


def numbered(pattern, numbers):
    return {pattern.format(number) for number in numbers}


def task_files(name, digits, cases, tested):
    stem = f"{name}_{{:0{digits}d}}.nii.gz"
    training = numbered(f"imagesTr/{stem}", range(cases)) | numbered(
        f"labelsTr/{stem}", range(cases)
    )
    return training | numbered(f"imagesTs/{stem}", tested) | {"dataset.json"}


BRATS = {
    f"{'LGG' if number % 3 == 2 else 'HGG'}/{name}/{name}_{kind}.nii.gz"
    for number in range(1, 7)
    for name in [f"BraTS19_TCIA{number:02d}_{100 + number}_1"]
    for kind in ("flair", "t1", "t1ce", "t2", "seg")
}
MRBRAINS = {
    f"training/{patient}/{file}.nii.gz"
    for patient in ("1", "4", "5", "7", "14", "070", "148")
    for file in ("pre/reg_T1", "pre/reg_IR", "pre/FLAIR", "segm")
}
#: Every file of a phantom of six cases (seven of MRBrainS18, ten of the hippocampus).
FILES = {
    "brats": BRATS,
    "flare": numbered("TrainingImg/train_{:03d}_0000.nii.gz", range(6))
    | numbered("TrainingMask/train_{:03d}.nii.gz", range(6)),
    "hippocampus": task_files("hippocampus", 3, 10, (260, 261)),
    "kits": numbered("data/case_{:05d}/imaging.nii.gz", [*range(6), 210, 211])
    | numbered("data/case_{:05d}/segmentation.nii.gz", range(6)),
    "mrbrains": MRBRAINS,
    "prostate": task_files("prostate", 2, 6, (32, 33)),
}
#: The official matrix.
FULL = {
    "brats": (240, 240, 155),
    "flare": (512, 512, 112),
    "kits": (140, 512, 512),
    "mrbrains": (240, 240, 48),
    "prostate": (320, 320, 20),
}
#: Cases for which the official layout has names.
MOST = {"kits": 210, "mrbrains": 7, "hippocampus": 260, "prostate": 32}
#: Orientations on disk; ACDC's and half of the prostate's are oblique.
AXES = {
    "brats": {"LPS"},
    "flare": {"LPS", "RAS", "LAS"},
    "hippocampus": {"RAS"},
    "kits": {"IPL"},
    "mrbrains": {"RAS"},
}
#: Types on disk of images and labels.
TYPES = {
    "acdc": ({np.int16}, np.uint8),
    "brats": ({np.int16}, np.int16),
    "flare": ({np.int16}, np.uint8),
    "hippocampus": ({np.uint8, np.float32}, np.uint8),
    "kits": ({np.int16}, np.uint8),
    "mrbrains": ({np.float32}, np.uint8),
    "prostate": ({np.float32}, np.uint8),
}
#: Two labels whose medians, in the first image, the first is above the second's by this factor.
CONTRAST = {
    "acdc": (3, 2, 1.5),
    "brats": (2, 0, 1.3),
    "flare": (2, 1, 1.3),
    "hippocampus": (0, 1, 1.1),
    "kits": (1, 2, 1.3),
    "mrbrains": (3, 1, 1.15),
    "prostate": (1, 2, 1.25),
}


@pytest.fixture(scope="module")
def cases(phantom_of):
    """Dataset's name → its images and label of each case, as NIfTI."""
    return lambda name: [
        ([nibabel.load(image) for image in images], nibabel.load(label))
        for images, label in labeled_cases(phantom_of(name), name)
    ]


@pytest.mark.parametrize("name", FILES)
def test_layout_is_the_official_one(phantom_of, name):
    """Nothing else is there, and as many cases can be as the layout has names for."""
    official = {path for path in contents(phantom_of(name)) if "/._" not in path}

    assert official - {"phantom.json"} == FILES[name]
    assert PHANTOMS[name].most == MOST.get(name)


@pytest.mark.parametrize("name", TYPES)
def test_types_and_orientations_are_those_of_the_real_files(cases, name):
    """The same for all cases, but for the scans of several hospitals."""
    volumes = cases(name)
    types = {image.get_data_dtype().type for images, _ in volumes for image in images}

    assert (types, volumes[0][1].get_data_dtype()) == TYPES[name]
    axes = {"".join(nibabel.aff2axcodes(label.affine)) for _, label in volumes}
    assert axes == AXES.get(name, axes)


@pytest.mark.parametrize("name", CONTRAST)
def test_image_shows_what_is_labeled(cases, name):
    """The medians of two structures differ in every case, as they do in real images."""
    brighter, darker, factor = CONTRAST[name]
    for images, label in cases(name):
        image = np.asarray(images[0].dataobj).astype(float)
        image = image if image.ndim == 3 else image[..., 0]
        air = 1000 if name in ("flare", "kits") else 0
        mask = np.asarray(label.dataobj)
        first, second = (
            np.median(image[(mask == k) & (image + air > 0)]) for k in (brighter, darker)
        )
        assert first > factor * second


@pytest.mark.nightly
@pytest.mark.parametrize("name", FULL)
def test_full_size_is_the_official_matrix_of_the_same_anatomy(phantom_of, tmp_path, name):
    """Each label's share of the volume and its center are as in the small phantom."""
    root = PHANTOMS[name].write(tmp_path / name, cases=1, full_size=True)
    ((_, file),) = labeled_cases(root, name)
    full, small = voxels(file), voxels(phantom_of(name) / file.relative_to(root))

    assert full.shape == FULL[name]
    for value in np.unique(small)[1:]:
        masks = (small == value, full == value)
        if masks[0].sum() < 100:
            continue  # too few voxels of the small one to measure
        share = [mask.mean() for mask in masks]
        center = [(np.mean(np.nonzero(mask), axis=1) + 0.5) / mask.shape for mask in masks]
        np.testing.assert_allclose(*share, rtol=0.15)  # small ones are rough
        np.testing.assert_allclose(*center, atol=0.02)  # small ones are rough
