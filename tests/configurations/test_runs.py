"""Training, evaluating and inference do what they say, or refuse in one line before the first batch."""

import json
from itertools import cycle, product
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser
from monai.engines import SupervisedTrainer

from nacl_monai.data.cases import image_files
from tests.configurations.conftest import FAST, ROOT, arguments, curves, parser_of
from tests.conftest import nightly_but
from tests.networks.conftest import make_small, small_overrides
from tests.same import same_bits, same_values
from tests.training.conftest import expected_calibration_error

#: Where any training will do: a small network, and two patients to learn from.
SMALLEST = [*small_overrides("unet"), "--split_proportions", {"train": 1, "val": 1, "test": 1}]


def image_of(dataset, dataset_dir):
    """The image of the first case, of its first modality."""
    parser = parser_of(dataset, dataset_dir=dataset_dir)
    return Path(image_files(parser.get_parsed_content("cases")[0])[0])


def network_of(dataset, run):
    """The run's network in evaluation mode, from its configuration and weights."""
    parser = parser_of(dataset)
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(run / "model.pt", weights_only=True))
    return network.eval(), parser["classes"]


class TestTraining:
    def test_curves_show_the_loss_its_terms_and_every_validation(self, trained):
        """TensorBoard has the loss, its terms which sum to it, and the validation of each epoch."""
        values = {tag: [value for _, value in points] for tag, points in curves(trained[2]).items()}

        total = np.add(values["cross_entropy"], values["penalty"])
        np.testing.assert_allclose(values["loss"], total, rtol=1e-5)
        for tag in ("val_dice", "ece_foreground", "cece_foreground"):
            assert len(values[tag]) == 2
            assert all(0 <= value <= 1 for value in values[tag])
        near = zip(values["ece_near_pooled"], values["confidence_gap_near_pooled"], strict=True)
        assert all(abs(gap) <= error + 1e-6 and error > 0 for error, gap in near)
        assert all(value > 0 for value in values["nll_all"])


class TestEvaluating:
    def test_every_test_case_has_a_row_bins_and_a_map(self, trained):
        """Every case of every test patient has a row, bins and a map."""
        _, _, run = trained
        patients = json.loads((run / "split.json").read_text())["test"]
        table = pd.read_csv(run / "evaluation/cases.csv", dtype={"case": str, "patient": str})
        cases = list(table["case"])

        assert set(patients) == set(table["patient"])
        assert sorted(np.load(run / "evaluation/bins.npz")["cases"]) == cases
        assert sorted(path.stem for path in (run / "evaluation/maps").iterdir()) == cases

    def test_all_voxels_are_in_profile_and_histogram(self, trained):
        """All test voxels are in the profile, and all training voxels in each epoch's histogram."""
        _, _, run = trained
        profile, bins = np.load(run / "evaluation/logits.npz"), np.load(run / "evaluation/bins.npz")
        per_class = bins["positives"][:, list(bins["regions"]).index("all"), 1:].sum(axis=(0, 2))
        histogram = np.load(run / "logit_histogram.npz")
        voxels = histogram["counts"].sum(axis=1)

        same_values(per_class, profile["counts"])
        assert list(profile["classes"]) == list(bins["classes"][1:])
        assert histogram["epochs"].tolist() == [1, 2]
        assert voxels[0] == voxels[1] > 0

    def test_dice_and_ece_are_those_of_a_loop(self, run_of):
        """Dice and ECE equal those of a loop over slices and bins (hippocampus: not resampled)."""
        dataset, dataset_dir, run = run_of("hippocampus")
        network, classes = network_of(dataset, run)
        table = pd.read_csv(run / "evaluation/cases.csv").set_index("case")
        for case in table.index:
            image = nibabel.load(dataset_dir / "imagesTr" / f"{case}.nii.gz").get_fdata()
            label = nibabel.load(dataset_dir / "labelsTr" / f"{case}.nii.gz").get_fdata()
            probabilities = segment_padded(network, image)
            prediction = probabilities.argmax(axis=0)
            pairs = [(prediction == k, label == k) for k in range(1, len(classes))]
            dice = [2 * (ours & true).sum() / (ours.sum() + true.sum()) for ours, true in pairs]
            inside = label != 0
            right = (prediction == label)[inside]
            ece = expected_calibration_error(probabilities.max(axis=0)[inside], right)

            measured = table.loc[case, [f"dice_{c}" for c in classes[1:]]].astype(float)
            np.testing.assert_allclose(dice, measured, atol=2e-3)  # the maps are in half precision
            np.testing.assert_allclose(ece, table.loc[case, "ece_foreground"], atol=1e-3)


