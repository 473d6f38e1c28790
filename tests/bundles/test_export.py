"""A finished run becomes a bundle, whole or not at all, with or without a calibrator."""

import hmac
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from functools import cache, partial
from importlib.metadata import distribution
from itertools import chain
from pathlib import Path

import huggingface_hub
import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import UNet
from packaging.requirements import Requirement
from torch import nn

import nacl_monai
from nacl_monai.bundles import export as onnx
from nacl_monai.bundles.card import promise_section
from nacl_monai.bundles.export import export_bundle, newest_run
from nacl_monai.cli import main
from nacl_monai.errors import InputError, SettingError
from nacl_monai.evaluations import Evaluated
from nacl_monai.evaluations.evaluation_files import EvaluationOf
from nacl_monai.files import checksum
from nacl_monai.menus import read_menu
from nacl_monai.posthoc import Calibrator, DistanceTemperatures, Fit, write_calibrator
from nacl_monai.posthoc.distance import KNOTS
from nacl_monai.promises import read_promise
from nacl_monai.runs import RunFolder
from nacl_monai.words import counted
from tests.bundles.conftest import BUNDLES
from tests.conftest import refused, save_nifti
from tests.same import same_bits, same_values
from tests.test_output import fork

NETWORKS = ", ".join(read_menu("networks"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"network_def": "@networks::vnet"}, f"no networks::vnet .*choose from: {NETWORKS}"),
        ({"networks::unet::channels": [4]}, r"^network_def: cannot be made \(.*; corr"),
        ({"network_def": "@networks::attention_unet"}, "model.pt: does not fit the network"),
    ],
)
def test_wrong_choice_leaves_nothing_behind(run, tmp_path, overrides, message):
    """A wrong choice is one line, before a folder is made."""
    with pytest.raises(InputError, match=message):
        export_bundle(run, tmp_path / "dist/x", "hippocampus", overrides, BUNDLES)

    assert not (tmp_path / "dist").exists()


NOT_FINISHED = "/unet_nacl_seed0: its training is not finished; train on, then export it$"


@pytest.mark.parametrize(
    ("spoil", "output", "message"),
    [
        (lambda run: (run / "model.pt").unlink(), "dist/x", "model.pt: "),
        (lambda run: (run / "split.json").unlink(), "dist/x", "split.json: "),
        (lambda run: (run / "run.json").write_text('{"finished": false}'), "dist/x", NOT_FINISHED),
        (lambda run: (run.parents[2] / "x").mkdir(), "x", "x: is already there; remove it, or"),
        (lambda run: (run.parents[2] / "x.zip").mkdir(), "x", "x.zip: is already there"),
        (lambda _: None, "/", "^/: is already there; remove it, or choose"),
        (lambda run: os.mkfifo(run.parents[2] / "x"), "x", "/x: is not a folder; choose another"),
        (lambda run: os.mkfifo(run.parents[2] / "x"), "x/y", "/x: is not a folder; choose another"),
    ],
)
def test_run_that_is_incomplete_and_place_that_is_taken_are_refused(
    run, tmp_path, spoil, output, message
):
    """Whoever receives the bundle could not know; what is there stays as it is."""
    spoil(run)
    before = {*tmp_path.rglob("*"), tmp_path / "dist"}

    with pytest.raises(InputError, match=message):
        export_bundle(run, tmp_path / output, "hippocampus", {}, BUNDLES)
    assert {*tmp_path.rglob("*"), tmp_path / "dist"} == before


