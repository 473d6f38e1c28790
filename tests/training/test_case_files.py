"""What an evaluator's cases are called, what is measured of them, and the files that keep it."""

import csv
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ignite.engine import Engine
from monai.engines import Evaluator

from nacl_monai.errors import InputError
from nacl_monai.training import CalibrationError, CaseBins, ValidationTable
from nacl_monai.training.case_files import CaseHandler
from nacl_monai.training.outputs import case_names
from tests.training.conftest import (
    CLASSES,
    REGIONS,
    STRUCTURES,
    expected_calibration_error,
    probabilities_of,
)


@pytest.fixture
def table(evaluated):
    return pd.read_csv(evaluated[0] / "cases.csv").set_index("case")


def test_rows_are_cases_in_alphabetical_order(table):
    """One row for each case, in alphabetical order, with its patient."""
    assert list(table.index) == ["case0", "case1", "case2"]
    assert list(table["patient"]) == ["patient0", "patient0", "patient1"]


def test_dice_of_each_structure_and_their_mean(table, evaluated):
    """Dice is 2|A∩B| / (|A| + |B|) of each structure; one that is absent has an empty field."""
    for case, volume in evaluated[2].items():
        probabilities, label = probabilities_of(volume)
        prediction = probabilities.argmax(axis=0)
        pairs = [
            (np.isin(prediction, classes), np.isin(label, classes))
            for classes in STRUCTURES.values()
        ]
        expected = [
            2 * (one & other).sum() / (one.sum() + other.sum()) if other.any() else np.nan
            for one, other in pairs
        ]
        columns = [f"dice_{name}" for name in STRUCTURES]
        np.testing.assert_allclose(expected, table.loc[case, columns].astype(float), atol=1e-6)
        np.testing.assert_allclose(np.nanmean(expected), table.loc[case, "dice"], atol=1e-6)
    assert np.isnan(table.loc["case1", ["dice_right", "hd95_right"]].astype(float)).all()


def test_errors_have_a_column_per_region(table, evaluated):
    """Every error has a column per region, named after both."""
    for case, volume in evaluated[2].items():
        for region in ("foreground", "union"):
            columns = [f"ece_{region}", f"cece_{region}"]
            measured = table.loc[case, columns].astype(float)
            np.testing.assert_allclose(errors(volume, region), measured, atol=2e-6)


def test_summary_leaves_undefined_values_out(table, evaluated):
    """Mean, standard deviation and count leave undefined values out."""
    summary = json.loads((evaluated[0] / "summary.json").read_text())

    assert summary.keys() == {"dataset", "cases", "num_bins", "metrics"}
    assert (summary["dataset"], summary["cases"]) == ("synthetic", 3)
    assert summary["num_bins"] == 15
    assert set(summary["metrics"]) == set(table.columns) - {"patient"}
    for name, statistics in summary["metrics"].items():
        defined = table[name].dropna()
        assert statistics["count"] == len(defined)
        np.testing.assert_allclose(statistics["mean"], defined.sum() / len(defined), atol=2e-6)
        np.testing.assert_allclose(statistics["std"], defined.std(ddof=1), atol=2e-6)


def errors(volume, region):
    """ECE and CECE of one case by plain loops."""
    probabilities, label = probabilities_of(volume)
    prediction = probabilities.argmax(axis=0)
    inside = label != 0
    if region == "union":
        inside |= prediction != 0
    probabilities, label, prediction = probabilities[:, inside], label[inside], prediction[inside]
    ece = expected_calibration_error(probabilities.max(axis=0), prediction == label)
    cece = np.mean([expected_calibration_error(probabilities[k], label == k) for k in range(3)])
    return ece, cece


@pytest.fixture
def bins(evaluated):
    return np.load(evaluated[0] / "bins.npz")


def test_axes_are_named(bins, evaluated):
    """Axes are named: cases in the order in which they were measured, regions, top-1 and the classes."""
    assert list(evaluated[2]) == list(bins["cases"])
    assert list(bins["regions"]) == REGIONS
    assert list(bins["classes"]) == ["top-1", *CLASSES]
    assert bins["counts"].shape == (3, 2, 4, 15)


