"""A promise is kept by inference as by the package."""

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from monai.data import MetaTensor
from scipy.ndimage import distance_transform_edt

import nacl_monai
from nacl_monai.cli import main
from nacl_monai.errors import InputError
from nacl_monai.inference import SaveMaps, SavePromised
from nacl_monai.inference.distances import squared_distances
from nacl_monai.inference.images import ImageFault
from nacl_monai.inference.maps import behind_map
from tests.conftest import save_nifti
from tests.same import same_values

CLASSES = ["background", "anterior", "posterior"]
STRUCTURES = {"anterior": [1], "posterior": [2]}
SHAPE = (7, 9, 8)
AFFINE = np.array([[0, 0, 3.0, -20], [-1.2, 0, 0, 30], [0, 1.5, 0, 7], [0, 0, 0, 1]])
SPACING = (1.2, 1.5, 3.0)


@given(
    arrays.arrays(np.bool_, arrays.array_shapes(min_dims=1, max_dims=3, max_side=7)),
    st.lists(st.floats(0.3, 4), min_size=3, max_size=3),
    st.floats(0.5, 9),
)
def test_distances_are_those_of_scipy(mask, sizes, most):
    """As far as they are asked for, along axes of any size."""
    spacing = sizes[: mask.ndim]
    mask.flat[0] = True
    expected = distance_transform_edt(~mask, sampling=spacing)

    squared = squared_distances(torch.from_numpy(mask), most, spacing, torch.float64)

    found, near = squared.sqrt().numpy(), expected < most * (1 - 1e-9)
    far = expected > most * (1 + 1e-9)
    np.testing.assert_allclose(found[near], expected[near], rtol=1e-12)
    assert (found[far] > most).all()


def test_few_voxels_are_near_in_their_box_and_none_are_near_nothing():
    """The rest of a large image is far, whatever is looked at."""
    mask = torch.zeros(30, 20, dtype=torch.bool)
    assert squared_distances(mask, 3.0, [1.0, 1.0]).isinf().all()
    mask[12, 9:11] = True
    expected = torch.from_numpy(distance_transform_edt(~mask.numpy()))

    found = squared_distances(mask, 3.0, [1.0, 1.0], torch.float64).sqrt()

    torch.testing.assert_close(found[expected < 3], expected[expected < 3])
    assert (found[expected >= 3] >= 3).all()


def probabilities(seed, shape=SHAPE):
    logits = np.random.default_rng(seed).normal(0, 2, (3, *shape))
    return (np.exp(logits) / np.exp(logits).sum(0)).astype(np.float32)


@pytest.fixture(scope="module")
def promise_file(tmp_path_factory):
    """What four patients promise."""
    file = tmp_path_factory.mktemp("made") / "promise.json"
    rng = np.random.default_rng(0)
    probs = [probabilities(k) for k in range(4)]
    labels = [rng.integers(0, 3, SHAPE) for _ in probs]
    options = {"spacing": SPACING, "classes": CLASSES, "cases": ["a", "b", "c", "d"]}
    return nacl_monai.promise(probs, labels, levels=[0.25, 0.3], **options).write(file)


@pytest.fixture
def image(tmp_path):
    save_nifti(np.zeros(SHAPE, np.float32), tmp_path / "image.nii.gz", AFFINE)
    return str(tmp_path / "image.nii.gz")


def saver(promise_file, image, output, **changes):
    settings = {"classes": CLASSES, "structures": STRUCTURES} | changes
    return SavePromised(promise_file, output, [{"image": [image]}], **settings)


