"""Files of an evaluation: as they were written, or one line that says what is wrong."""

import json
from contextlib import suppress
from functools import partial, reduce
from io import BytesIO
from itertools import chain
from operator import getitem

import numpy as np
import pandas as pd
import pytest
import torch

from nacl_monai import audit
from nacl_monai.audits.result import read_audit
from nacl_monai.errors import InputError
from nacl_monai.evaluations import read_run
from nacl_monai.evaluations.evaluation_files import (
    check_evaluated_so,
    read_cases,
    trained_with,
    write_evaluation_record,
    write_numbers,
)
from nacl_monai.evaluations.logits import EpochLogits, read_class_logits, read_epoch_logits
from nacl_monai.evaluations.slices import read_map
from nacl_monai.metrics import CalibrationMetric
from nacl_monai.metrics.record import read_record
from nacl_monai.metrics.sums_file import read_arrays
from nacl_monai.runs import RunFolder
from nacl_monai.training.evaluation_record import EvaluationRecord
from tests.conftest import flip_headers, refused
from tests.same import same_bits, same_values


@pytest.fixture
def cases_file(copies):
    return copies[0] / "evaluation" / "cases.csv"


@pytest.fixture
def map_file(copies):
    return copies[0] / "evaluation" / "maps" / "003.npz"


class TestCases:
    @pytest.mark.parametrize(
        ("edit", "line"),
        [
            *(
                (partial(pd.DataFrame.drop, columns=name), f"no column {name}; evaluate the run")
                for name in ("case", "dice", "hd95", "ece_foreground", "cece_foreground")
            ),
            (lambda table: table.assign(ece_foreground=["high"] + [0.1] * 6), "'ece_foreground'"),
            (lambda table: table.iloc[:0], "no test case"),
            (lambda table: pd.concat([table, table.iloc[[2]]]), "has 2 rows of '003'"),
            (
                lambda table: table.assign(patient=["p1", "p1", "", "p2", "", "p3", "p3"]),
                "case '003' has no patient",
            ),
        ],
    )
    def test_table_that_no_evaluation_wrote_is_refused(
        self, copies, cases_file, change_cases, edit, line
    ):
        """Text, nothing, a case that counts twice, or cases of nobody; the column or case is named."""
        change_cases(copies[0], edit)

        assert line in refused(read_cases, cases_file)

    @pytest.mark.parametrize("cells", [1, 4, -1])
    def test_row_that_is_cut_short_is_named(self, cases_file, cells):
        """What it lacks is not what an empty cell says: that a number is undefined."""
        *rows, last = cases_file.read_text().splitlines()
        cases_file.write_text("\n".join([*rows, ",".join(last.split(",")[:cells])]))

        line = refused(read_cases, cases_file)
        assert f"line {len(rows) + 1} has other cells than the header; evaluate" in line


@pytest.mark.parametrize(("name", "read"), [("cases.csv", read_cases), ("bins.npz", read_record)])
@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 cut short", b'a,b\n"1'])
def test_unusable_file_is_named(copies, name, read, content):
    """Whatever is in it, in one line; whoever forgot to evaluate learns how."""
    path = copies[0] / "evaluation" / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)

    message = "no such file; run `make evaluate` first" if content is None else ""
    assert refused(read, path).startswith(f"{path}: {message}")


class TestMaps:
    def test_slice_is_that_of_the_file(self, map_file):
        """All pictures, the position and the classes, background first."""
        shown = read_map(map_file)

        with np.load(map_file) as archive:
            for key, written in archive.items():
                same_bits(getattr(shown, key), written, "they are read back")
        assert shown.path == map_file

    def test_pictures_of_unlike_shape_are_refused(self, map_file, change_arrays):
        """Image, label, prediction and confidence must be on one grid."""
        change_arrays(map_file, lambda arrays: arrays.update(label=arrays["label"][1:]))

        assert "(39, 40), (40, 40)" in refused(read_map, map_file)

    @pytest.mark.parametrize("key", ["label", "prediction"])
    def test_value_without_a_class_is_refused(self, map_file, change_arrays, key):
        """Every value of label and prediction has a class name."""

        def edit(arrays):
            arrays |= {"label": 0 * arrays["label"], "prediction": 0 * arrays["prediction"]}
            arrays[key][:] = 3
            arrays["classes"] = arrays["classes"][:3]

        change_arrays(map_file, edit)

        line = refused(read_map, map_file)
        assert "label value 3, but only 3 classes (background, RV, myo" in line


def test_flipped_bit_is_refused_or_changes_nothing(tmp_path):
    """In the data, whose checksum tells, or in the headers, which announce compression and places."""
    file, values = tmp_path / "x.npz", np.arange(200)
    np.savez_compressed(file, counts=values)
    whole = file.read_bytes()
    places = range(len(whole))
    one_bit = (whole[:k] + bytes([whole[k] ^ 16]) + whole[k + 1 :] for k in places)
    for _ in chain(flip_headers(file), map(file.write_bytes, one_bit)):
        with suppress(InputError):
            same_values(read_arrays(file, ["counts"], "")["counts"], values)


