"""What a task of the Decathlon keeps to, whatever it shows."""

import json

import numpy as np
import pytest
from monai.data import load_decathlon_datalist

from nacl_monai.phantoms import hippocampus, prostate
from tests.phantoms.files import niftis, voxels

TASKS = {"hippocampus": hippocampus.TASK, "prostate": prostate.TASK}


@pytest.fixture(params=sorted(TASKS))
def task(request):
    return request.param


def test_dataset_json_lists_the_files(phantom_of, task):
    """MONAI finds every image and label that `dataset.json` lists, and no other is there."""
    root = phantom_of(task)
    training = load_decathlon_datalist(root / "dataset.json", True, "training")
    test = load_decathlon_datalist(root / "dataset.json", True, "test")
    listed = {path for case in [*training, *test] for path in case.values()}
    assert listed == {str(path) for path in root.glob("*/[!.]*.nii.gz")}
    description = json.loads((root / "dataset.json").read_text())
    assert description["numTraining"] == len(training)
    assert description["numTest"] == len(test) > 0


def test_description_is_that_of_the_files(phantom_of, task):
    """Labels, modalities and the number of axes are as `dataset.json` says."""
    root = phantom_of(task)
    description = json.loads((root / "dataset.json").read_text())
    for image, label in niftis(root, task):
        assert description["tensorImageSize"] == f"{image.ndim}D"
        assert len(description["modality"]) == (image.shape[3] if image.ndim == 4 else 1)
        assert set(map(str, np.unique(label.dataobj))) == set(description["labels"])
        assert label.get_data_dtype() == np.uint8


def test_every_nifti_has_a_macos_companion(phantom_of, task):
    """Beside each volume is a `._` file that is not a volume."""
    for path in phantom_of(task).glob("*/[!.]*.nii.gz"):
        companion = path.with_name(f"._{path.name}").read_bytes()
        assert companion[:4] == bytes.fromhex("00051607")


def test_dataset_json_has_the_official_keys(phantom_of, task):
    """The keys, their spelling and their order are those of the official files."""
    description = json.loads((phantom_of(task) / "dataset.json").read_text())
    assert list(description) == [
        "name", "description", "reference", "licence", "release", "tensorImageSize", "modality",
        "labels", "numTraining", "numTest", "training", "test",
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "stem", "folders"), [
    ("hippocampus", "hippocampus_007", ("imagesTr", "imagesTs")),
    ("prostate", "prostate_07", ("imagesTr", "imagesTs")),
])  # fmt: skip
def test_cases_are_named_by_as_many_digits_as_the_official_ones(name, stem, folders):
    """Numbers are padded to the width of the largest; test images follow the training cases."""
    description = TASKS[name]
    last = description.numTraining
    assert description.stem(7) == stem
    assert (description.image_folder(last - 1), description.image_folder(last)) == folders


def test_test_images_have_no_label(phantom_of):
    """The official labels of `imagesTs` are secret."""
    for task in TASKS:
        root = phantom_of(task)
        tested = {path.name for path in root.glob("imagesTs/[!.]*")}
        assert tested
        assert not any((root / "labelsTr" / name).exists() for name in tested)
        assert all(voxels(root / "imagesTs" / name).std() > 0 for name in tested)
