"""Wrong input ends in one clear line before training starts, with a non-zero exit."""

import subprocess
import sys
from pathlib import Path

import pytest

from nacl_monai.data import acdc_cases
from nacl_monai.menus import read_menu
from tests.configurations.conftest import ROOT, arguments
from tests.conftest import change, put


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


def one_line(errors):
    """The line that says what is wrong; fails if there is a traceback."""
    assert "Traceback" not in errors
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, errors
    return lines[0]


def training(tmp_path, dataset_dir, *overrides):
    shared = [
        "--output_dir",
        tmp_path / "run",
        "--cache_dir",
        tmp_path / "cache",
        "--max_epochs",
        1,
    ]
    return arguments("training", "acdc", "--dataset_dir", dataset_dir, *shared, *overrides)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("patient", [0, 1, 2], ids=["training", "validation", "test"])
def test_fault_of_one_file_stops_before_training(bundle, acdc_copy, tmp_path, fault, patient):
    """A fault of one file stops the command before it trains; tests/data/test_faults.py has them all."""
    case = {key: Path(value) for key, value in acdc_cases(acdc_copy)[2 * patient].items()}
    fault(case)
    (tmp_path / "split.json").write_text(SPLIT)

    split = ["--split_file", tmp_path / "split.json"]
    code, errors = bundle(*training(tmp_path, acdc_copy, *split))

    assert code == 1
    line = one_line(errors)
    assert FAULTS[fault] in line
    assert f"{case['case'].name}.nii.gz" in line or f"{case['case'].name}_gt.nii.gz" in line
    written = {path.name for path in (tmp_path / "run").rglob("[!.]*") if path.is_file()}
    assert {name for name in written if not name.startswith("events.")} == {
        "config.json",
        "data.json",
    }
    assert all(path.suffix == ".npy" for path in (tmp_path / "cache").glob("[!.]*"))
    assert not list((tmp_path / "cache").glob(".*"))


def test_patient_in_two_sets_is_refused(bundle, acdc_phantom, tmp_path):
    """A split that trains and tests on one patient is refused, with its file."""
    (tmp_path / "split.json").write_text(SPLIT.replace("patient003", "patient001"))

    split = ["--split_file", tmp_path / "split.json"]
    code, errors = bundle(*training(tmp_path, acdc_phantom, *split))

    assert code == 1
    assert "split.json: patient patient001 is listed twice" in one_line(errors)
    assert not (tmp_path / "cache").exists()


def test_spaces_alphabets_and_links_in_paths_are_harmless(bundle, decathlon_phantom, tmp_path):
    """Spaces, other alphabets and links in every path: it trains, and is evaluated."""
    root = tmp_path / "Mes données"
    root.mkdir()
    for path in decathlon_phantom.iterdir():
        (root / path.name).symlink_to(path)
    shared = ["--dataset_dir", root, "--output_dir", tmp_path / "Läufe 1" / "数据"]
    shared += ["--cache_dir", tmp_path / "ein Zwischenspeicher"]

    for words in (["training", "hippocampus", "--max_epochs", 1], ["evaluating", "hippocampus"]):
        code, errors = bundle(*arguments(*words, *shared))
        assert code == 0, errors

    assert (tmp_path / "Läufe 1" / "数据" / "evaluation" / "summary.json").is_file()


def test_class_that_never_occurs_is_refused(bundle, decathlon_phantom, tmp_path):
    """A class that is in no training label is refused before the first batch."""
    classes = ["--classes", ["background", "anterior", "posterior", "hilus"]]
    classes += ["--label_values", [[0], [1], [2], [3]]]
    shared = ["--dataset_dir", decathlon_phantom, "--output_dir", tmp_path / "run"]
    shared += ["--cache_dir", tmp_path / "cache", "--max_epochs", 1]

    code, errors = bundle(*arguments("training", "hippocampus", *shared, *classes))

    assert code == 1
    assert "classes: hilus in none of the 7 training labels; remove it from" in one_line(errors)
    assert not list(tmp_path.rglob("*.pt"))


def test_size_that_does_not_fit_is_refused_before_an_evaluation(
    bundle, decathlon_phantom, tmp_path
):
    """A spatial_size that the network cannot take is refused before an evaluation, too."""
    overrides = ["--dataset_dir", decathlon_phantom, "--output_dir", tmp_path]
    size = ["--spatial_size", "[50, 66]"]

    code, errors = bundle(*arguments("evaluating", "hippocampus", *overrides, *size))

    assert code == 2
    assert (
        "spatial_size: is [50, 66], which the network cannot take; choose another, such as [64, 80]"
        in (one_line(errors))
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["--loss", "@losses::nalc"],
            f"no losses::nalc in the configuration; choose from: {', '.join(read_menu('losses'))}",
        ),
        (["--loss", "nacl"], "--loss nacl: is not a reference to the menu; write it as "),
        (
            ["--network_def", "@networks::vnet"],
            f"no networks::vnet in the configuration; choose from: {', '.join(read_menu('networks'))}",
        ),
        (["--lerning_rate", "0.1"], "--lerning_rate: there is no such key in the configuration"),
        (["--max_epoch=3"], "did you mean --max_epochs?"),
        (["--losses#nacl#penalty_wieght", "1"], "did you mean --losses::nacl::penalty_weight?"),
        (["--+classes", "['x']"], "--+classes: there is no such key"),
    ],
)
def test_wrong_name_or_key_is_refused_with_the_right_one(
    bundle, acdc_phantom, tmp_path, overrides, message
):
    """A wrong name or key is refused, with what would be right; the exit code is argparse's."""
    code, errors = bundle(*training(tmp_path, acdc_phantom, *overrides))

    assert code == 2
    assert message in one_line(errors)
    assert not (tmp_path / "run").exists()


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
    code, errors = bundle(*training(tmp_path, folder))

    assert code == 1
    assert message in one_line(errors)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_process_ends_with_the_line_alone_and_exit_code_2(tmp_path):
    """The process itself ends with the line alone, and 2 says that the command is wrong."""
    words = [*training(tmp_path, tmp_path / "nowhere"), "STRAY"]

    result = subprocess.run(
        [sys.executable, "-m", "monai.bundle", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 2
    assert "STRAY: is not an option" in one_line(result.stderr)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "train first"), (b"", "is damaged"), (b"PK\x03\x04", "is damaged")],
)
def test_unusable_model_is_named(bundle, acdc_phantom, tmp_path, content, message):
    """Evaluation without a usable model says what is wrong with the file."""
    if content is not None:
        (tmp_path / "model.pt").write_bytes(content)

    overrides = ["--dataset_dir", acdc_phantom, "--output_dir", tmp_path]
    code, errors = bundle(*arguments("evaluating", "acdc", *overrides))

    assert code == 1
    assert "model.pt: " in one_line(errors)
    assert message in one_line(errors)


@pytest.mark.slow
def test_weights_of_another_network_are_refused(bundle, trained):
    """Evaluation with another network than was trained is refused."""
    dataset, dataset_dir, run = trained

    overrides = ["--dataset_dir", dataset_dir, "--output_dir", run]
    overrides += ["--network_def", "@networks::attention_unet"]
    code, errors = bundle(*arguments("evaluating", dataset, *overrides))

    assert code == 1
    assert "was trained with another network_def (@networks::unet, now @networks::attention" in (
        one_line(errors)
    )


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

    code, errors = bundle(*arguments("inference", "acdc", *overrides, "--output_dir", tmp_path))

    assert code == 1
    assert message in one_line(errors)
    assert not list(tmp_path.iterdir())