def test_disk_that_fills_up_is_one_line_and_nothing_stays(run, small_disk):
    """What was begun is gone."""
    with pytest.raises(InputError, match=r"cannot be written \(.*; choose another folder$"):
        export_bundle(run, small_disk / "dist/x", "hippocampus", {}, BUNDLES)

    assert not [path for path in small_disk.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("moment", "left"), [("shutil.make_archive", {"."}), ("Path.rename", {".", "x"})]
)
def test_export_that_is_killed_is_repeated_and_leaves_nothing_beside(
    run, tmp_path, monkeypatch, moment, left
):
    """Its hidden folder, and a zip whose folder has no name, go with the next of the same command."""

    def kill(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(f"nacl_monai.bundles.export.{moment}", kill)
        code, _ = fork(lambda: export_bundle(run, tmp_path / "dist/x", "hippocampus", {}, BUNDLES))
    assert code == -signal.SIGKILL
    assert {path.name[0] for path in (tmp_path / "dist").iterdir()} == left

    export_bundle(run, tmp_path / "dist/x", "hippocampus", {}, BUNDLES)
    assert {path.name for path in (tmp_path / "dist").iterdir()} == {"x", "x.zip"}


def test_zip_that_no_export_left_stays(run, tmp_path):
    """Beside the hidden folder of a killed one, which has a zip of that name, too."""
    (tmp_path / "dist/.partial-0").mkdir(parents=True)
    for name in ("dist/.partial-0/x.zip", "dist/x.zip"):
        (tmp_path / name).write_text("mine")

    with pytest.raises(InputError, match="x.zip: is already there"):
        export_bundle(run, tmp_path / "dist/x", "hippocampus", {}, BUNDLES)
    assert (tmp_path / "dist/x.zip").read_text() == "mine"


@pytest.fixture(scope="module")
def exported(trained_once, tmp_path_factory):
    """The folder and the zip, exported once for the tests that look at them."""
    output = tmp_path_factory.mktemp("dist") / "x"
    return export_bundle(trained_once, output, "hippocampus", {}, BUNDLES)


def test_self_contained(exported, trained_once):
    """One network, paths below the bundle, no dataset and nothing of this package in inference."""
    bundle, _ = exported
    configs = {
        kind: json.loads((bundle / f"configs/{kind}.json").read_text())
        for kind in ("train", "evaluate", "inference")
    }

    for config in configs.values():
        assert config["network_def"]["_target_"] == "UNet"
        assert "networks" not in config
    assert "nacl_monai" not in json.dumps(configs["inference"])
    for file in bundle.rglob("*.json"):
        assert str(trained_once.parents[1]) not in file.read_text()
        assert str(bundle.parent) not in file.read_text()
        assert file.read_text().isascii()


def test_run_of_a_gpu_is_exported_and_read_without_one(run, tmp_path, monkeypatch):
    """Its weights say that they are on a GPU; those of the bundle do not, and are the same."""
    weights = torch.load(run / "model.pt")
    monkeypatch.setattr("torch.serialization.location_tag", lambda _: "cuda:0")
    torch.save(weights, run / "model.pt")
    monkeypatch.undo()

    bundle, _ = export_bundle(run, tmp_path / "x", "hippocampus", {}, BUNDLES)

    monkeypatch.setattr(
        "torch.serialization.default_restore_location",
        lambda storage, place: storage if place == "cpu" else pytest.fail(f"is on {place}"),
    )
    written = torch.load(bundle / "models/model.pt")
    same_bits(written, weights, "they are read back")


def test_readme_says_how_to_run_the_bundle(exported):
    """With the versions to install, the bundle's name and how the network was converted."""
    text = (exported[0] / "docs/README.md").read_text(encoding="utf-8")

    assert "{" not in text
    assert 'pip install "monai==' in text
    assert "--config_file x/configs/train.json" in text
    assert "TorchScript, scripted" in text
    assert "The run was not evaluated." in text
    assert "## Data: " in text


def test_hub_reads_the_card(exported):
    """The hub's own client finds in its front matter what the model is, and a license that travels."""
    bundle = exported[0]
    found = huggingface_hub.ModelCard.load(bundle / "docs/README.md").data

    assert (found.library_name, found.pipeline_tag) == ("monai", "image-segmentation")
    assert (bundle / found.license_link).is_file()


def needed_by(names):
    """The distributions of these names, and all that these need, without extras."""
    needed, todo = {}, [*names]
    while todo:
        found = distribution(todo.pop())
        if found.name in needed:
            continue
        needed[found.name] = found
        for line in found.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(requirement.name)
    return needed.values()


def link_packages(names, folder):
    """Makes a folder with nothing but these distributions and what they need."""
    folder.mkdir()
    for found in needed_by(names):
        for part in {file.parts[0] for file in found.files} - {"..", "__pycache__"}:
            link = folder / part
            if not link.exists():
                link.symlink_to(found.locate_file(part))


def command_of_card(bundle, packages, *args):
    """Runs the card's command of inference in the bundle, where only the card's packages are."""
    card = (bundle / "docs/README.md").read_text(encoding="utf-8")
    (line,) = re.findall("^pip install (.*==.*)$", card, re.M)
    link_packages([word.partition("==")[0] for word in shlex.split(line)], packages)
    (command,) = re.findall("^python (-m monai.bundle run inference .*) --images", card, re.M)
    return subprocess.run(
        [sys.executable, "-S", "-B", *shlex.split(command), *map(str, args)],  # no site-packages
        cwd=bundle,
        env={**os.environ, "PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
        check=False,
    )


def own_network(run, tmp_path, monkeypatch):
    """Of a module that travels in the bundle's scripts."""
    text = "from torch import nn\n\n\nclass Net(nn.Conv2d):\n    pass\n"
    (tmp_path / "code").mkdir()
    (tmp_path / "code/card_net.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path / "code")
    torch.save(nn.Conv2d(1, 3, 1).state_dict(), run / "model.pt")
    network = {"_target_": "card_net.Net", "in_channels": 1, "out_channels": 3, "kernel_size": 1}
    return {"overrides": {"network_def": network}}


def of_slices(*_):
    """A network of the menu."""
    return {}


def of_patches(run, *_):
    """A 3-D network."""
    sizes = {"channels": [4, 8], "strides": [2], "num_res_units": 2}
    torch.save(UNet(3, 1, 3, **sizes).state_dict(), run / "model.pt")
    network = {"_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3, **sizes}
    return {"overrides": {"dims": 3, "patch": [16, 16, 16], "network_def": network}}


def calibrated(run, _, monkeypatch):
    """With a temperature behind the network."""
    write_fit(RunFolder(run), "temperature_union", evaluation="{}")
    monkeypatch.setattr("nacl_monai.bundles.export.evaluation_of_run", lambda _: None)
    return {"calibrator": "temperature_union"}


@pytest.mark.slow
@pytest.mark.parametrize("options_of", [of_slices, own_network, of_patches, calibrated])
def test_inference_needs_nothing_but_the_packages_on_the_card(
    run, tmp_path, monkeypatch, options_of
):
    """And what these need; a receiver has nothing else."""
    options = options_of(run, tmp_path, monkeypatch)
    bundle, _ = export_bundle(run, tmp_path / "x", "hippocampus", bundles=BUNDLES, **options)
    save_nifti(np.ones((16, 16, 16), np.float32), tmp_path / "image.nii.gz")

    result = command_of_card(bundle, tmp_path / "packages", "--images", tmp_path / "image.nii.gz")

    assert result.returncode == 0, result.stderr
    assert len([*(bundle / "predictions").glob("image_*.nii.gz")]) == 4


def promise_of(classes, file, *known):
    """What three patients promise of voxels of 1 mm, of these classes, and who else is known."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (3, len(classes), 6, 6, 6))
    probs = [*(np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32), *known]
    labels = [rng.integers(0, len(classes), case.shape[1:]) for case in probs]
    options = {"levels": [0.3], "spacing": (1, 1, 1), "classes": classes}
    return nacl_monai.promise(probs, labels, **options).write(file)


@pytest.mark.slow
def test_bundle_keeps_its_promise_as_this_package_does(run, tmp_path):
    """Voxel for voxel, where nothing but the packages of the card are."""
    classes = ["background", "anterior", "posterior"]
    file = promise_of(classes, tmp_path / "promise.json")
    bundle, _ = export_bundle(run, tmp_path / "x", "hippocampus", bundles=BUNDLES, promise=file)
    image = np.random.default_rng(1).normal(0, 1, (16, 18, 20)).astype(np.float32)
    save_nifti(image, tmp_path / "image.nii.gz")

    result = command_of_card(bundle, tmp_path / "packages", "--images", tmp_path / "image.nii.gz")

    assert result.returncode == 0, result.stderr
    card = (bundle / "docs/README.md").read_text(encoding="utf-8")
    assert "calibrated by 3 patients, whose set of the split is not recorded" in card
    assert all(text in card for _, text in read_promise(file).verdicts())
    output = tmp_path / "applied"
    args = ["promise", "--apply", str(file), str(bundle / "predictions"), "--output", str(output)]
    assert main(args) == 0
    contours = [*output.glob("*.nii.gz")]
    assert len(contours) == 4
    for contour in contours:
        other = nibabel.load(bundle / "predictions" / contour.name)
        same_values(other.dataobj, nibabel.load(contour).dataobj)
    tables = [pd.read_csv(place / "promised.csv") for place in (output, bundle / "predictions")]
    pd.testing.assert_frame_equal(*tables, atol=1e-6)

    # Who calibrated is recognized there, too, under whatever name.
    image = nibabel.load(bundle / "predictions/image_probabilities.nii.gz")
    probs = image.get_fdata(dtype=np.float32)
    promise_of(classes, bundle / "models/promise.json", np.moveaxis(probs, -1, 0))
    (tmp_path / "image.nii.gz").rename(tmp_path / "other.nii.gz")
    result = command_of_card(bundle, tmp_path / "again", "--images", tmp_path / "other.nii.gz")
    assert result.returncode
    assert "has the very prediction of a patient who calibrated" in result.stderr + result.stdout
    assert not [*(bundle / "predictions").glob("other_*er_*")]


def test_card_says_what_is_promised_for_whom_by_how_many(tmp_path):
    """The set of the split that calibrated, where it is recorded."""
    promise = read_promise(promise_of(["background", "anterior"], tmp_path / "promise.json"))
    known = replace(promise, definition={**promise.definition, "split": "val"})

    assert "calibrated by 3 patients, of the set `val` of the split." in promise_section(known)
    assert "whose set of the split is not recorded" in promise_section(promise)
    assert f"Inference keeps these promises {promise.unit}, and not for" in promise_section(promise)
    assert all(f"- {text}\n" in promise_section(promise) for _, text in promise.verdicts())


def test_names_of_patients_are_hidden_in_a_bundle(run, tmp_path):
    """In the split and the promise; by the salt, those who trained the network are recognized."""
    classes, salt, other = ["background", "anterior", "posterior"], tmp_path / "1", tmp_path / "2"
    salt.write_text(64 * "5")
    other.write_text(64 * "7")
    names = {part: [f"{part}_patient_{k}" for k in range(3)] for part in ("train", "val", "test")}
    (run / "split.json").write_text(json.dumps(names))
    file = promise_of(classes, tmp_path / "promise.json")
    promise = read_promise(file)
    promise = replace(promise, definition={**promise.definition, "known_by": "one_each"})
    export = partial(export_bundle, run, dataset="hippocampus", bundles=BUNDLES)

    whose = {part: replace(promise, cases=names[part], patients=names[part]) for part in names}
    whose["val"].write(file)
    bundle, _ = export(tmp_path / "x", promise=file, anonymous=salt)
    for written in filter(Path.is_file, bundle.rglob("*")):
        assert b"_patient_" not in written.read_bytes(), written
    hidden = read_promise(bundle / "models/promise.json")
    hide = {
        name: hmac.new(64 * b"5", name.encode(), "sha256").hexdigest()[:24]
        for name in chain.from_iterable(names.values())
    }
    assert hidden.patients == [hide[name] for name in names["val"]]
    split = json.loads((bundle / "configs/split.json").read_text())
    assert split == {part: sorted(hide[name] for name in names[part]) for part in names}

    trained = [hide[name] for name in names["train"]]
    whose["train"].write(tmp_path / "train.json")
    replace(hidden, patients=trained, cases=trained).write(tmp_path / "hidden.json")
    for choice, line in {
        ("train.json", salt): "who trained the network",
        ("hidden.json", salt): "who trained the network",
        ("hidden.json", None): "hides its names, so that nobody knows",
        ("hidden.json", other): "another salt hid its names",
    }.items():
        with pytest.raises(InputError, match=line):
            export(tmp_path / "y", promise=tmp_path / choice[0], anonymous=choice[1])
    assert not (tmp_path / "y").exists()


def test_promise_of_another_model_is_not_exported(run, tmp_path):
    """Before a folder is made."""
    file = promise_of(["background", "tumor", "edema"], tmp_path / "promise.json")

    with pytest.raises(InputError, match=r"is of the classes background, tumor, edema"):
        export_bundle(run, tmp_path / "dist/x", "hippocampus", {}, BUNDLES, promise=file)
    assert not (tmp_path / "dist").exists()


def test_missing_package_is_named(monkeypatch):
    """Before anything is exported."""
    monkeypatch.setattr(onnx, "find_spec", lambda name: None if name == "onnxscript" else name)

    with pytest.raises(SettingError, match="--onnx: needs the packages onnx and onnxscript; pip"):
        onnx.check_onnx()


@pytest.fixture
def add(run):
    """Adds a run to those of the dataset, newer than all before; returns its folder."""
    stamp = (run / "model.pt").stat().st_mtime

    def copy(name, seconds):
        other = Path(shutil.copytree(run, run.parent / name))
        os.utime(other / "model.pt", (stamp + seconds, stamp + seconds))
        return other

    return copy


def test_newest_finished_run_of_a_choice_is_taken(run, add):
    """Age counts, not the seed; another loss, network or setting is another choice."""
    for name in ("unet_ecp_seed0", "attention_unet_nacl_seed0", "unet_nacl_fold=1_seed0"):
        add(name, seconds=9)
    for name in ("unet_nacl_penalty_weight=0.2_seed0", "unet_nacl_seed0.previous", "unet_nacl"):
        add(name, seconds=9)
    (add("unet_nacl_seed5", seconds=9) / "run.json").write_text('{"finished": false}')
    (add("unet_nacl_seed6", seconds=9) / "model.pt").unlink()
    add("unet_nacl_seed12", seconds=2)
    add("unet_nacl_seed3", seconds=1)
    choice = (run.parents[1], "hippocampus", "unet", "nacl")

    assert newest_run(*choice).name == "unet_nacl_seed12"
    assert newest_run(*choice, seed=0).name == "unet_nacl_seed0"
    with pytest.raises(InputError, match="hippocampus/unet_nacl_seed10: no finished training"):
        newest_run(*choice, seed=10)


@pytest.mark.parametrize("runs", ["runs", "nowhere"])
def test_no_run_is_one_line_with_the_remedy(run, runs):
    """The line has the folder that was looked for, and how to name another."""
    assert refused(newest_run, run.parents[2] / runs, "hippocampus", "attention_unet", "nacl") == (
        f"{run.parents[2]}/{runs}/hippocampus/attention_unet_nacl_seed*: no finished training there; "
        "train first, or name a run: --run DIR (make: RUN=DIR)"
    )


FITS = {
    "temperature_union": ("temperature", {"temperature": 3.0}),
    "distance_all": (
        "distance",
        {"temperatures": [3.0, 2.0, 1.5, 1.0, 0.8, 0.5], "knots": [*KNOTS], "unit": "mm"},
    ),
    "vector_all": ("vector", {"scales": [0.5, 1.0, 2.0], "biases": [0.5, -0.5, 0.0]}),
}


def write_fit(run, name, parameters=None, evaluation=None, **changes):
    """Writes a calibrator as `calibrating` does, and the record of its evaluation."""
    method, usual = FITS[name]
    region = name.rpartition("_")[2]
    fit = Fit(method, parameters or usual, 0.5, 0.25, 0.0125, region, ("b", "d"), 7)
    fields = {"weights": checksum(run.model), "average": "probabilities", **changes}
    folder = run.calibrated(name)
    folder.path.mkdir(parents=True)
    write_calibrator(folder.calibrator, Calibrator(fit, fit.patients, "dataset", **fields))
    if evaluation is not None:
        folder.evaluation.path.mkdir()
        folder.evaluation.record.write_text(evaluation)


def measured(run):
    """An evaluation that found nothing but how deep its folder is."""
    metrics = pd.DataFrame({"parts": [float(len(run.path.parts))]}, index=["c"])
    patients = pd.Series(["c"], metrics.index, name="patient")
    return Evaluated(run.path, metrics, patients, None, EvaluationOf("test", {}))


@pytest.fixture(scope="module")
def exported_with(trained_once, tmp_path_factory):
    """Name → a run with that calibrator, evaluated, and its bundle; its means are another matter."""
    root = tmp_path_factory.mktemp("calibrated")
    run = RunFolder(shutil.copytree(trained_once, root / trained_once.name))
    for name in FITS:
        write_fit(run, name, evaluation='{"settings": {"average": "logits"}}')

    @cache
    def bundle(name):
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr("nacl_monai.bundles.export.evaluation_of_run", measured)
            args = (run.path, root / name, "hippocampus", {}, BUNDLES)
            return run, export_bundle(*args, calibrator=name)[0]

    return bundle


def with_weights(inference_of, bundle):
    """The inference of a bundle, and its network."""
    parser = inference_of(bundle, bundle_root=str(bundle))
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(bundle / "models/model.pt"))
    return parser, network


@pytest.mark.parametrize(
    "name", ["temperature_union", pytest.param("vector_all", marks=pytest.mark.slow)]
)
def test_calibrator_is_behind_the_network(exported_with, name, inference_of):
    """`model.ts` has both, `plain.ts` the network alone to the bit, inference both or one."""
    _, bundle = exported_with(name)
    models, image = bundle / "models", torch.rand(2, 1, 48, 64)
    parser, network = with_weights(inference_of, bundle)
    calibrator = parser.get_parsed_content("calibrator_def")

    with torch.no_grad():
        plain = network(image)
        torch.testing.assert_close(torch.jit.load(models / "plain.ts")(image), plain)
        expected = plain / 3.0
        if name == "vector_all":
            scales, biases = [torch.tensor(v)[:, None, None] for v in FITS[name][1].values()]
            expected = plain * scales + biases
        torch.testing.assert_close(torch.jit.load(models / "model.ts")(image), expected)
        torch.testing.assert_close(calibrator(plain), expected)
    for calibrated in (True, False):
        parser = ConfigParser({**parser.get(), "calibrated": calibrated})
        inferer = parser.get_parsed_content("inferer")
        volume = image.movedim(0, -1)[None]
        with torch.no_grad():
            found = inferer(volume, network)
            torch.testing.assert_close(found[0].movedim(-1, 0), expected if calibrated else plain)
            for file in ("model.ts", "plain.ts"):  # whichever a host loads, it is calibrated once
                other = inferer(volume, torch.jit.load(models / file))
                torch.testing.assert_close(other, found)


def test_calibrator_of_whole_images_is_in_inference_alone(exported_with, inference_of):
    """To the bit; `model.ts` is the network, and the card says so."""
    _, bundle = exported_with("distance_all")
    models, image = bundle / "models", torch.rand(2, 1, 48, 64)
    parser, network = with_weights(inference_of, bundle)
    with torch.no_grad():
        plain = network(image)
        torch.testing.assert_close(torch.jit.load(models / "model.ts")(image), plain)
        volume, spacing = plain[None].movedim(1, -1), [0.5, 1.0, 4.0]
        found = parser.get_parsed_content("calibrator_def")(volume, spacing=spacing)
        expected = DistanceTemperatures(**FITS["distance_all"][1])(volume, spacing=spacing)
    same_bits(found, expected, "the same calibrator of the same logits")
    assert not (models / "plain.ts").exists()
    card = (bundle / "docs/README.md").read_text()
    assert "Inference has the calibrator `distance_all` behind the network" in card
    assert (
        "`models/model.onnx`, evaluation, and what the commands above write anew are the net"
        in card
    )
    assert "torch.jit.load('models/calibrator.ts')(logits, spacing=[x, y, z])" in card


def test_model_card_and_metadata_say_what_is_behind_the_network(exported_with):
    """Which calibrator, on whom, with what effect, how to do without; the numbers are of both."""
    evaluated, bundle = exported_with("temperature_union")
    card = (bundle / "docs/README.md").read_text()
    metadata = json.loads((bundle / "configs/metadata.json").read_text())

    split = json.loads((bundle / "configs/split.json").read_text())
    people = [counted(len(split[name]), "patient") for name in ("train", "val", "test")]
    assert "In this run {} trained, {} chose the epoch, and {} tested.".format(*people) in card
    assert "`temperature_union` behind the network" in card
    assert "fitted by NLL over the region `union` of 2 validation patients" in card
    assert "2 validation patients: there the NLL fell from 0.5000 to 0.2500" in card
    assert "1.25% of the voxels changed their class. `--calibrated False` leaves it out" in card
    assert "calibrated by temperature_union" in metadata["description"]
    parts = evaluated.calibrated("temperature_union").path.parts
    assert metadata["eval_metrics"] == {"parts": len(parts)}
    assert metadata["changelog"].popitem()[1] == "weights of the run unet_nacl_seed0"


def test_windows_are_averaged_as_in_the_evaluation_on_the_card(exported_with):
    """Numbers of the mean of logits say nothing about the mean of probabilities."""
    _, bundle = exported_with("temperature_union")

    for kind in ("evaluate", "inference"):
        config = ConfigParser.load_config_file(bundle / f"configs/{kind}.json")
        assert ConfigParser({**config, "bundle_root": str(bundle)}).get("average") == "logits"
        assert config["inferer"]["average"] == "@average"


LEAST = {"scales": [1.0, 0.01, 1.0], "biases": [0.0, 0.0, 0.0]}
WORST = r"calibrator.json: ends with (temperature|scale) .*; fit it"


@pytest.mark.parametrize(
    ("name", "fit", "error", "message"),
    [
        ("temperature_all", {}, InputError, "calibrator.json: is not there; fit the calibrator"),
        ("temperature_edge", {}, SettingError, "is not a calibrator"),
        ("ensemble", {}, InputError, "is several networks, and a bundle holds one"),
        ("temperature_union", {"weights": "other"}, InputError, "was fitted to another model.pt"),
        ("temperature_union", {}, InputError, "is not evaluated, so nobody knows what it does"),
        # Nothing was found: the logits are worse than chance, or the patients too few.
        ("temperature_union", {"parameters": {"temperature": 100.0}}, InputError, WORST),
        ("temperature_union", {"parameters": {"temperature": 0.01}}, InputError, WORST),
        ("vector_all", {"parameters": LEAST}, InputError, WORST),
    ],
)
def test_calibrator_that_cannot_be_exported_is_refused(run, tmp_path, name, fit, error, message):
    """Before anything is written."""
    evaluation = "" if "parameters" in fit else None
    fitted = name if name in FITS else "temperature_union"
    write_fit(RunFolder(run), fitted, evaluation=evaluation, **fit)

    with pytest.raises(error, match=message):
        export_bundle(run, tmp_path / "x", "hippocampus", {}, BUNDLES, calibrator=name)
    assert not (tmp_path / "x").exists()
