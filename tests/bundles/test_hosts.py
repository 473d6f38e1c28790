"""An exported bundle is a guest in other programs, which call its parts and keep running.

``tests/hosts`` has the programs themselves; here their calls are repeated without them.
"""

import ast
import json

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform

from nacl_monai import inference
from nacl_monai.bundles.export import calibrated_inferer, export_bundle
from nacl_monai.bundles.scripts import write_scripts
from nacl_monai.errors import causes
from nacl_monai.inference.segmenter import load_checkpoint
from nacl_monai.inference.windows import spacing_of
from tests.bundles.conftest import BUNDLES
from tests.configurations.conftest import one_line, run_bundle
from tests.conftest import refused, save_nifti
from tests.same import same_values

#: Left, anterior, superior; with slices first.
AFFINE = np.array([[0, 0, -1.0, 9], [0, 2.0, 0, -7], [3.0, 0, 0, 5], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def exported(trained_once, tmp_path_factory):
    """A bundle of a network with random weights, whose images are resampled."""
    output = tmp_path_factory.mktemp("dist") / "x"
    size = {"_target_": "Resized", "keys": "image", "spatial_size": [32, 48, 7]}
    overrides = {"preprocessing": ["@to_ras", size, "@scale_by_percentiles"]}
    return export_bundle(trained_once, output, "hippocampus", overrides, BUNDLES)[0]


@pytest.fixture
def parts(exported, inference_of, monkeypatch, tmp_path):
    """What hosts make of the bundle from another folder, as MONAI Deploy, without saying where it is."""
    monkeypatch.chdir(tmp_path)
    parser = inference_of(exported)
    names = ("preprocessing", "network_def", "inferer", "postprocessing")
    found = {name: parser.get_parsed_content(name) for name in names}
    load_checkpoint(found["network_def"].eval(), exported / "models/model.pt")
    return found


@pytest.fixture
def file(tmp_path):
    """An image whose stored axes are not those of the network."""
    voxels = np.random.default_rng(0).normal(100, 20, (9, 40, 30)).astype(np.float32)
    save_nifti(voxels, tmp_path / "image.nii.gz", AFFINE)
    return tmp_path / "image.nii.gz"


def hosted(parts, image):
    """The way of an image through the parts, as both hosts go it, transform by transform."""
    data = {"image": image, "device": "cpu"}
    *steps, save = parts["postprocessing"].transforms
    assert type(save).__name__ == "SaveImaged"  # by this name hosts leave it out
    for step in parts["preprocessing"].transforms:
        data = step(data)
    with torch.no_grad():
        data["pred"] = parts["inferer"](data["image"][None], parts["network_def"])[0]
    for step in steps:
        data = step(data)
    return data


def test_parts_lead_from_a_file_to_a_label_on_its_grid(parts, file, exported, monkeypatch, capfd):
    """With the probabilities that `monai.bundle run inference` saves; the parts know no image before."""
    assert isinstance(parts["preprocessing"], Compose)
    # Deploy asks the first one.
    assert isinstance(parts["preprocessing"].transforms[0], MapTransform)
    data = hosted(parts, str(file))

    command = ["run", "inference", "--config_file", str(exported / "configs/inference.json")]
    command += ["--bundle_root", str(exported), "--images", str(file), "--output_dir", "out"]
    code, errors = run_bundle(monkeypatch, capfd, command, cwd=file.parent)

    assert code == 0, errors
    saved = {
        name: nibabel.load(file.parent / f"out/image_{name}.nii.gz").get_fdata()
        for name in ("probabilities", "label")
    }
    probs = data["probabilities"].movedim(0, -1)
    np.testing.assert_allclose(probs, saved["probabilities"], atol=1e-6)
    same_values(data["pred"][0], saved["label"])
    np.testing.assert_allclose(data["pred"].affine, AFFINE, atol=1e-6)
    # By these MONAI Label puts the label where the image is.
    np.testing.assert_allclose(data["image"].meta["original_affine"], AFFINE, atol=1e-6)
    assert tuple(data["image"].meta["spatial_shape"]) == (9, 40, 30)


def test_image_that_a_host_has_read_is_as_good_as_its_file(parts, file):
    """Without channels, or with them last; in any order of memory and with any type of numbers."""
    expected = hosted(parts, str(file))
    voxels = np.asfortranarray(nibabel.load(file).get_fdata())

    for image in (
        MetaTensor(voxels, affine=AFFINE),
        MetaTensor(voxels[..., None], affine=AFFINE, meta={"original_channel_dim": -1}),
        MetaTensor(voxels[None], affine=AFFINE),
    ):
        found = hosted(parts, image)
        probs = found["probabilities"].as_tensor()
        torch.testing.assert_close(probs, expected["probabilities"].as_tensor(), atol=1e-5, rtol=0)
        # A calibrator by distance asks for it, on the network's grid.
        assert spacing_of(found["image"][None]) == spacing_of(expected["image"][None])
        assert len(spacing_of(found["image"][None])) == 3


def test_saved_label_of_other_hosts_is_on_the_grid_of_the_image(parts, file, tmp_path):
    """Those that leave nothing out have it as a file."""
    parts["postprocessing"].transforms[-1].saver.folder_layout.output_dir = str(tmp_path / "saved")
    data = parts["preprocessing"]({"image": str(file)})
    with torch.no_grad():
        data["pred"] = parts["inferer"](data["image"][None], parts["network_def"])[0]
    data = parts["postprocessing"](data)

    saved = nibabel.load(tmp_path / "saved/image_label.nii.gz")
    np.testing.assert_allclose(saved.affine, AFFINE, atol=1e-6)
    same_values(saved.get_fdata(), data["pred"][0])


def test_single_file_stands_for_all_files_of_its_case(tmp_path):
    """A host names one; and a file that is missing is named."""
    for name, value in (("first", 1), ("second", 2)):
        voxels = np.full((3, 4, 5), value, np.float32)
        save_nifti(voxels, tmp_path / f"p_{name}.nii.gz")
    read = inference.ReadImage(2, modalities=["first", "second"])

    image = read({"image": str(tmp_path / "p_second.nii.gz")})["image"]

    assert image.amax((1, 2, 3)).tolist() == [1, 2]
    (tmp_path / "p_first.nii.gz").unlink()
    assert "p_first.nii.gz: missing" in refused(read, {"image": str(tmp_path / "p_second.nii.gz")})


def test_damaged_image_is_an_exception_that_a_host_catches(parts, tmp_path):
    """With our line in it, whichever way the host calls the parts."""
    (tmp_path / "bad.nii.gz").write_bytes(b"damaged")
    for call, kind in (
        (parts["preprocessing"], RuntimeError),  # MONAI's, of what a transform raises
        (parts["preprocessing"].transforms[0], ValueError),
    ):
        with pytest.raises(kind) as caught:
            call({"image": str(tmp_path / "bad.nii.gz")})
        assert lines_of(caught.value, "ImageFault")[0].endswith("; replace it, or leave it out")


def lines_of(error, kind):
    """What the causes of an error say that are of a class of this name, of the package or of a copy."""
    return [str(cause) for cause in causes(error) if type(cause).__name__ == kind]


@pytest.mark.parametrize("inferer", ["@other", {"_target_": "SlidingWindowInferer", "roi_size": 8}])
def test_inferer_of_another_class_holds_no_calibrator(inferer):
    """A host would leave it out without a word."""
    line = refused(calibrated_inferer, inferer)
    assert line.startswith("inferer: holds no calibrator; train and")


def test_training_that_a_host_starts_is_refused_in_one_line(exported, monkeypatch, capfd, tmp_path):
    """It says how to train; where this package is missing, too."""
    command = ["run", "--config_file", str(exported / "configs/train.json")]
    command += ["--bundle_root", str(exported), "--train::dataset::data", "[]", "--device", "cpu"]

    code, errors = run_bundle(monkeypatch, capfd, command, cwd=tmp_path)

    assert code == 1
    assert "train with the package (nacl-monai train DATASET DIR)" in one_line(errors)
    config = json.loads((exported / "configs/train.json").read_text())
    assert config["initialize"] == []
    assert all(step["_target_"].startswith("scripts.") for step in config["run"])


def ends_a_process(node):
    """Whether a piece of code ends the process by itself."""
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) in ("sys.exit", "exit", "quit", "os._exit", "os.abort")
    return isinstance(node, ast.Name) and node.id in ("SystemExit", "KeyboardInterrupt")


def test_library_raises_and_its_entry_alone_exits(tmp_path):
    """`error_lines` is the entry, which ends a process; lists are printed, and what `print_line` has."""
    write_scripts(tmp_path)
    exits, prints = set(), set()
    for file in (tmp_path / "scripts").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            exits |= {file.stem} if ends_a_process(node) else set()
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
                to_errors = any(ast.unparse(word.value) == "sys.stderr" for word in node.keywords)
                prints |= set() if to_errors else {file.stem}

    assert exits == {"error_lines"}
    assert prints == {"segmenter", "errors"}
    assert ends_a_process(ast.parse("raise SystemExit(1)").body[0].exc.func)


def test_key_that_needs_images_raises_what_a_host_catches(exported, inference_of):
    """Every key of the configuration is made without them, or is an exception with our line."""
    parser, needy = inference_of(exported, bundle_root=str(exported)), set()
    for key in parser.get():
        if key in ("strictly", "complete", "inference"):  # what the entry runs
            continue
        try:
            parser.get_parsed_content(key)
        except Exception as error:
            needy |= {(key, line.partition(";")[0]) for line in lines_of(error, "InputError")}

    keys = ("datalist", "dataset", "dataset_def", "evaluator", "saving")
    assert needy == {(key, "images: not set") for key in keys}
