"""The handlers in a stock evaluator of MONAI: stock transforms, files or arrays, batches or cases."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    Compose,
    CopyItemsd,
    EnsureChannelFirstd,
    LoadImaged,
)

from nacl_monai import audit, read_audit
from nacl_monai.errors import InputError
from nacl_monai.training import Audited, CalibrationError
from tests.conftest import refused, save_nifti

CLASSES = ["background", "left", "right"]
SHAPE = (6, 5, 4)
SOFTMAX = Activationsd("pred", softmax=True)
KEEP = CopyItemsd("pred", names="probabilities")
GUIDE = Path(__file__).parents[2] / "docs" / "metrics.md"


class Logits(torch.nn.Module):
    """A network that knows: logits by the gray value, whose noise misleads it."""

    def forward(self, image):
        return torch.cat([-2 * image, 1 - (image - 1) ** 2, image - 2], dim=1)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Five cases in KiTS's layout: folders that tell files of equal names apart."""
    root, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    cases = []
    for number in range(5):
        label = rng.integers(0, 3, SHAPE).astype(np.uint8)
        image = (label + rng.normal(0, 0.5, SHAPE)).astype(np.float32)
        folder = root / f"case_{number:05d}"
        save_nifti(image, folder / "imaging.nii.gz")
        save_nifti(label, folder / "segmentation.nii.gz")
        kinds = {"image": "imaging", "label": "segmentation"}
        cases.append({key: f"{folder}/{kind}.nii.gz" for key, kind in kinds.items()})
    return cases


def loaded(files, **options):
    keys = ["image", "label"]
    transform = Compose([LoadImaged(keys), EnsureChannelFirstd(keys)])
    return DataLoader(Dataset(files, transform), **options)


def expected(files, **options):
    """The audit of the same probabilities, in memory."""
    probs, labels = [], []
    for case in loaded(files, batch_size=1):
        probs.append(Logits()(case["image"].as_tensor())[0].softmax(0))
        labels.append(case["label"].as_tensor()[0])
    return audit(probs, labels, regions=["foreground", "union"], **options)


def evaluated(folder, loader, postprocessing=SOFTMAX, network=None, structures=(), **options):
    """A stock evaluator with the handlers, which has run."""
    decisions = {"class_1": [1], "class_2": [2]}
    what = {"regions": ["foreground", "union"], "structures": structures}
    calibration = CalibrationError(**what, decisions=decisions)
    options |= {"val_handlers": [Audited(folder, CLASSES, calibration, "ours")]}
    inside = ("cpu", loader, network or Logits())
    evaluator = SupervisedEvaluator(*inside, postprocessing=postprocessing, **options)
    calibration.attach(evaluator, "calibration")
    evaluator.run()
    return evaluator


def calibration(found):
    """The columns of an audit but Dice and HD95, which handlers of calibration do not have."""
    return [name for name in found.errors if not name.startswith(("dice", "hd95"))]


def check(folder, evaluator, found, names):
    """Numbers are those of the audit in memory, and every case has its name everywhere."""
    ours = read_audit(folder)
    assert ours.errors.index.tolist() == names
    columns = calibration(found)
    np.testing.assert_allclose(ours.errors[columns], found.errors[columns], rtol=1e-6)
    table = pd.read_csv(folder / "cases.csv", dtype={"case": str}).set_index("case")
    np.testing.assert_allclose(table.loc[names, columns], found.errors[columns], atol=1e-6)
    for column in ("ece_foreground", "ece_union"):
        assert evaluator.state.metrics[column] == pytest.approx(found.errors[column].mean())
    assert sorted(path.name for path in (folder / "maps").iterdir()) == [f"{n}.npz" for n in names]


NAMES = [f"case_{number:05d}_imaging" for number in range(5)]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_cases_are_called_by_their_files(files, tmp_path, batch_size):
    """Probabilities under ``pred`` are enough; whatever the batches are."""
    evaluator = evaluated(tmp_path, loaded(files, batch_size=batch_size))

    check(tmp_path, evaluator, expected(files), NAMES)


def test_batches_need_not_be_decollated(files, tmp_path):
    """A network that ends in its activation, and nothing behind it."""
    network = torch.nn.Sequential(Logits(), torch.nn.Softmax(dim=1))
    evaluator = evaluated(tmp_path, loaded(files, batch_size=3), None, network, decollate=False)

    check(tmp_path, evaluator, expected(files), NAMES)