def segment_padded(network, image, size=(48, 64)):
    """Class probabilities ``(C, H, W, D)``: scale, pad, one slice at a time, crop."""
    low, high = np.percentile(image, [0.5, 99.5])
    scaled = np.clip((image - low) / (high - low), 0, 1)
    before = [(s - n) // 2 for s, n in zip(size, image.shape, strict=False)]
    window = tuple(slice(b, b + n) for b, n in zip(before, image.shape, strict=False))
    slices = []
    for depth in range(image.shape[2]):
        padded = np.zeros(size, np.float32)
        padded[window] = scaled[..., depth]
        with torch.no_grad():
            slices.append(network(torch.tensor(padded)[None, None])[0].softmax(dim=0).numpy())
    return np.stack(slices, axis=-1)[(slice(None), *window)]


def infer(bundle, trained, output):
    """An image of a run's dataset, and the probabilities that inference by the run finds in it."""
    dataset, dataset_dir, run = trained
    image = image_of(dataset, dataset_dir)
    args = ["--images", image, "--checkpoint", run / "model.pt", "--output_dir", output]
    bundle.done(*arguments("inference", dataset, *args))
    (found,) = output.glob("*_probabilities.nii.gz")
    return nibabel.load(image).get_fdata(), nibabel.load(found).get_fdata(dtype=np.float32)


class TestInference:
    @pytest.mark.slow
    def test_resized_probabilities_are_interpolated(self, bundle, run_of, tmp_path):
        """Where images are resized, probabilities are interpolated, not copied from the nearest."""
        _, probabilities = infer(bundle, run_of("acdc"), tmp_path)

        assert len(np.unique(probabilities[..., 4, 0])) > 32 * 32

    def test_probabilities_are_those_of_the_network(self, bundle, run_of, tmp_path):
        """The probabilities are the network's, voxel by voxel (hippocampus: not resampled)."""
        dataset, _, run = trained = run_of("hippocampus")
        image, found = infer(bundle, trained, tmp_path)

        expected = segment_padded(network_of(dataset, run)[0], image)
        np.testing.assert_allclose(np.moveaxis(expected, 0, -1), found, atol=1e-4)


@pytest.mark.slow
def test_same_seed_gives_the_same_weights(bundle, shared, tmp_path):
    """The same seed gives the same weights, another seed gives others."""
    weights = []
    for seed in (0, 0, 1):
        args = [*shared, "--max_epochs", 1, "--seed", seed, "--restart", True, *SMALLEST]
        bundle.done(*arguments("training", "hippocampus", *args))
        state = torch.load(tmp_path / "run/model.pt", weights_only=True)
        weights.append(torch.cat([value.flatten().float() for value in state.values()]))

    same_bits(weights[0], weights[1], "the same seed takes the same steps")
    assert not torch.allclose(weights[0], weights[2])


LOSSES = list(ConfigParser.load_config_file(ROOT / "bundles/common/train.yaml")["losses"])


@pytest.mark.slow
@pytest.mark.parametrize("loss", nightly_but(("nacl_mixed", "crac", "sdc"), LOSSES))
def test_every_loss_of_the_menu_trains(bundle, shared, tmp_path, loss):
    """Every loss of the menu trains."""
    chosen = ["--max_epochs", 1, "--loss", f"@losses::{loss}", *SMALLEST]

    bundle.done(*arguments("training", "hippocampus", *shared, *chosen))
    assert (tmp_path / "run" / "model.pt").is_file()


@pytest.mark.slow
def test_every_key_resolves(datasets, tmp_path):
    """MONAI evaluates keys lazily; here each key of each bundle and run is evaluated once."""
    paths = ROOT.glob("bundles/*/configs/dataset.yaml")
    assert set(FAST) == {path.parents[1].name for path in paths}
    for dataset, kind in product(FAST, ("train", "evaluate", "inference")):
        run = tmp_path / dataset
        places = {"dataset_dir": datasets[dataset], "output_dir": run}
        if kind == "inference":
            places |= {"images": str(image_of(dataset, datasets[dataset]))}
            places |= {"checkpoint": str(run / "model.pt")}
        else:
            places |= {"cache_dir": tmp_path / "cache"}
        parser = parser_of(dataset, kind, **places)
        make_small(parser)
        if kind != "train":
            torch.save(parser.get_parsed_content("network").state_dict(), run / "model.pt")
        parser.parse(reset=True)
        for key in parser.get():
            if key not in ("training", "evaluating", "calibrating", "inference", "initialize"):
                parser.get_parsed_content(key)


MISSPELT_LOSS = {"_target_": "nacl_monai.losses.FocalLoss", "gama": 2.0}
LIGHT = ["--augmentation", "@augmentations::light"]
FAULTS = {
    "override": (["--lerning_rate", 0.1], "did you mean --learning_rate?"),
    "interval": (["--val_interval", 2], "a training of 1 epochs would end without a validation"),
    "argument": (["--loss", MISSPELT_LOSS], "gama: is no setting here; pass one of gamma"),
    "component": (["--loss", {"_target_": "nacl_monai.losses.Nacl"}], "nacl_monai.losses.Nacl"),
    "size": (["--spatial_size", "[50, 66]"], "is [50, 66], which the network cannot take; choose"),
    "channels": (["--networks::unet::out_channels", 9], "returns 9 channels, but there are"),
    "classes": (["--classes", [f"organ {k}" for k in range(99)]], "label_values has the values of"),
    "structure": (["--structures", {"organ": [99]}], "structures: organ is of the classes [99]"),
    "precision": (["--precision", "half"], "precision half: not known; choose from: auto"),
    "half on a CPU": (["--precision", "float16", "--device", "cpu"], "needs a GPU"),
    "stray": (["max_epochs=1"], "is not an option, nor the value of one; write --max_epochs 1"),
    "schedule": (["--train::optimizer::weight_decay", -1], "Adam: Invalid weight_decay value: -1"),
    "class": (["--network_def", "my.MyNets"], "--network_def my.MyNets: no such class"),
    "labels": (["--loss", "torch.nn.CrossEntropyLoss"], "give it labels as indices: --loss"),
    "outputs": (["--network_def", "BasicUNetPlusPlus"], "it returns a list in evaluation instead"),
    "augmentation": (
        [*LIGHT, "--augmentations::light::degrees", -1],
        "degrees is -1; pass a number",
    ),
    "patch of slices": (["--patch", [32, 32, 32]], "--patch: is of patches; add --dims 3"),
}


# All bundles share the code that refuses: each fault is tried on another of them.
@pytest.mark.parametrize(("dataset", "fault"), [*zip(cycle(FAST), FAULTS, strict=False)])
def test_fault_is_one_line_and_no_folder_is_made(bundle, datasets, tmp_path, dataset, fault):
    """The line says what is wrong, the exit code that it is the command, and nothing was written."""
    overrides, message = FAULTS[fault]
    shared = ["--dataset_dir", datasets[dataset], "--output_dir", tmp_path / "run"]
    shared += ["--cache_dir", datasets[dataset].parent / "cache", "--max_epochs", 1]

    command = arguments("training", dataset, *shared, *overrides)
    assert message in bundle.refused(*command, code=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("run_id", "word"),
    [("training", "STRAY"), ("evaluating", "--init_id=x"), ("inference", "--final_id=x")],
)
def test_word_by_which_monai_skips_initialize_skips_nothing(bundle, run_of, run_id, word):
    """Nothing is run, and what the run's folder holds stays as it is."""
    dataset, dataset_dir, run = run_of("hippocampus")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    shared = ["--output_dir", run]
    shared += [] if run_id == "inference" else ["--dataset_dir", dataset_dir]

    line = bundle.refused(*arguments(run_id, dataset, *shared, word), code=2)

    assert line.startswith(f"error: {word.partition('=')[0]}")
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_evaluator_has_the_weights_of_the_run_whatever_leads_to_it(run_of, monkeypatch):
    """Its network is made by reading them: no order of steps can leave them out."""
    dataset, dataset_dir, run = run_of("hippocampus")
    monkeypatch.chdir(ROOT)
    places = {"dataset_dir": dataset_dir, "output_dir": run, "cache_dir": run.parent / "cache"}

    evaluator = parser_of(dataset, "evaluate", **places).get_parsed_content("evaluator")

    weights, saved = evaluator.network.state_dict(), torch.load(run / "model.pt", weights_only=True)
    same_bits(weights, saved, "they are read back")


@pytest.mark.slow
def test_seed_counts_without_initialize(bundle, shared, monkeypatch):
    """The run id's own steps alone begin with the same weights, whatever was drawn before."""
    states = []
    monkeypatch.setattr(
        SupervisedTrainer, "run", lambda self: states.append(self.network.state_dict())
    )
    for _ in range(2):
        bundle.done(*arguments("training", "hippocampus", *shared, "--initialize", []))
        torch.rand(1)

    same_bits(*states, "the same seed draws the same")
