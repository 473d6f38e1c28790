"""Wrong input ends in one clear line before training starts, with a non-zero exit."""

import subprocess
import sys
from pathlib import Path

import pytest

from nacl_monai.data import acdc_cases
from tests.configurations.conftest import ROOT, arguments, contents, one_line
from tests.conftest import change, put
from tests.networks.conftest import small_overrides


def truncated(case):
    """A file that cannot be read."""
    case["image"].write_bytes(case["image"].read_bytes()[: case["image"].stat().st_size // 2])


def label_out_of_range(case):
    """A file whose voxels cannot be used."""
    change(case["label"], put(4))


FAULTS = {
    truncated: "cannot be read",
    label_out_of_range: "holds the label value 4; expected only [0, 1, 2, 3]",
}

SPLIT = '{"train": ["patient001"], "val": ["patient002"], "test": ["patient003"]}'


def training(tmp_path, dataset_dir, *overrides):
    shared = ["--output_dir", tmp_path / "run", "--cache_dir", tmp_path / "cache"]
    shared += ["--max_epochs", 1]
    return arguments("training", "acdc", "--dataset_dir", dataset_dir, *shared, *overrides)


@pytest.mark.parametrize(
    ("fault", "patient"), [(truncated, 0), (label_out_of_range, 1), (truncated, 2)]
)
def test_fault_of_one_file_stops_before_training(bundle, acdc_copy, tmp_path, fault, patient):
    """Be it of the training, validation or test set; tests/data/test_faults.py has all faults."""
    case = {key: Path(value) for key, value in acdc_cases(acdc_copy)[2 * patient].items()}
    fault(case)
    (tmp_path / "split.json").write_text(SPLIT)

    split = ["--split_file", tmp_path / "split.json"]
    line = bundle.refused(*training(tmp_path, acdc_copy, *split))

    assert FAULTS[fault] in line
    assert f"{case['case'].name}.nii.gz" in line or f"{case['case'].name}_gt.nii.gz" in line
    assert contents(tmp_path / "run").keys() == {"config.json", "data.json"}
    assert all(path.suffix == ".npy" for path in (tmp_path / "cache").glob("[!.]*"))
    assert not list((tmp_path / "cache").glob(".*"))


@pytest.mark.slow
def test_spaces_alphabets_and_links_in_paths_are_harmless(bundle, decathlon_phantom, tmp_path):
    """Spaces, other alphabets and links in every path: it trains, and is evaluated."""
    root = tmp_path / "Mes données"
    root.mkdir()
    for path in decathlon_phantom.iterdir():
        (root / path.name).symlink_to(path)
    shared = ["--dataset_dir", root, "--output_dir", tmp_path / "Läufe 1" / "数据"]
    shared += ["--cache_dir", tmp_path / "ein Zwischenspeicher"]

    small = ["--max_epochs", 1, *small_overrides("unet")]
    for args in (["training", "hippocampus", *small], ["evaluating", "hippocampus"]):
        bundle.done(*arguments(*args, *shared))

    assert (tmp_path / "Läufe 1" / "数据" / "evaluation" / "summary.json").is_file()


def test_class_that_never_occurs_is_refused(bundle, shared, tmp_path):
    """A class that is in no training label is refused before the first batch."""
    classes = ["--classes", ["background", "anterior", "posterior", "hilus"]]
    classes += ["--label_values", [[0], [1], [2], [3]]]

    line = bundle.refused(*arguments("training", "hippocampus", *shared, *classes))

    assert "classes: hilus in none of the 7 training labels; remove it from" in line
    assert not list(tmp_path.rglob("*.pt"))


def test_size_that_does_not_fit_is_refused_before_an_evaluation(bundle, shared):
    """A spatial_size that the network cannot take is refused before an evaluation, too."""
    command = arguments("evaluating", "hippocampus", *shared[:4], "--spatial_size", "[50, 66]")

    line = (
        "spatial_size: is [50, 66], which the network cannot take; choose another, such as [64, 80]"
    )
    assert line in bundle.refused(*command, code=2)


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("/nowhere", "dataset_dir /nowhere: no such folder"),
        ("", "dataset_dir is not set"),
        ("docs", "dataset_dir docs: not ACDC's layout"),
    ],
)
def test_wrong_folder_is_refused(bundle, tmp_path, folder, message):
    """A folder that is not the dataset's is a fault of the data, and no folder is made for it."""
    assert message in bundle.refused(*training(tmp_path, folder))
    assert not (tmp_path / "run").exists()


def test_weights_to_begin_with_are_refused_before_a_folder_is_made(bundle, acdc_phantom, tmp_path):
    """Where there are none."""
    command = training(tmp_path, acdc_phantom, "--pretrained", "/nowhere.pth")

    assert "/nowhere.pth: does not exist" in bundle.refused(*command)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_process_ends_with_the_line_alone_and_exit_code_2(tmp_path):
    """The process itself ends with the line alone, and 2 says that the command is wrong."""
    args = [*training(tmp_path, tmp_path / "nowhere"), "STRAY"]

    command = [sys.executable, "-m", "monai.bundle", *args]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 2
    assert "STRAY: is not an option" in one_line(result.stderr)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "images: not set; name a file"),
        (["--images", "/nowhere/*.nii.gz"], "/nowhere/*.nii.gz: no image found there"),
        (["--images", "{image}", "--checkpoint", "/nowhere/model.pt"], "no trained model there"),
    ],
)
def test_inference_without_image_or_model_is_one_line(
    bundle, acdc_phantom, tmp_path, overrides, message
):
    """Inference without an image or a model says so in one line, with MONAI alone."""
    image = acdc_cases(acdc_phantom)[0]["image"]
    overrides = [word.format(image=image) for word in overrides]

    command = arguments("inference", "acdc", *overrides, "--output_dir", tmp_path)
    assert message in bundle.refused(*command)
    assert not list(tmp_path.iterdir())
