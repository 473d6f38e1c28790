"""Evaluation and inference believe the run's own records, and refuse to contradict them."""

import json
import shutil

import nibabel
import pytest

from tests.configurations.conftest import FAST, arguments, contents

pytestmark = pytest.mark.slow  # a training; tests/training/test_run_settings.py has the rules


@pytest.fixture
def run(run_of, tmp_path):
    """The run of ACDC, trained with another `spatial_size` than the dataset's, to be changed."""
    _, dataset_dir, folder = run_of("acdc")
    shared = ["--dataset_dir", dataset_dir, "--cache_dir", folder.parent / "cache"]
    return shutil.copytree(folder, tmp_path / "run"), shared


def command(run_id, *overrides, dataset="acdc"):
    """A command without the words that make it fast."""
    plain = arguments(run_id, dataset)
    return [word for word in plain if word not in FAST[dataset]] + [*map(str, overrides)]


def test_evaluation_without_the_words_of_the_training_is_the_same(bundle, run):
    """`make evaluate` after a training with overrides needs none of them; not a digit differs."""
    folder, shared = run
    names = ("cases.csv", "summary.json", "bins.npz")
    before = {name: (folder / "evaluation" / name).read_bytes() for name in names}
    shutil.rmtree(folder / "evaluation")

    bundle.done(*command("evaluating", *shared, "--output_dir", folder))
    assert before == {name: (folder / "evaluation" / name).read_bytes() for name in names}


@pytest.mark.parametrize(
    ("overrides", "dataset", "named"),
    [
        (["--network_def", "@networks::attention_unet"], "acdc",
         "network_def (@networks::unet, now @networks::attention_unet)"),
        # Its fragment is named in --config_file, and is no override.
        ([], "kits", "dataset (acdc, now kits)"),
    ],
)  # fmt: skip
def test_contradiction_is_refused_and_the_evaluation_stays(bundle, run, overrides, dataset, named):
    """One line with both values, and nothing is changed."""
    folder, shared = run
    before = contents(folder)
    asked = command("evaluating", *shared, "--output_dir", folder, *overrides, dataset=dataset)

    line = bundle.refused(*asked)

    assert f"config.json: the run was trained with another {named}" in line
    assert before == contents(folder)


@pytest.mark.parametrize("run_id", ["evaluating", "calibrating"])
def test_patient_who_trained_cannot_be_put_among_the_others(bundle, run, run_id):
    """A split that was changed after the training would test or calibrate on what the network knows."""
    folder, shared = run
    split = json.loads((folder / "split.json").read_text())
    patient = split["train"].pop()
    for part in ("val", "test"):
        changed = {**split, part: [*split[part], patient]}
        (folder / "split.json").write_text(json.dumps(changed))
        before = contents(folder)

        options = [*shared, "--output_dir", folder, "--calibrator", "temperature_union"]
        line = bundle.refused(*command(run_id, *options))

        assert f"case {patient}_frame" in line
        assert f"in the set 'train', which is in {part!r} now" in line
        assert before == contents(folder)


def test_inference_believes_the_run_as_well(bundle, run, tmp_path):
    """The record beside the weights counts, wherever the predictions go."""
    folder, _ = run
    images = ["--checkpoint", folder / "model.pt", "--images", "none.nii.gz"]
    contradiction = ["--output_dir", tmp_path / "out", "--spatial_size", "[48, 48]"]

    line = bundle.refused(*command("inference", *images, *contradiction))

    assert "spatial_size::0 (32, now 48)" in line
    assert not (tmp_path / "out").exists()


def test_record_has_the_settings_of_the_command_and_of_the_run(bundle, run):
    """But for where things are; tests/training/test_run_record.py has the rest of the record."""
    folder, shared = run
    more = ["--output_dir", folder, "--calibration::num_bins", 10]
    bundle.done(*command("evaluating", *shared, *more))

    record = json.loads((folder / "evaluation/evaluation.json").read_text())
    assert record["settings"]["calibration::num_bins"] == 10
    assert record["settings"]["spatial_size::1"] == 32
    assert "dataset_dir" not in record["settings"]


def test_other_images_than_the_run_recorded_are_not_evaluated(bundle, run, tmp_path):
    """Inverted in a copy of the dataset, under the same names; nor is a calibrator fitted to them."""
    folder, shared = run
    copy = shutil.copytree(shared[1], tmp_path / "data")
    moved = ["--dataset_dir", copy, *shared[2:], "--output_dir", folder]
    bundle.done(*command("evaluating", *moved))
    before = contents(folder)
    for file in copy.rglob("*_frame??.nii.gz"):
        image = nibabel.load(file)
        nibabel.save(nibabel.Nifti1Image(-image.get_fdata(), image.affine), file)

    for run_id, more in (("evaluating", []), ("calibrating", ["--calibrator", "temperature_all"])):
        line = bundle.refused(*command(run_id, *moved, *more))

        assert f"has other bytes than {folder}/data.json recorded; put it back" in line
        assert contents(folder) == before
