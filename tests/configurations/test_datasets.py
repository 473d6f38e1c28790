"""What each bundle makes of its dataset: classes, grids, intensities, splits."""

import json

import nibabel
import numpy as np
import pytest
from monai.transforms import Compose

from nacl_monai.data.check import check_dataset
from tests.configurations.conftest import FAST, ROOT, parser_of
from tests.conftest import save_nifti
from tests.same import same_bits, same_values

OFFICIAL = {  # patients, and how many train, validate and test
    "acdc": (100, (70, 10, 20)),
    "brats": (335, (235, 35, 65)),
    "flare": (361, (241, 40, 80)),
    "hippocampus": (170, (119, 17, 34)),
    "kits": (210, (150, 25, 35)),
    "mrbrains": (7, (5, 1, 1)),
    "prostate": (32, (22, 3, 7)),
}


def config_of(dataset, **changes):
    """The configuration of a dataset's training."""
    return parser_of(dataset, "train", **changes)


def read(dataset, case, keys=("load_case", "preprocessing", "cropping")):
    """A case after some of the steps of its bundle."""
    parser = config_of(dataset)
    steps = [parser.get_parsed_content(key) for key in keys]
    steps = [step for some in steps for step in (some if isinstance(some, list) else [some])]
    return Compose(steps)(case)


@pytest.mark.parametrize("dataset", FAST)
class TestEveryBundle:
    def test_declarations_and_metadata_agree(self, dataset):
        """Classes, values on disk, structures, channels and the metadata describe the same."""
        parser = config_of(dataset)
        classes, values = parser["classes"], parser["label_values"]
        metadata = json.loads((ROOT / f"bundles/{dataset}/configs/metadata.json").read_text())
        image = metadata["network_data_format"]["inputs"]["image"]
        pred = metadata["network_data_format"]["outputs"]["pred"]

        assert len(values) == len(classes) == pred["num_channels"]
        assert len({value for group in values for value in group}) == sum(map(len, values))
        assert list(pred["channel_def"].values()) == classes
        assert image["num_channels"] == parser["in_channels"] == len(image["channel_def"])
        in_structures = {k for group in parser["structures"].values() for k in group}
        assert in_structures == set(range(1, len(classes)))

    def test_official_patients_are_split_into_the_published_numbers(self, dataset):
        """The official number of patients is split into the published numbers."""
        patients, sizes = OFFICIAL[dataset]
        parser = config_of(dataset)
        split = parser.get_parsed_content("draw_split")([f"p{n}" for n in range(patients)])

        assert tuple(map(len, split.values())) == sizes
        cases = 260 if dataset == "hippocampus" else patients * (2 if dataset == "acdc" else 1)
        assert parser["official_cases"] == cases

    @pytest.mark.slow
    def test_phantom_passes_the_check_of_a_download(self, dataset, datasets):
        """The phantom passes the check of a download, as a part of it."""
        found = check_dataset(dataset, datasets[dataset], bundles=ROOT / "bundles", subset=True)

        assert found.faults == []
        assert all(found.holders[k] for k in range(len(found.classes)))

    def test_volumes_are_scaled_classes_on_one_grid(self, dataset, datasets):
        """Channels in [0, 1]; the label is classes, on the image's grid, with slices last."""
        parser = config_of(dataset, dataset_dir=datasets[dataset])
        volume = read(dataset, parser.get_parsed_content("cases")[0])
        image, label = volume["image"], volume["label"]

        assert image.shape == (parser["in_channels"], *label.shape[1:])
        same_bits(image.affine, label.affine, "one of them is copied")
        assert 0 <= image.min() < image.max() <= 1
        assert set(label.unique().tolist()) <= set(range(len(parser["classes"])))
        assert label.any()
        assert label.pixdim.argmax() in (0, 2)  # cubes, or the distance between slices
        sides = zip(label.shape[1:], parser["spatial_size"], strict=False)
        assert all(n <= limit for n, limit in sides)


