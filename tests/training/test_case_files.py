"""What an evaluator's cases are called, what is measured of them, and the files that keep it."""

import csv
import json
import math
import random
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from ignite.engine import Engine
from matplotlib.figure import Figure
from monai.data import MetaTensor
from monai.engines import Evaluator
from monai.transforms import AsDiscrete

from nacl_monai import read_audit
from nacl_monai.errors import InputError
from nacl_monai.evaluations.evaluated import run_of_bins
from nacl_monai.evaluations.slices import case_slice
from nacl_monai.reports import draw_reliability, save_figure
from nacl_monai.training import (
    CalibrationError,
    ReliabilityPlot,
    ValidationTable,
    most_probable_class,
)
from nacl_monai.training.case_files import CaseHandler
from nacl_monai.training.outputs import (
    batch_files,
    case_names,
    outputs_without_ignored,
    probabilities_and_labels,
    probabilities_of,
)
from tests.conftest import refused
from tests.same import same_bits, same_values
from tests.training.conftest import CLASSES, REGIONS, STRUCTURES


@pytest.fixture
def table(evaluated):
    return pd.read_csv(evaluated[0] / "cases.csv").set_index("case")


def test_rows_are_cases_in_alphabetical_order(table):
    """One row for each case, in alphabetical order, with its patient."""
    assert list(table.index) == ["case0", "case1", "case2"]
    assert list(table["patient"]) == ["patient0", "patient0", "patient1"]


@pytest.mark.parametrize("metric", ["dice", "hd95"])
def test_scores_have_a_column_per_structure_and_their_mean(table, evaluated, metric):
    """What MONAI's metrics found; a structure that is absent has an empty field, and no part in it."""
    _, evaluator, volumes = evaluated
    scores = evaluator.state.metric_details[metric].numpy()
    rows = table.loc[list(volumes)]

    np.testing.assert_allclose(rows[[f"{metric}_{name}" for name in STRUCTURES]], scores, atol=1e-6)
    np.testing.assert_allclose(rows[metric], np.nanmean(scores, axis=1), atol=1e-6)
    assert np.isnan(table.loc["case1", f"{metric}_right"])


def test_summary_leaves_undefined_values_out(table, evaluated):
    """Mean, standard deviation and count leave undefined values out."""
    summary = json.loads((evaluated[0] / "summary.json").read_text())
    assert summary.keys() == {"dataset", "cases", "num_bins", "metrics", "pooled"}
    assert (summary["dataset"], summary["cases"]) == ("synthetic", 3)
    assert summary["num_bins"] == 15
    assert set(summary["metrics"]) == set(table.columns) - {"patient"}
    for name, statistics in summary["metrics"].items():
        defined = table[name].dropna()
        assert statistics["count"] == len(defined)
        np.testing.assert_allclose(statistics["mean"], defined.sum() / len(defined), atol=2e-6)
        assert round(statistics["mean"], 6) == statistics["mean"]
        np.testing.assert_allclose(statistics["std"], defined.std(ddof=1), atol=2e-6)


def test_settings_reach_the_metric():
    """Bins, errors, regions, width and spacing."""
    settings = {"boundary_width": 2.0, "spacing": "pixdim"}
    metric = CalibrationError(7, ["nll"], ["boundary", "all"], **settings).metric_fn

    what = metric.measurement
    assert (what.num_bins, what.errors) == (7, ["nll"])
    assert metric.region_names == ("boundary", "all")
    assert (what.boundary_width, what.spacing) == (2.0, "pixdim")


def test_axes_are_named(evaluated):
    """Axes are named: cases in the order in which they were measured, regions, top-1 and the classes."""
    bins = np.load(evaluated[0] / "bins.npz")
    assert list(evaluated[2]) == list(bins["cases"])
    assert list(bins["regions"]) == REGIONS
    assert list(bins["classes"]) == ["top-1", *CLASSES]
    assert bins["counts"].shape == (3, 2, 4, 15)


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
        same_values(label[..., position], maps["label"])
        same_bits(logits[0], maps["image"], "a slice is copied")
        same_values(probabilities.argmax(axis=0), maps["prediction"])
        np.testing.assert_allclose(probabilities.max(axis=0), maps["confidence"], atol=1e-6)
        shares = scipy.stats.entropy(probabilities, axis=0) / math.log(3)
        np.testing.assert_allclose(shares, maps["entropy"], atol=1e-6)
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