def test_sums_equal_those_of_a_loop(bins, evaluated):
    """Counts, positives and confidences are those of a loop over all voxels."""
    for position, volume in enumerate(evaluated[2].values()):
        probabilities, label = probabilities_of(volume)
        classes = [
            (probabilities.max(axis=0), probabilities.argmax(axis=0) == label),
            *[(probabilities[c], label == c) for c in range(3)],
        ]
        for k, (confidence, positive) in enumerate(classes):
            counts, positives, sums = np.zeros(15, int), np.zeros(15, int), np.zeros(15)
            for p, hit, inside in zip(confidence, positive, label != 0, strict=True):
                if inside:
                    index = max(int(np.ceil(p * 15)) - 1, 0)
                    counts[index] += 1
                    positives[index] += hit
                    sums[index] += p
            np.testing.assert_array_equal(counts, bins["counts"][position, 0, k])
            np.testing.assert_array_equal(positives, bins["positives"][position, 0, k])
            np.testing.assert_allclose(sums, bins["confidences"][position, 0, k], atol=1e-4)


def test_fine_bins_are_left_out_where_no_error_needs_them(tmp_path):
    """A file of equal bins alone."""
    calibration = CalibrationError(errors=["ece"])
    probs = torch.tensor([[[[0.1, 0.8]], [[0.9, 0.2]]]])
    calibration.metric_fn(probs, torch.tensor([[[[1, 1]]]]))
    CaseBins(tmp_path, ["background", "left"], calibration).write(None, ["a"], [])

    assert not [key for key in np.load(tmp_path / "bins.npz") if key.startswith("fine_")]


def test_maps_show_the_slice_with_most_foreground(evaluated):
    """All pictures are those of the slice with most foreground."""
    output_dir, _, volumes = evaluated
    for case, volume in volumes.items():
        maps = np.load(output_dir / "maps" / f"{case}.npz")
        label = np.rot90(volume["label"][0].numpy())
        foreground = [(label[..., z] > 0).sum() for z in range(label.shape[2])]
        position = int(maps["slice"])
        logits = np.rot90(volume["image"].numpy(), axes=(1, 2))[..., position].copy()
        probabilities = torch.tensor(logits).softmax(dim=0).numpy()

        assert foreground[position] == max(foreground)
        np.testing.assert_array_equal(label[..., position], maps["label"])
        np.testing.assert_array_equal(logits[0], maps["image"])
        np.testing.assert_array_equal(probabilities.argmax(axis=0), maps["prediction"])
        np.testing.assert_allclose(probabilities.max(axis=0), maps["confidence"], atol=1e-6)
        entropy = [
            sum(-p * math.log(p) for p in voxel if p > 0) / math.log(3)
            for voxel in probabilities.reshape(3, -1).T
        ]
        np.testing.assert_allclose(np.reshape(entropy, label.shape[:2]), maps["entropy"], atol=1e-6)
        assert list(maps["classes"]) == CLASSES


class Recorder(CaseHandler):
    def __init__(self):
        super().__init__()
        self.written = []

    def write(self, engine, cases, patients):  # noqa: ARG002
        self.written.append((cases, patients))


def item(case):
    return {"case": f"case{case}", "patient": f"patient{case // 2}"}


BATCHES = [[item(2), item(0)], {"case": ["case1"], "patient": ["patient0"]}]


def recorded(runs):
    engine, handler = Engine(lambda *_: None), Recorder()
    handler.attach(engine)
    for _ in range(runs):
        engine.run(BATCHES)
    return handler.written


def test_names_are_written_once_in_their_order(monkeypatch):
    """By the first process, in each run, after the last case."""
    expected = (["case2", "case0", "case1"], ["patient1", "patient0", "patient0"])

    assert recorded(runs=2) == [expected, expected]
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)
    assert recorded(runs=1) == []


def test_cases_without_a_name_are_called_by_their_files(monkeypatch):
    """Those of all processes together, so that no two are alike."""
    monkeypatch.setattr(
        "nacl_monai.training.case_files.image_files", lambda _: ["a/t1.nii.gz", "b/t1.nii.gz"]
    )
    engine, handler = Engine(lambda *_: None), Recorder()
    handler.attach(engine)
    engine.run([{"image": None}])

    assert handler.written == [(["a_t1", "b_t1"], [])]