def test_contours_are_those_of_the_command(promise_file, image, tmp_path):
    """Voxel for voxel from what inference saved, and so is the table."""
    output, applied = tmp_path / "predictions", tmp_path / "applied"
    meta = {"filename_or_obj": image}
    data = {"pred": MetaTensor(torch.from_numpy(probabilities(9)), torch.tensor(AFFINE), meta=meta)}

    data = SaveMaps(output, [{"image": [image]}], CLASSES)(data)
    files = saver(promise_file, image, output)(data)["files"]
    assert (
        main(["promise", "--apply", str(promise_file), str(output), "--output", str(applied)]) == 0
    )

    assert {file.name for file in files} == {file.name for file in output.iterdir()} - {
        "labels.txt",
        "labels.ctbl",
    }
    contours = [*applied.glob("*.nii.gz")]
    assert {file.name for file in contours} == {
        f"image_{kind}_{name}.nii.gz" for kind in ("outer", "inner") for name in STRUCTURES
    }
    for file in contours:
        ours, theirs = nibabel.load(output / file.name), nibabel.load(file)
        same_values(ours.dataobj, theirs.dataobj)
        assert ours.affine == pytest.approx(theirs.affine)
    tables = [pd.read_csv(place / "promised.csv") for place in (output, applied)]
    pd.testing.assert_frame_equal(*tables, atol=2e-6)


def test_image_of_who_calibrated_is_recognized_under_every_name(promise_file, image, tmp_path):
    """By what is predicted; nothing is written of it."""
    probs, meta = torch.from_numpy(probabilities(2)), {"filename_or_obj": image}
    data = {"pred": MetaTensor(probs, torch.tensor(AFFINE), meta=meta)}
    with pytest.raises(ImageFault, match="has the very prediction of a patient who calibrated"):
        saver(promise_file, image, tmp_path / "predictions")(data)
    assert not (tmp_path / "predictions").exists()


@pytest.mark.parametrize("calibrated", [True, False])
def test_maps_of_inference_say_what_is_behind_the_network(image, tmp_path, calibrated):
    """So that no command calibrates them twice."""
    meta = {"filename_or_obj": image}
    data = {"pred": MetaTensor(torch.from_numpy(probabilities(9)), torch.tensor(AFFINE), meta=meta)}
    saved = SaveMaps(tmp_path / "maps", [{"image": [image]}], CLASSES, "distance_all", calibrated)
    for file in saved(data)["files"]:
        assert behind_map(file) == ({"calibrator": "distance_all"} if calibrated else {})


@pytest.mark.parametrize(
    ("image", "changes", "line"),
    [
        ("x", {"classes": ["background", "tumor", "edema"]}, "is of the classes background, anter"),
        ("x", {"structures": {"both": [1, 2]}}, "is of the structures anterior "),
        ("x", {"calibrator": "near"}, "is of the calibrator none, but the model has near"),
        ("c", {}, "was calibrated by"),
    ],
)
def test_promise_is_refused_to_another_model_and_to_who_calibrated_it(
    promise_file, tmp_path, image, changes, line
):
    """In one line, before anything is written."""
    with pytest.raises(InputError, match=line):
        saver(promise_file, str(tmp_path / f"{image}.nii.gz"), tmp_path / "predictions", **changes)
    assert not (tmp_path / "predictions").exists()


@pytest.mark.parametrize(
    ("text", "line"),
    [("[1]", "is not as it was written"), ("{", "is damaged"), ("[" * 10**5, "is damaged")],
)
def test_file_that_is_no_promise_is_refused(image, tmp_path, text, line):
    (tmp_path / "promise.json").write_text(text)

    with pytest.raises(InputError, match=line):
        saver(tmp_path / "promise.json", image, tmp_path / "predictions")


def test_voxels_of_another_size_are_a_fault_of_the_image(promise_file, image, tmp_path):
    """The others are still segmented."""
    meta = {"filename_or_obj": image}
    coarse = torch.tensor(AFFINE @ np.diag([2, 2, 2, 1.0]))
    data = {"pred": MetaTensor(torch.from_numpy(probabilities(9)), coarse, meta=meta)}

    with pytest.raises(ImageFault, match="wide, but those of the calibration patients"):
        saver(promise_file, image, tmp_path / "predictions")(data)


def test_without_a_promise_nothing_is_saved(image, tmp_path):
    """As the configuration has it until one is given."""
    data = {"pred": torch.zeros(3, *SHAPE)}

    assert saver(None, image, tmp_path / "out")(data) == data
    assert not (tmp_path / "out").exists()
