"""What inference takes for an image, what it refuses, and what it saves; without any network.

`tests/bundles/test_inference.py` has the same as a command.
"""

import ast
import inspect
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.stats import entropy

from nacl_monai.export import inference
from nacl_monai.export.inference import (
    ReadImage,
    SaveMaps,
    check_model,
    confidence_map,
    entropy_map,
    find_cases,
    label_map,
)
from tests.conftest import save_nifti


def test_only_torch_monai_and_the_standard_library_are_imported():
    """A bundle carries this module to places where there is nothing else."""
    nodes = list(ast.walk(ast.parse(inspect.getsource(inference))))
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    relative = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.level]
    modules += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    packages = {module.partition(".")[0] for module in modules}

    assert packages <= {"torch", "monai", *sys.stdlib_module_names}
    assert {"torch", "monai"} <= packages
    assert not relative


def refusal(function, *arguments):
    """The line with which the process ends, with exit code 1, since it is a text."""
    with pytest.raises(SystemExit) as caught:
        function(*arguments)
    assert isinstance(caught.value.code, str)
    assert "\n" not in caught.value.code
    assert caught.value.code.startswith("error: ")
    return caught.value.code.removeprefix("error: ")


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Makes empty files below the working folder."""
    monkeypatch.chdir(tmp_path)

    def make(*names):
        for name in names:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).touch()

    return make


class TestFindCases:
    @pytest.mark.parametrize(
        ("images", "expected"),
        [
            ("a/x.nii.gz", ["a/x.nii.gz"]),
            ("a/notes.txt", ["a/notes.txt"]),
            ("a", ["a/x.nii.gz", "a/y.z.nii"]),
            ("a/", ["a/x.nii.gz", "a/y.z.nii"]),
            ("*/x.nii.gz", ["a/x.nii.gz", "b [1]/x.nii.gz"]),
            ("*", ["a/x.nii.gz", "a/y.z.nii", "b [1]/x.nii.gz", "series"]),
            ("b [1]", ["b [1]/x.nii.gz"]),
            ("b [[]1]/x.nii*", ["b [1]/x.nii.gz"]),
            ("series", ["series"]),
            ("se*", ["series"]),
        ],
    )
    def test_file_folder_pattern_and_series_are_images(self, files, images, expected):
        """In alphabetical order; hidden and other files in a folder of images are none."""
        files("a/y.z.nii", "a/x.nii.gz", "a/notes.txt", "a/._x.nii.gz", "b [1]/x.nii.gz")
        files("series/1.dcm", "series/sub/2.dcm")

        assert find_cases(images, [""]) == [{"image": [file]} for file in expected]

    def test_absolute_pattern_is_followed(self, files, tmp_path):
        """Wherever the process runs."""
        files("a/x.nii")

        assert find_cases(f"{tmp_path}/?/*.nii", [""]) == [{"image": [f"{tmp_path}/a/x.nii"]}]

    @pytest.mark.parametrize("images", ["case", "case/p_t1.nii.gz", "*", "case/*_t1.nii*"])
    def test_first_modality_stands_for_all(self, files, images):
        """The files of a case are in the order of the modalities, not of the alphabet."""
        files("case/p_t1.nii.gz", "case/p_flair.nii.gz")

        cases = find_cases(images, ["t1", "flair"])

        assert cases == [{"image": ["case/p_t1.nii.gz", "case/p_flair.nii.gz"]}]

    def test_modality_is_replaced_at_the_end_of_the_name_only(self, files):
        """Folders and patients may be called like a modality."""
        files("t1.nii/t1.nii_t1.nii", "t1.nii/t1.nii_t2.nii")

        cases = find_cases("t1.nii/t1.nii_t1.nii", ["t1", "t2"])

        assert cases == [{"image": ["t1.nii/t1.nii_t1.nii", "t1.nii/t1.nii_t2.nii"]}]

    def test_file_of_no_modality_is_an_image_with_all_channels(self, files):
        """So one file may hold what the dataset has in several."""
        files("all.nii.gz")

        assert find_cases("all.nii.gz", ["t1", "t2"]) == [{"image": ["all.nii.gz"]}]

    def test_modality_with_wildcards_is_taken_literally(self, files):
        """A bracket in its name is a bracket in the names of files."""
        files("case/x_t[1].nii", "case/x_t1.nii")

        assert find_cases("case", ["t[1]"]) == [{"image": ["case/x_t[1].nii"]}]

    @pytest.mark.parametrize("images", [None, ""])
    def test_no_images_are_named(self, images):
        """The line says which key to set."""
        assert refusal(find_cases, images, [""]) == (
            "images: not set; name a file, a folder or a pattern: --images IMAGE.nii.gz"
        )

    @pytest.mark.parametrize("images", ["nowhere", "nowhere/*.nii", "empty", "folders"])
    def test_nothing_is_there(self, files, images):
        """A folder that holds only folders is no case either."""
        files("folders/a/x.nii")
        Path("empty").mkdir()

        assert refusal(find_cases, images, [""]).startswith(f"{images}: no image found there; ")

    def test_file_of_a_modality_is_missing(self, files):
        """The line names the file, of whichever case."""
        files("case/1_t1.nii", "case/1_t2.nii", "case/2_t1.nii")

        assert refusal(find_cases, "case", ["t1", "t2"]) == (
            "case/2_t2.nii: missing; a case needs one file per modality"
        )


def test_model_is_a_file(tmp_path):
    """A folder or nothing is refused with what to do."""
    (tmp_path / "model.pt").touch()

    check_model(tmp_path / "model.pt")
    check_model(str(tmp_path / "model.pt"))
    for path in (tmp_path, tmp_path / "nowhere.pt"):
        assert refusal(check_model, path).startswith(f"{path}: no trained model there; train first")


AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])


class TestReadImage:
    def test_image_takes_the_place_of_its_files(self, tmp_path):
        """With its affine, channels first; other entries of the case stay."""
        voxels = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
        save_nifti(voxels, tmp_path / "x.nii", AFFINE)

        case = ReadImage(1)({"image": [str(tmp_path / "x.nii")], "case": "x"})

        assert case["case"] == "x"
        np.testing.assert_array_equal(case["image"].numpy(), voxels[None])
        np.testing.assert_array_equal(case["image"].affine.numpy(), AFFINE)
        assert case["image"].meta["original_channel_dim"] == "no_channel"

    def test_channels_are_the_files_in_their_order_or_the_last_axis_of_one(self, tmp_path):
        """Both ways to store modalities give the same image."""
        first, second = np.zeros((2, 3, 4), np.float32), np.ones((2, 3, 4), np.float32)
        for name, voxels in {"a": first, "b": second}.items():
            save_nifti(voxels, tmp_path / f"{name}.nii")
        save_nifti(np.stack([second, first], axis=-1), tmp_path / "both.nii")

        for names in (["b", "a"], ["both"]):
            case = ReadImage(2)({"image": [str(tmp_path / f"{name}.nii") for name in names]})
            np.testing.assert_array_equal(case["image"].numpy(), np.stack([second, first]))

    @pytest.mark.parametrize(
        ("voxels", "message"),
        [
            (np.zeros((4, 4)), "is not 3-D; name a volume"),
            (np.zeros((4, 4, 4, 3)), "has 3 channels; the network takes 1; name an image like "),
            (np.full((4, 4, 4), np.nan), "holds NaN or infinite voxels; repair it"),
            (np.full((4, 4, 4), -np.inf), "holds NaN or infinite voxels; repair it"),
        ],
    )
    def test_image_that_the_network_cannot_take_is_refused(self, tmp_path, voxels, message):
        """The line names the file."""
        file = tmp_path / "x.nii"
        save_nifti(voxels.astype(np.float32), file)

        assert refusal(ReadImage(1), {"image": [str(file)]}).startswith(f"{file}: {message}")

    def test_single_nan_is_enough(self, tmp_path):
        """One voxel without a number makes the probabilities around it NaN."""
        voxels = np.zeros((4, 4, 4), np.float32)
        voxels[1, 2, 3] = np.nan
        save_nifti(voxels, tmp_path / "x.nii")

        assert "NaN" in refusal(ReadImage(1), {"image": [str(tmp_path / "x.nii")]})

    def test_files_that_cannot_be_read_are_refused_together(self, tmp_path):
        """All files of the case are named, and the first line of what the reader said."""
        save_nifti(np.zeros((4, 4, 4), np.float32), tmp_path / "a.nii")
        save_nifti(np.zeros((4, 4, 5), np.float32), tmp_path / "b.nii")
        files = [str(tmp_path / name) for name in ("a.nii", "b.nii")]

        line = refusal(ReadImage(2), {"image": files})

        assert line.startswith(f"{files[0]} and {files[1]}: cannot be read (")
        assert line.endswith("); replace it, or leave it out")


class TestMaps:
    probs = torch.tensor([[0.2, 0.5, 1.0], [0.7, 0.5, 0.0], [0.1, 0.0, 0.0]])

    def test_label_is_the_most_probable_class(self):
        """Of equal ones the first, as NumPy has it."""
        np.testing.assert_array_equal(label_map(self.probs)[0], self.probs.numpy().argmax(axis=0))

    def test_confidence_is_the_largest_probability(self):
        """Whichever class it is of."""
        np.testing.assert_allclose(confidence_map(self.probs), [[0.7, 0.5, 1.0]], rtol=1e-6)

    def test_entropy_is_that_of_scipy_as_a_share_of_the_largest(self):
        """0 for a certain voxel, however many classes there are."""
        expected = entropy(self.probs.numpy(), axis=0) / np.log(3)

        np.testing.assert_allclose(entropy_map(self.probs)[0], expected, atol=1e-6)

    def test_entropy_of_equal_classes_is_1_and_never_more(self):
        """Rounding would exceed 1 for some numbers of classes."""
        for classes in range(2, 50):
            largest = entropy_map(torch.full((classes, 1), 1 / classes))
            assert 1 - 1e-6 <= largest.item() <= 1


def probabilities(file, shape=(4, 5, 6)):
    """Of two classes, as the network and the inversion return them."""
    one = torch.rand(1, *shape)
    meta = {"filename_or_obj": str(file), "original_channel_dim": "no_channel"}
    return MetaTensor(torch.cat([one, 1 - one]), affine=torch.tensor(AFFINE), meta=meta)


class TestSaveMaps:
    def save(self, output, *files):
        """Saves the maps of every file; returns the probabilities."""
        save = SaveMaps(output, [{"image": [str(file)]} for file in files])
        maps = [probabilities(file) for file in files]
        for probs in maps:
            assert save({"pred": probs, "image": 0})["pred"] is probs
        return maps

    def test_four_maps_are_on_the_grid_of_the_probabilities(self, tmp_path, caplog):
        """The label as bytes, the others as float32; one line is logged per case."""
        caplog.set_level("INFO", logger="monai")
        (probs,) = self.save(tmp_path / "out", tmp_path / "x.nii.gz")

        stored = {path.name: nibabel.load(path) for path in (tmp_path / "out").iterdir()}
        names = ("label", "probabilities", "confidence", "entropy")
        assert stored.keys() == {f"x_{name}.nii.gz" for name in names}
        for file in stored.values():
            np.testing.assert_allclose(file.affine, AFFINE)
            assert file.shape[:3] == (4, 5, 6)
        assert stored["x_label.nii.gz"].get_data_dtype() == np.uint8
        types = {stored[f"x_{name}.nii.gz"].get_data_dtype() for name in names[1:]}
        assert types == {np.dtype(np.float32)}
        for name, expected in {
            "label": probs.argmax(dim=0),
            "probabilities": probs.movedim(0, -1),
            "confidence": probs.amax(dim=0),
            "entropy": entropy_map(probs)[0],
        }.items():
            np.testing.assert_array_equal(stored[f"x_{name}.nii.gz"].get_fdata(), expected)
        assert caplog.text.count("x_") == caplog.text.count("x_entropy") == 1

    def test_equal_names_in_several_folders_stay_apart(self, tmp_path):
        """The folders below the one that all cases share are kept."""
        self.save(tmp_path / "out", tmp_path / "in/a/x.nii.gz", tmp_path / "in/b/c/x.nii.gz")

        labels = {path.relative_to(tmp_path / "out") for path in tmp_path.rglob("*_label*")}
        assert labels == {Path("a/x_label.nii.gz"), Path("b/c/x_label.nii.gz")}

    def test_relative_paths_are_as_good_as_absolute_ones(self, tmp_path, monkeypatch):
        """The folder that all cases share is found in either."""
        (tmp_path / "in").mkdir()
        monkeypatch.chdir(tmp_path / "in")

        self.save("../out", "x.nii", "a/y.nii")

        assert (tmp_path / "out/a/y_label.nii.gz").is_file()

    @pytest.mark.parametrize(
        ("name", "stem"), [("x.y.nii.gz", "x.y"), ("x.nii", "x"), ("1.2.840.113", "1.2.840.113")]
    )
    def test_names_keep_their_dots(self, tmp_path, name, stem):
        """What follows the last dot of a series' folder is part of its name."""
        if not name.startswith("x"):
            (tmp_path / name).mkdir()

        self.save(tmp_path / "out", tmp_path / name)

        assert (tmp_path / f"out/{stem}_label.nii.gz").is_file()
