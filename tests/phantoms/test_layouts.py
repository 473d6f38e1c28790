"""Each phantom has the official folders, names, matrices and labels, and shows what it labels."""

import json

import nibabel
import numpy as np
import pytest
from monai.data import load_decathlon_datalist

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
        np.testing.assert_allclose(*share, rtol=0.15)
        np.testing.assert_allclose(*center, atol=0.02)


def test_patient_of_acdc_has_a_description_a_cine_and_two_labeled_frames(phantom_of):
    """The frames' images are the cine's of that number, counted from one; groups alternate."""
    folders = sorted((phantom_of("acdc") / "training").iterdir())
    assert [folder.name for folder in folders] == [f"patient{k:03d}" for k in range(1, 7)]
    groups = []
    for folder in folders:
        lines = (folder / "Info.cfg").read_text().splitlines()
        info = dict(line.split(": ") for line in lines)
        assert list(info) == ["ED", "ES", "Group", "Height", "NbFrame", "Weight"]
        groups.append(info["Group"])
        cine = voxels(folder / f"{folder.name}_4d.nii.gz")
        frames = {int(info[phase]) for phase in ("ED", "ES")}
        assert cine.shape[3] == int(info["NbFrame"]) == 3
        assert len(frames) == 2
        stems = {frame: f"{folder.name}_frame{frame:02d}" for frame in frames}
        images = {f"{stem}{kind}.nii.gz" for stem in stems.values() for kind in ("", "_gt")}
        assert {path.name for path in folder.iterdir()} == {
            "Info.cfg",
            f"{folder.name}_4d.nii.gz",
            *images,
        }
        for frame, stem in stems.items():
            image = voxels(folder / f"{stem}.nii.gz")
            np.testing.assert_array_equal(image, cine[..., frame - 1])
            assert image.min() >= 0
        blood = {phase: voxels(folder / f"{stems[int(info[phase])]}_gt.nii.gz") == 3
                 for phase in ("ED", "ES")}  # fmt: skip
        assert blood["ES"].sum() < 0.8 * blood["ED"].sum()
    assert groups == ["NOR", "DCM", "HCM", "MINF", "RV", "NOR"]


@pytest.mark.parametrize("name", ["hippocampus", "prostate"])
def test_dataset_json_of_a_task_lists_its_files(phantom_of, cases, name):
    """As MONAI reads it, with the official keys in their order; beside each is macOS's ``._`` file."""
    root = phantom_of(name)
    text = json.loads((root / "dataset.json").read_text())
    training, test = (
        load_decathlon_datalist(root / "dataset.json", True, part) for part in ("training", "test")
    )
    listed = {path for case in [*training, *test] for path in case.values()}
    volumes = list(root.glob("*/[!.]*.nii.gz"))
    assert listed == set(map(str, volumes))
    assert (text["numTraining"], text["numTest"]) == (len(training), len(test))
    assert list(text) == [
        "name", "description", "reference", "licence", "release", "tensorImageSize", "modality",
        "labels", "numTraining", "numTest", "training", "test",
    ]  # fmt: skip
    for path in volumes:
        assert path.with_name(f"._{path.name}").read_bytes()[:4] == bytes.fromhex("00051607")
    for (image,), label in cases(name):
        assert text["tensorImageSize"] == f"{image.ndim}D"
        assert len(text["modality"]) == (image.shape[3] if image.ndim == 4 else 1)
        assert set(map(str, np.unique(label.dataobj))) == set(text["labels"])