@pytest.mark.parametrize("batch", [{"image": None}, [torch.zeros(2)], torch.zeros(2)], ids=type)
def test_cases_without_a_name_are_called_by_their_files(monkeypatch, batch):
    """Those of all processes together, so that no two are alike; whatever a batch is."""
    files = ["a/t1.nii.gz", "b/t1.nii.gz"]
    monkeypatch.setattr("nacl_monai.training.case_files.batch_files", lambda _: files)
    engine, handler = Engine(lambda *_: None), Recorder()
    handler.attach(engine)
    engine.run([batch])

    assert handler.written == [(["a_t1", "b_t1"], [])]


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


SAVED = {
    "semicolons": b"epoch;val_dice\n1;0,5\n",
    "decimals": b"epoch,val_dice\n1.0,0.5\n",
    "half a row": b"val_dice,epoch\n0.5\n",
    "a workbook": b"PK\x03\x04\xff",
    "no epochs": b"val_dice\n0.5\n",
}


@pytest.mark.parametrize("kind", SAVED)
def test_table_that_a_spreadsheet_has_saved_is_refused_before_the_training(tmp_path, kind):
    """One line, and not a traceback after an epoch whose checkpoint is then not written."""
    (tmp_path / "validation.csv").write_bytes(SAVED[kind])

    line = f"{tmp_path}/validation.csv: is damaged; remove it, and start the training again"
    assert refused(ValidationTable, tmp_path) == line


def test_table_with_a_mark_of_its_encoding_and_a_column_more_goes_on(tmp_path):
    """What a spreadsheet adds hurts nothing; the next validation writes the table without it."""
    (tmp_path / "validation.csv").write_bytes(
        b"\xef\xbb\xbfepoch,val_dice,ece,notes\r\n1,0.100000,nan,good\r\n"
    )

    assert validate(tmp_path, {2: 0.2}) == [
        {"epoch": "1", "val_dice": "0.100000", "ece": "nan"},
        {"epoch": "2", "val_dice": "0.200000", "ece": "nan"},
    ]