def test_a_file_gives_its_name_without_ending():
    """What begins with a digit is not an ending: a size, or the number of a DICOM series."""
    files = ["/d/brain_01.nii.gz", "/d/lung_1.5mm", "/d/1.2.840.113", "/d/slice.png", "d/x.NII"]

    assert case_names(files) == ["brain_01", "lung_1.5mm", "1.2.840.113", "slice", "x"]


def test_cases_of_no_file_are_numbered_by_their_position():
    """With as many digits as the last one has, so that names sort as the cases did."""
    assert case_names([""] * 11)[:2] == ["00", "01"]
    assert case_names(["a.nii", "", "b.nii"]) == ["a", "1", "b"]
    assert case_names([]) == []


@given(st.lists(st.text("ab/_0.", max_size=6), max_size=8))
def test_no_two_are_alike(files):
    """Whatever the files are called, slices of one file among them."""
    names = case_names(files)

    assert len(set(names)) == len(names) == len(files)
    assert all(names)


def validate(folder, dice_after):
    """Validates after each of the epochs, as MONAI's ValidationHandler does; returns the rows."""
    evaluator = Evaluator("cpu", [0], iteration_update=lambda *_: None)
    ValidationTable(folder).attach(evaluator)
    for epoch, dice in dice_after.items():
        ece = {"ece": float("nan")}
        evaluator.state.metrics = {"val_dice": dice, **ece, "calibration": ece}
        evaluator.run(epoch)
    with (folder / "validation.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_validated_epoch_is_a_row(tmp_path):
    """Epochs without a validation are not rows; NaN is written as such."""
    assert validate(tmp_path, {2: 0.2, 4: 0.4}) == [
        {"epoch": "2", "val_dice": "0.200000", "ece": "nan"},
        {"epoch": "4", "val_dice": "0.400000", "ece": "nan"},
    ]


def test_repeated_epochs_replace_their_rows(tmp_path):
    """A training that goes on after epoch 2 forgets what an earlier session did beyond."""
    validate(tmp_path, {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4})
    rows = validate(tmp_path, {3: 0.5})

    dice = {int(row["epoch"]): float(row["val_dice"]) for row in rows}
    assert dice == {1: 0.1, 2: 0.2, 3: 0.5}


@pytest.mark.parametrize(
    "content",
    [
        b"epoch;val_dice\n1;0,5\n",
        b"epoch,val_dice\n1.0,0.5\n",
        b"val_dice,epoch\n0.5\n",
        b"PK\x03\x04\xff",
        b"val_dice\n0.5\n",
    ],
    ids=["semicolons", "decimals", "half a row", "a workbook", "no epochs"],
)
def test_table_that_a_spreadsheet_has_saved_is_refused_before_the_training(tmp_path, content):
    """One line, and not a traceback after an epoch whose checkpoint is then not written."""
    (tmp_path / "validation.csv").write_bytes(content)

    with pytest.raises(InputError) as refused:
        ValidationTable(tmp_path)

    assert str(refused.value) == (
        f"{tmp_path}/validation.csv: is damaged; remove it, and start the training again"
    )


def test_table_with_a_mark_of_its_encoding_and_a_column_more_goes_on(tmp_path):
    """What a spreadsheet adds hurts nothing; the next validation writes the table without it."""
    (tmp_path / "validation.csv").write_bytes(
        b"\xef\xbb\xbfepoch,val_dice,ece,notes\r\n1,0.100000,nan,good\r\n"
    )

    assert validate(tmp_path, {2: 0.2}) == [
        {"epoch": "1", "val_dice": "0.100000", "ece": "nan"},
        {"epoch": "2", "val_dice": "0.200000", "ece": "nan"},
    ]


def test_table_that_is_damaged_during_the_training_is_written_again(tmp_path):
    """Every row, as it was measured."""
    rows = validate(tmp_path, {1: 0.1})
    evaluator = Evaluator("cpu", [0], iteration_update=lambda *_: None)
    ValidationTable(tmp_path).attach(evaluator)
    evaluator.state.metrics = {"val_dice": 0.2, "ece": float("nan")}
    (tmp_path / "validation.csv").write_text("epoch;val_dice\n")

    evaluator.run(2)

    with (tmp_path / "validation.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == [
            *rows,
            {**rows[0], "epoch": "2", "val_dice": "0.200000"},
        ]