CLASSES = ("background", "organ")
CASES = ("a", "b", "c")
SETTINGS = {"classes::0": "background", "dataset": "mine", "calibration::num_bins": 15}


def drawn(seed):
    rng = torch.Generator().manual_seed(seed)
    probs = torch.softmax(torch.randn(3, 2, 5, 4, 3, generator=rng), 1)
    return probs, torch.randint(2, (3, 5, 4, 3), generator=rng)


def write_evaluated(folder):
    """A finished run with its evaluation, as the package writes one."""
    run = RunFolder(folder)
    run.evaluation.path.mkdir(parents=True)
    run.model.write_bytes(b"weights")
    run.record.write_text('{"finished": true}')
    run.config.write_text('{"learning_rate": 0.1, "seed": 0}')
    run.split.write_text(json.dumps({"train": ["d"], "val": [], "test": list(CASES)}))
    metric = CalibrationMetric()
    metric(*drawn(0))
    scores = {"dice": torch.full((3,), 0.5), "hd95": torch.full((3,), 2.0)}
    counted = metric.record(CASES, CLASSES, CASES)
    write_numbers(run.evaluation, "mine", counted, scores | metric.columns())
    record = EvaluationRecord(run.evaluation, run.model, run.split, "test", SETTINGS).record
    write_evaluation_record(run.evaluation, record)
    return run


@pytest.fixture
def run(tmp_path):
    return write_evaluated(tmp_path / "run")


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"calibration::num_bins": 10}, "settings, calibration::num_bins (15, now 10); leave"),
        ({"dataset": "other", "loss": "x"}, "settings, dataset (mine, now other); leave them out"),
    ],
)
def test_settings_of_which_the_evaluation_has_others_are_refused(run, asked, line):
    """Those that must be alike and that it knows; any other may be asked for."""
    same = {"calibration::num_bins": 15, "device": "cpu", "calibration::unknown": 1}
    check_evaluated_so(run.evaluation, same)

    assert line in refused(check_evaluated_so, run.evaluation, asked)