def test_labels_may_be_one_hot(files, tmp_path):
    """And predictions too, if the probabilities are kept."""
    one_hot = AsDiscreted(["pred", "label"], argmax=[True, False], to_onehot=3)
    evaluator = evaluated(tmp_path, loaded(files, batch_size=2), Compose([SOFTMAX, KEEP, one_hot]))

    check(tmp_path, evaluator, expected(files), NAMES)


def test_names_of_the_data_count_before_those_of_files(files, tmp_path):
    """A key ``case`` in every item, and ``patient``."""
    named = [{**file, "case": f"c{k}", "patient": "p"} for k, file in enumerate(files)]
    evaluator = evaluated(tmp_path, loaded(named, batch_size=2))

    check(tmp_path, evaluator, expected(files), [f"c{k}" for k in range(5)])
    assert set(pd.read_csv(tmp_path / "cases.csv")["patient"]) == {"p"}


def test_structures_may_overlap(files, tmp_path):
    """A channel of a sigmoid and a mask for each, as in MONAI's bundle for BraTS."""
    structures = ["any", "left", "right"]

    def masks(item):
        label = item["label"]
        return {**item, "label": torch.cat([label > 0, label == 1, label == 2]).float()}

    postprocessing = Compose([Activationsd("pred", sigmoid=True), masks])
    evaluated(tmp_path, loaded(files), postprocessing, structures=structures)

    probs = [Logits()(case["image"].as_tensor())[0].sigmoid() for case in loaded(files)]
    truth = [masks({"label": case["label"][0].as_tensor()})["label"] for case in loaded(files)]
    found = audit(probs, truth, structures=structures, regions=["foreground", "union"])
    ours = read_audit(tmp_path)
    assert ours.run.bins.regions == found.run.bins.regions
    columns = calibration(found)
    np.testing.assert_allclose(ours.errors[columns], found.errors[columns], rtol=1e-6)


@pytest.mark.parametrize(
    ("postprocessing", "message"),
    [
        (Compose([SOFTMAX, AsDiscreted("pred", argmax=True)]), "pred: holds whole numbers"),
        (Compose([SOFTMAX, AsDiscreted("pred", argmax=True, to_onehot=3)]), "pred: holds whole"),
        (None, "probs: reach from"),
        (Activationsd("pred", sigmoid=True), "use softmax, not sigmoid"),
    ],
    ids=["label map", "one-hot", "logits", "sigmoid"],
)
def test_what_is_no_probability_is_refused(files, tmp_path, postprocessing, message):
    """In one line, and nothing passes for the numbers of a network that is always certain."""
    assert message in refused(evaluated, tmp_path, loaded(files), postprocessing)
    assert not (tmp_path / "cases.csv").exists()


def test_example_runs_as_printed(files, tmp_path, monkeypatch, capsys):
    """The documentation's: fifteen lines, and the numbers of the audit."""
    text = GUIDE.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    block = next(code for code in blocks if "SupervisedEv" in code)
    assert len([line for line in block.splitlines() if line]) <= 15
    names = {"classes": CLASSES, "device": torch.device("cpu"), "network": Logits()}
    names["loader"] = loaded(files, batch_size=2)
    monkeypatch.chdir(tmp_path)
    exec(block, names)

    check(tmp_path / "mine", names["evaluator"], expected(files, classes=CLASSES), NAMES)
    table = pd.read_csv(tmp_path / "mine/cases.csv")
    assert table["dice"].mean() == pytest.approx(names["evaluator"].state.metrics["dice"], abs=1e-6)
    assert "5 cases, mean over cases: dice" in capsys.readouterr().out
    assert read_audit(tmp_path / "mine").plot("union").axes


@pytest.mark.parametrize(
    ("structures", "metrics", "message"),
    [
        (["left"], ["dice"], "'dice' is of 2 structures, but the decisions .* on 1 \\(left\\)"),
        (["left", "right"], ["hd95"], "no metric 'hd95' with details; .*choose from dice"),
    ],
)
def test_scores_that_do_not_fit_are_refused(tmp_path, structures, metrics, message):
    """Rather than written in the wrong column."""
    engine = Engine(lambda *_: None)
    engine.state.metric_details = {"dice": torch.zeros(5, 2)}
    decisions = {name: [k] for k, name in enumerate(structures, 1)}
    calibration = CalibrationError(errors=["ece"], decisions=decisions)
    handler = Audited(tmp_path, CLASSES, calibration, "ours", metrics)

    with pytest.raises(InputError, match=f"^Audited: .*{message}"):
        handler.write(engine, list("abcde"), [])