def softmax_case(shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    probs = torch.randn(3, *shape, generator=generator).mul(2).softmax(0)
    return probs.to(dtype), torch.randint(0, 3, (1, *shape), generator=generator)


def test_one_hot_labels_give_the_same_slice():
    """As class indices, with or without their channel."""
    probs, label = softmax_case((5, 4, 3))
    one_hot = torch.stack([label[0] == k for k in range(3)])
    shown = case_slice(probs, label, "abc")

    for other in (one_hot.float(), label[0]):
        for key, array in case_slice(probs, other, "abc").items():
            same_bits(array, shown[key], "the same slice of the same classes")


def test_a_picture_is_its_own_slice():
    """Two axes: nothing is chosen."""
    probs, label = softmax_case((5, 4))
    shown = case_slice(probs, label, "abc", image=label.float())

    assert shown["slice"] == 0
    same_values(shown["label"], np.rot90(label[0].numpy()))
    same_values(shown["image"], shown["label"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_with_in_single_precision(dtype):
    """The entropy of probabilities that were rounded."""
    probs, label = softmax_case((5, 4, 3), dtype)
    shown = case_slice(probs, label, "abc")
    rounded = np.rot90(probs[..., shown["slice"]].double().numpy(), axes=(1, 2))
    entropy = np.vectorize(lambda p: -p * math.log(p))(rounded).sum(0) / math.log(3)

    np.testing.assert_allclose(shown["entropy"], np.minimum(entropy, 1), atol=1e-6)
    assert shown["confidence"].dtype == np.float32


def test_overlapping_structures_are_painted_over_each_other():
    """A part is visible on its whole, in whatever order they are named."""
    probs = torch.tensor([[[0.9, 0.6, 0.2, 0.5]], [[0.3, 0.8, 0.7, 0.1]]])  # (S, x = 1, y = 4)
    part, whole = torch.tensor([[[1, 0, 0, 0]], [[1, 1, 1, 0]]])
    masks = torch.stack([part, whole])  # of one column, the last is up
    shown = case_slice(probs, masks, ["part", "whole"], overlapping=True)

    assert shown["label"][::-1, 0].tolist() == [1, 2, 2, 0]
    assert shown["prediction"][::-1, 0].tolist() == [1, 1, 2, 0]
    np.testing.assert_allclose(shown["confidence"][::-1, 0], [0.7, 0.6, 0.7, 0.5], rtol=1e-6)
    assert shown["classes"].tolist() == ["outside", "part", "whole"]

    def entropy(p):
        return -(p * math.log2(p) + (1 - p) * math.log2(1 - p))

    expected = [max(entropy(p), entropy(q)) for p, q in zip(*probs[:, 0].tolist(), strict=True)]
    np.testing.assert_allclose(shown["entropy"][::-1, 0], expected, rtol=1e-5)


def test_slice_of_overlapping_structures_is_that_of_their_union():
    """The first channel is not a background there."""
    masks = torch.zeros(2, 2, 2, 3)
    masks[0, ..., 2] = 1
    masks[1, 0, 0, 1] = 1
    shown = case_slice(torch.full((2, 2, 2, 3), 0.4), masks, ["a", "b"], overlapping=True)

    assert shown["slice"] == 2


@pytest.mark.parametrize(
    ("factor", "names", "overlapping", "message"),
    [
        (3.0, "abc", False, "beyond"),
        (0.5, "abc", False, "off 1"),
        (3.0, "abc", True, "apply sigmoid"),
        (1.0, "ab", False, "classes: 2 names"),
    ],
)
def test_what_is_no_probability_is_refused(factor, names, overlapping, message):
    """Logits would be drawn as a confidence above 1."""
    probs, label = softmax_case((5, 4, 3))

    assert message in refused(case_slice, probs * factor, label, names, overlapping=overlapping)


def test_files_are_those_of_the_images_metadata():
    """For a batch, whose predictions may be lists, and for decollated cases; "" without metadata."""
    image = MetaTensor(torch.zeros(2, 1, 3, 3), meta={"filename_or_obj": ["a.nii", "b.nii"]})
    heads = [torch.zeros(2, 2, 3, 3)] * 2

    engine = Engine(lambda *_: None)
    engine.state.output = {"image": image, "pred": heads}
    assert batch_files(engine) == ["a.nii", "b.nii"]
    engine.state.output = [{"image": torch.zeros(1, 3, 3)}, {}]
    assert batch_files(engine) == ["", ""]


@pytest.mark.parametrize("output", [{}, {"pred": None}, {"pred": torch.tensor([[0.0], [1.0]])}])
def test_labels_are_no_probabilities(output):
    """Nor is nothing; the line says how to keep them."""
    with pytest.raises(InputError, match=r"^pred: .*CopyItemsd\('pred', names='probabilities'\)"):
        probabilities_of(output)


def test_output_of_another_engine_is_refused():
    """By its type; and a case without a label, for which MONAI leaves None."""
    with pytest.raises(InputError, match="^output: of the evaluator is a Tensor"):
        probabilities_and_labels(torch.zeros(3))
    with pytest.raises(InputError, match="^label: is missing"):
        probabilities_and_labels([{"probabilities": torch.zeros(2, 3), "label": None}])


def test_voxels_to_be_ignored_are_of_no_structure():
    """Neither in a label map nor in masks of structures; the output stays as it is."""
    label = torch.tensor([[1, 9, 2]], dtype=torch.uint8)
    masks = torch.tensor([[1, 1, 0], [0, 1, 1]])
    output = [{"label": label, "pred": torch.tensor([[2, 2, 0]]), "masks": masks}]
    (pred,), (of_label,) = outputs_without_ignored(output, ["pred", "label"], 9)
    ((of_structures,),) = outputs_without_ignored(output, ["masks"], 9)

    assert (pred.tolist(), of_label.tolist()) == ([[2, 0, 0]], [[1, 0, 2]])
    assert of_structures.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert label.tolist() == [[1, 9, 2]]


def test_classes_are_those_of_monai_in_integers():
    """On a volume with its geometry, which stays."""
    torch.manual_seed(0)
    probs = MetaTensor(torch.randn(4, 5, 6, 7).softmax(dim=0), affine=2 * torch.eye(4))

    classes = most_probable_class(probs)

    assert classes.shape == (1, 5, 6, 7)
    assert classes.dtype == torch.int64
    same_bits(classes.affine, probs.affine, "it is copied")
    same_values(classes.float().as_tensor(), AsDiscrete(argmax=True)(probs).as_tensor())


NAMED = [{"case": ["b", "a", "c"], "patient": ["p", "p", "q"]}]


def ran(calibration=None, output=None, batches=NAMED, epochs=1, **options):
    """An engine, by default of three cases of two patients, and the diagram's handler at its end."""
    cases = [softmax_case((5, 6), seed=seed) for seed in range(3)]
    output = output or [{"pred": probs, "label": label} for probs, label in cases]
    engine = Engine(lambda *_: output)
    calibration = calibration or CalibrationError(errors=["ece"])
    calibration.attach(engine, "calibration")
    ReliabilityPlot(calibration, **options).attach(engine)
    engine.run(batches, max_epochs=epochs)


@pytest.fixture
def undrawn(monkeypatch):
    """An empty picture in place of the diagram, which takes longer than all else."""
    monkeypatch.setattr(ReliabilityPlot, "_figure", lambda *_: Figure(figsize=(1, 2)))


def test_file_is_the_diagram_of_the_reports(evaluated, tmp_path):
    """To the bit, from the bins that the evaluation wrote, with cases in the order of its table."""
    run = read_audit(evaluated[0], "synthetic").run
    patients = {case: volume["patient"] for case, volume in evaluated[2].items()}
    bins = replace(run.bins, patients=[patients[case] for case in run.bins.cases])
    figure = draw_reliability([run_of_bins(bins.ordered(sorted(bins.cases)), "synthetic")])
    expected, _ = save_figure(figure, tmp_path / "expected")

    assert (evaluated[0] / "reliability.png").read_bytes() == expected.read_bytes()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("interval", "steps"), [(1, [10, 20, 30]), (2, [20]), (0, [])])
def test_pictures_of_every_interval_are_in_tensorboard(interval, steps):
    """At the step that the epoch stands for."""
    writer = Mock()
    ran(epochs=3, writer=writer, interval=interval, global_epoch_transform=lambda epoch: 10 * epoch)

    calls = writer.add_image.call_args_list
    assert [step for (_, _, step), _ in calls] == steps
    for (tag, picture, _), options in calls:
        assert (tag, picture.dtype, options) == ("reliability", np.uint8, {"dataformats": "HWC"})
        assert picture.shape == (200, 100, 3)


def test_generators_are_left_as_they_were():
    """A training that is drawn goes on to the same bits."""
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)

    def states():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002

    before = states()
    ran(writer=Mock())

    assert states() == before


def test_region_that_is_not_measured_is_refused():
    """With those that are."""
    assert "no region 'union'; choose from foreground" in refused(ran, region="union")


def test_only_the_first_process_draws(monkeypatch):
    """It gathers names and sums of the others."""
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)
    writer = Mock()
    ran(writer=writer)

    writer.add_image.assert_not_called()


def test_overlapping_structures_are_drawn_by_the_first():
    """Each has regions of its own; classes need no name."""
    writer = Mock()
    probs = torch.tensor([[[0.2, 0.7]], [[0.4, 0.9]]])
    output = [{"pred": probs, "label": torch.ones(2, 1, 2)}]
    ran(CalibrationError(errors=["ece"], structures=["a", "b"]), output, [{}], writer=writer)

    writer.add_image.assert_called_once()