def changed(value):
    """Another value of the same type."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    return f"{value}x"


def leaves(value, place=()):
    """Each place of a content that holds no other place, and what is there."""
    if not isinstance(value, (dict, list)) or not value:
        yield place, value
        return
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield from leaves(part, (*place, key))


def json_edits(file):
    """The content of the file with each leaf changed, by the place of the leaf."""
    for place, value in leaves(json.loads(file.read_text())):
        content = json.loads(file.read_text())
        *above, last = place
        inside = reduce(getitem, above, content)
        inside[last] = [value] if isinstance(value, (dict, list)) else changed(value)
        yield place, json.dumps(content).encode()


def table_edits(file):
    """The table with the first cell of each column changed, and with each column renamed."""
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    for name in table:
        cells = table[name].tolist()
        other = f"{float(cells[0]) + 1e-3:.6f}" if cells[0][:1].isdigit() else f"{cells[0]}x"
        changed_cell = table.assign(**{name: [other, *cells[1:]]})
        for edited in (changed_cell, table.rename(columns={name: "x"})):
            yield name, edited.to_csv(index=False).encode()


def array_edits(file):
    """The file with the first entry of each array changed."""
    with np.load(file) as archive:
        arrays = dict(archive)
    for name, array in arrays.items():
        edited = array.astype(object)
        edited.flat[0] = changed(array.flat[0].item())
        target = BytesIO()
        kind = str if array.dtype.kind == "U" else array.dtype
        np.savez(target, **{**arrays, name: edited.astype(kind)})
        yield name, target.getvalue()


EDITS = {
    "evaluation/evaluation.json": json_edits,
    "evaluation/summary.json": json_edits,
    "evaluation/cases.csv": table_edits,
    "evaluation/bins.npz": array_edits,
    "config.json": json_edits,
    "split.json": json_edits,
}


def refused_line(read, file):
    """The line with which it is refused; empty where it is read."""
    try:
        read(file)
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("every", [19, pytest.param(1, marks=pytest.mark.nightly)])
@pytest.mark.parametrize(("name", "edits"), EDITS.items(), ids=EDITS)
def test_edited_file_of_an_evaluation_is_refused(run, name, edits, every):
    """Whatever the field, in one line; unchanged, it is read."""
    file = run.path / name
    read_run(run.path)
    found = list(edits(file))
    assert len(found) > 1
    for place, content in found[::every]:
        whole = file.read_bytes()
        file.write_bytes(content)
        line = refused_line(read_run, run.path)
        assert line, place
        assert "\n" not in line
        file.write_bytes(whole)
    read_run(run.path)


def test_edited_bins_of_an_audit_are_refused(tmp_path):
    """By their checksum, whatever the array."""
    file = tmp_path / "bins.npz"
    audit(*drawn(0), cases=CASES, patients=CASES).save(file)
    read_audit(file)
    for place, content in list(array_edits(file)):
        file.write_bytes(content)
        assert "is not as it was written" in refused_line(read_audit, file), place


def test_evaluation_refuses_another_configuration_of_the_same_weights(run):
    """Whoever evaluates anew after an edit is told, and not given a record that fits."""
    arguments = (run.evaluation, run.model, run.split, "test", SETTINGS)
    EvaluationRecord(*arguments)
    run.config.write_text('{"learning_rate": 0.2, "seed": 0}')
    line = refused(EvaluationRecord, *arguments)
    assert "config.json: is not the one that was evaluated; put it" in line
    run.model.write_bytes(b"trained anew")
    EvaluationRecord(*arguments)


@pytest.mark.parametrize("change", [{"max_epochs": 9}, {"menu": {"_desc_": {"label": "Mine"}}}])
def test_training_that_goes_on_is_the_one_that_was_evaluated(run, change):
    """Its best weights may be the earlier ones; labels of tables compute nothing."""
    config = json.loads(run.config.read_text())
    run.config.write_text(json.dumps(config | change))

    assert read_run(run.path).cases == list(CASES)
    EvaluationRecord(run.evaluation, run.model, run.split, "test", SETTINGS)


def test_edit_of_the_length_of_a_training_is_told_from_a_longer_one(run):
    """The training records both; `test_training_that_goes_on_is_the_one_that_was_evaluated`."""
    config = json.loads(run.config.read_text()) | {"max_epochs": 9}
    run.config.write_text(json.dumps(config))
    run.record.write_text(json.dumps({"finished": True, **trained_with(run.config)}))
    read_run(run.path)

    run.config.write_text(json.dumps(config | {"max_epochs": 90}))
    assert "config.json: its max_epochs is not the one that" in refused(read_run, run.path)


def test_evaluation_of_an_earlier_version_is_read(run):
    """It has the checksums of weights and split alone."""
    record = json.loads(run.evaluation.record.read_text())
    kept = {key: record[key] for key in ("set", "weights", "split", "settings")}
    run.evaluation.record.write_text(json.dumps(kept))
    run.config.write_text("{}")

    assert read_run(run.path).cases == list(CASES)


class TestClassLogitsFile:
    def test_absent_class_has_no_mean(self, copies, change_arrays):
        """Nothing is divided by nothing, without a warning."""

        def without_class(arrays):
            arrays["counts"][2], arrays["sums"][2] = 0, 0

        change_arrays(copies[0] / "evaluation" / "logits.npz", without_class)

        means = read_class_logits(copies[0]).means

        assert np.isnan(means).any(axis=1).tolist() == [False, False, True, False]

    def test_cross_validation_has_to_name_a_fold(self, copies):
        """Logits are of one network; the message names a fold to choose."""
        fold = copies[0].rename(copies[0].with_name("unet_nacl_fold=0_seed1"))
        folder = fold.with_name("unet_nacl_seed1")

        assert refused(read_class_logits, folder) == (
            f"{folder}: logits are drawn of single runs; name a fold, such as {fold}"
        )


@pytest.mark.parametrize(
    ("name", "read", "message"),
    [
        ("evaluation/logits.npz", read_class_logits, "and (4,); evaluate the run again"),
        ("logit_histogram.npz", read_epoch_logits, "not (30, 242); train the run again"),
    ],
)
def test_misshapen_file_is_refused(copies, change_arrays, name, read, message):
    """The line names it, and the shape that it should have."""
    path = copies[1] / name
    change_arrays(path, lambda arrays: arrays.update(counts=arrays["counts"][:-1]))

    line = refused(read, copies[1])
    assert line.startswith(f"{path}: ")
    assert line.endswith(message)


class TestEpochLogitsFile:
    logits = EpochLogits(
        epochs=np.arange(1, 3),
        edges=np.array([0.0, 1.0, 3.0]),
        counts=np.array([[1, 2, 3, 4], [0, 0, 10, 0]]),
    )

    def test_shares_are_of_all_voxels_of_the_epoch(self):
        """Those below and above the edges count, but have no bin."""
        np.testing.assert_allclose(self.logits.shares, [[0.2, 0.3], [0.0, 1.0]])

    def test_quantiles_beyond_the_edges_are_the_edges(self):
        """Half of the second bin's ten voxels are below its middle."""
        quantiles = self.logits.quantiles([0.05, 0.5, 0.95])

        np.testing.assert_allclose(quantiles[0], [0, 1 + 2 * 2 / 3, 3])
        assert quantiles[1, 1] == pytest.approx(2)

    def test_quantiles_are_those_of_voxels_spread_evenly(self):
        """Each bin's voxels are at equal distances."""
        counts = np.random.default_rng(0).integers(0, 50, (2, 12))
        counts[:, [0, -1]] = 0
        edges, levels = np.arange(11) / 2, [0.1, 0.5, 0.9]

        quantiles = EpochLogits(np.arange(2), edges, counts).quantiles(levels)

        for row, values in zip(counts[:, 1:-1], quantiles, strict=True):
            bins = zip(edges[:-1], edges[1:], row, strict=True)
            fine = np.concatenate([np.linspace(low, high, 1000 * n) for low, high, n in bins])
            np.testing.assert_allclose(np.quantile(fine, levels), values, atol=1e-3)