def ball(shape, affine, folder, names, radius, channels=0):
    """A ball in world coordinates around the volume's center, as image and label files."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    center = (np.array(shape) - 1) / 2
    distance = np.linalg.norm((index - center) @ affine[:3, :3].T, axis=-1)
    label = (distance < radius).astype(np.uint8)
    image = (400.0 * label - 100 + np.random.default_rng(0).normal(0, 5, shape)).astype(np.float32)
    image = np.stack([image] * channels, axis=-1) if channels else image
    files = {k: folder / f"{n}.nii.gz" for k, n in zip(("image", "label"), names, strict=True)}
    save_nifti(image, files["image"], affine)
    save_nifti(label, files["label"], affine)
    return {"case": "c", "patient": "c", **{key: str(file) for key, file in files.items()}}


@pytest.mark.parametrize(
    ("dataset", "shape", "spacing", "grid", "cropped"),
    [
        ("kits", (70, 100, 100), (5.0, 3.0, 3.0), (1.62, 1.62, 3.22), (160, 160, 80)),
        ("flare", (110, 110, 50), (4.0, 4.0, 5.0), (2.0, 2.0, 6.0), (192, 192, 30)),
        ("prostate", (100, 100, 9), (2.5, 2.5, 3.6), (0.625, 0.625, 3.6), (320, 320, 9)),
    ],
)
def test_volumes_are_resampled_and_cropped_around_their_center(
    tmp_path, dataset, shape, spacing, grid, cropped
):
    """Volumes are resampled and cropped as the paper says, around their center; slices are last.

    A ball of known radius has its volume in mm³ on the new grid, and the image agrees with it.
    KiTS's first axis on disk is that of the slices.
    """
    affine = np.diag([*spacing, 1.0])
    if dataset == "kits":
        affine = np.array(
            [[0, 0, -spacing[2], 9], [0, -spacing[1], 0, 8], [-spacing[0], 0, 0, 7], [0, 0, 0, 1]]
        )
    radius = 15.0 if dataset == "prostate" else 40.0
    case = ball(shape, affine, tmp_path, ("a", "b"), radius, 2 if dataset == "prostate" else 0)

    volume = read(dataset, case)
    whole = read(dataset, case, ("load_case", "preprocessing"))

    assert volume["label"].shape == (1, *cropped)
    extent = np.abs(nibabel.affines.apply_affine(affine, shape) - affine[:3, 3])
    size = np.multiply(whole["label"].shape[1:], grid)
    np.testing.assert_allclose(size, extent, atol=1.5 * max(grid))  # a voxel and a half
    for key in ("image", "label"):
        np.testing.assert_allclose(volume[key].pixdim, grid, rtol=1e-4)
    label = volume["label"][0].numpy()
    # A ball of voxels is rough.
    np.testing.assert_allclose(label.sum() * np.prod(grid), 4 / 3 * np.pi * radius**3, rtol=0.1)
    middle = np.array(np.nonzero(label)).mean(axis=1)
    np.testing.assert_allclose(middle, (np.array(cropped) - 1) / 2, atol=1)  # a voxel
    bright = volume["image"][0].numpy() > 0.5
    assert 2 * (bright & (label > 0)).sum() / (bright.sum() + label.sum()) > 0.95


class TestBraTS:
    @pytest.fixture
    def parser(self, datasets, tmp_path):
        places = {"output_dir": tmp_path / "run", "cache_dir": tmp_path / "cache"}
        places["dataset_dir"] = datasets["brats"]
        return config_of("brats", **places, spatial_size=[80, 80])

    def test_background_stays_zero(self, parser):
        """Voxels outside the brain are 0 on disk and stay 0, in every modality."""
        case = parser.get_parsed_content("cases")[0]
        image = read("brats", case)["image"]

        for file, channel in zip(case["image"], image, strict=True):
            stored = nibabel.as_closest_canonical(nibabel.load(file)).get_fdata()
            same_values(stored == 0, channel.numpy() == 0)

    def test_value_4_on_disk_is_class_3(self, parser):
        """4 on disk is class 3."""
        case = parser.get_parsed_content("cases")[0]
        stored = nibabel.as_closest_canonical(nibabel.load(case["label"])).get_fdata()

        same_values(np.where(stored == 4, 3, stored), read("brats", case)["label"][0].numpy())

    def test_slices_without_brain_are_not_trained_on(self, parser):
        """Slices without brain are not trained on; all others are, with tumor or without."""
        dataset = parser.get_parsed_content("train::dataset")
        cases = parser.get_parsed_content("split")["train"]
        files = [map(nibabel.load, case["image"]) for case in cases]
        images = [np.stack([file.get_fdata() for file in of_case]) for of_case in files]
        brains = [(image > 0).any((0, 1, 2)) for image in images]

        assert len(dataset) == sum(int(shown.sum()) for shown in brains)
        assert len(dataset) < sum(map(len, brains))
        assert all(item["image"].any() for item in dataset)
        assert not all(item["label"].any() for item in dataset)

    def test_structures_are_three_that_overlap(self, parser):
        """DSC and HD95 are of these."""
        assert parser["structures"] == {"TC": [1, 3], "ET": [3], "WT": [1, 2, 3]}


def test_every_patient_is_tested_in_one_fold(datasets, tmp_path):
    """Over the folds each subject is tested once; a fold is one key."""
    tested = []
    for fold in range(7):
        places = {"dataset_dir": datasets["mrbrains"], "output_dir": tmp_path / f"fold{fold}"}
        parser = config_of("mrbrains", **places, fold=fold)
        split = parser.get_parsed_content("split")
        assert [len(split[part]) for part in ("train", "val", "test")] == [5, 1, 1]
        tested.append(split["test"][0]["patient"])

    assert tested == sorted({"1", "4", "5", "7", "14", "070", "148"})
