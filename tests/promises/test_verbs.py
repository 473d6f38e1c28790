"""Verbs in Python write what their commands write, of arrays as of folders."""

import json

import nibabel
import numpy as np
import pandas as pd
import pytest

import nacl_monai
from nacl_monai.errors import InputError, SettingError
from tests.promises.test_commands import chances, run

SPACING = (1.0, 2.0, 3.0)


@pytest.fixture(scope="module")
def arrays():
    """Probabilities and labels of 29 cases."""
    probs, labels = chances(29, 6, 5, 4, low=0.02, high=0.98)
    return probs.astype(np.float32), labels.astype(np.uint8)


@pytest.fixture(scope="module")
def folders(arrays, tmp_path_factory):
    """The same as files, one channel per class."""
    place = tmp_path_factory.mktemp("study")
    affine = np.diag([*SPACING, 1])
    for name in ("predictions", "labels", "new"):
        (place / name).mkdir()
    for k, (probs, labels) in enumerate(zip(*arrays, strict=True), 1):
        case, folder = (f"case_{k:03d}", "predictions") if k < 28 else (f"new_{k - 27:03d}", "new")
        voxels = np.moveaxis(probs, 0, -1)
        nibabel.save(nibabel.Nifti1Image(voxels, affine), place / folder / f"{case}.nii.gz")
        if folder == "predictions":
            nibabel.save(nibabel.Nifti1Image(labels, affine), place / "labels" / f"{case}.nii.gz")
    return place


def numbers_of(section):
    return json.loads(json.dumps([section["title"], section["sentences"], section["numbers"]]))


def test_report_of_arrays_is_that_of_folders_and_of_the_command(arrays, folders, tmp_path):
    """Every sentence and number; no file of it names where arrays were for a while."""
    probs, labels = arrays
    how = {"budget": 1, "viewer": False, "output": tmp_path / "arrays"}
    record = nacl_monai.report(probs[:27], labels[:27], new=probs[27:], spacing=SPACING, **how)
    data = [folders / "predictions", folders / "labels", "--new", folders / "new"]
    run(tmp_path / "command", "report", *data, "--budget", "1", "--no-viewer")
    expected = json.loads((tmp_path / "command" / "report.json").read_text(encoding="utf-8"))

    assert record["new"] == expected["new"] == ["new_001", "new_002"]
    assert len(record["fitting"]) == 8
    for name in ("sentences", "notes", "promising", "fitting"):
        assert record[name] == expected[name]
    assert [*map(numbers_of, record["sections"])] == [*map(numbers_of, expected["sections"])]
    assert "nacl-monai report predictions labels" in record["commands"]["Made by"]
    for file in (tmp_path / "arrays").rglob("*"):
        if file.is_file():
            assert b"nacl_monai_" not in file.read_bytes().replace(b"nacl_monai_c", b""), file


def test_triage_takes_a_promise_and_arrays_or_their_files(arrays, folders, tmp_path):
    """The list of both is the same, and its first rows are within the budget."""
    probs, labels = arrays
    promised = nacl_monai.promise(probs[:27], labels[:27], spacing=SPACING)
    how = {"budget": 1, "pictures": False}
    table = nacl_monai.triage(
        promised, probs[27:], spacing=SPACING, output=tmp_path / "arrays", **how
    )
    file = promised.save(tmp_path / "promise") / "promise.json"
    of_files = nacl_monai.triage(file, folders / "new", output=tmp_path / "folders", **how)

    pd.testing.assert_frame_equal(table, of_files)
    assert table["look"].tolist() == ["yes", "no"]
    assert sorted(table["case"]) == ["new_001", "new_002"]
    how = {"cases": ["case_001"], "spacing": SPACING, "output": tmp_path / "seen"}
    with pytest.raises(InputError, match="case_001"):
        nacl_monai.triage(promised, probs[:1], **how)


def test_calibrate_leaves_out_what_does_not_count_and_knows_patients(arrays, tmp_path):
    """A calibrator of arrays with a mask is that of arrays without the voxels outside it."""
    probs, labels = arrays
    mask = np.ones_like(labels[:8])
    mask[:, :, 2:] = 0
    people = [f"person_{k // 2}" for k in range(8)]
    how = {"patients": people, "spacing": SPACING, "method": "temperature", "pictures": False}
    how["region"] = "all"
    cut = probs[:8, ..., :2, :], labels[:8, :, :2]
    part = nacl_monai.calibrate(*cut, output=tmp_path / "part", **how)
    whole = {"mask": mask, "output": tmp_path / "masked"}
    masked = nacl_monai.calibrate(probs[:8], labels[:8], **whole, **how)

    assert sorted(part.patients) == sorted({*people})
    assert masked.fit.parameters == pytest.approx(part.fit.parameters, rel=1e-6)


def test_structures_that_overlap_are_masks(tmp_path):
    """Voxels may be in both, in one, or in none; their promise is the same from arrays and files."""
    rng = np.random.default_rng(1)
    probs = rng.uniform(0.02, 0.98, size=(4, 2, 5, 5, 5)).astype(np.float32)
    labels = (rng.uniform(size=probs.shape) < probs).astype(np.uint8)
    names = ["whole", "tail"]
    how = {"output": tmp_path / "fit", "method": "platt", "pictures": False}
    fitted = nacl_monai.calibrate(probs, labels, structures=names, **how)
    audited = nacl_monai.audit(probs, labels, structures=names, spacing=(1, 1, 1))
    table = pd.read_csv(tmp_path / "fit" / "before" / "cases.csv", index_col="case")

    assert fitted.channels == names
    for name in ("dice_whole", "dice_tail", "ece_near_whole"):
        kept = table.loc[audited.errors.index, name]
        np.testing.assert_allclose(kept, audited.errors[name], atol=1e-6, rtol=0)


def test_view_of_arrays_is_a_page(arrays, tmp_path):
    """Cases have the names that they are given."""
    names = {"cases": ["left", "right"], "classes": ["rest", "liver"]}
    page = nacl_monai.view(arrays[0][:2], **names, output=tmp_path / "view")
    text = page.read_text(encoding="utf-8")

    assert "left" in text
    assert "liver" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["a"]}, "labels"),
        ({"folds": 1}, "--folds: is 1"),
        ({"budget": 3}, "--budget: has no effect"),
        ({"regoin": "all"}, "regoin: is no option"),
        ({"labels": {"x": np.zeros((8, 6, 5, 4)), "y": np.zeros((8, 6, 5, 4))}}, "several raters"),
    ],
)
def test_what_cannot_be_used_is_refused(change, message, arrays, tmp_path):
    """Before anything is written."""
    probs, labels = (part[:8] for part in arrays)
    given_labels = change.pop("labels", labels)
    with pytest.raises((InputError, SettingError), match=message):
        nacl_monai.calibrate(probs, given_labels, output=tmp_path / "fit", **change)
    assert not (tmp_path / "fit").exists()
