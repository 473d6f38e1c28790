"""Evaluations are read with every check, and set side by side only if they are alike."""

import json
import shutil

import numpy as np
import pytest

from nacl_monai.errors import InputError
from nacl_monai.reports import check_alike, read_evaluated, read_runs, read_tested


def record(folder, **content):
    text = json.dumps({"set": "test", "settings": {}, **content})
    (folder / "evaluation/evaluation.json").write_text(text)


def refusal(folders):
    with pytest.raises(InputError) as caught:
        read_runs(folders)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_alike_is_compared(copies):
    """Networks, losses and versions may differ."""
    for k, folder in enumerate(copies):
        settings = {"spatial_size::0": 32, "network_def": f"@networks::{k}", "seed": k}
        record(folder, settings=settings, versions={"torch": str(k)})

    assert len(read_runs(copies)) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"set": "val"}, "set (test, now val)"),
        ({"settings": {"spatial_size::0": 48}}, "spatial_size::0 (32, now 48)"),
        ({"settings": {}}, "spatial_size::0 (32, now not set)"),
        ({"settings": {"structures::WT::0": 1}}, "structures::WT::0 (not set, now 1)"),
        (
            {"settings": {"calibration::spacing": "pixdim"}},
            "calibration::spacing (not set, now pixdim)",
        ),
    ],
)
def test_other_settings_are_refused_and_named(copies, content, said):
    """Voxels, structures, boundary and set decide what the numbers mean."""
    record(copies[0], settings={"spatial_size::0": 32})
    record(copies[1], **{"settings": {"spatial_size::0": 32}, **content})

    message = refusal(copies)
    assert f"{copies[1]}: was evaluated otherwise than {copies[0]}, " in message
    assert said in message


def rename_structure(table):
    return table.rename(columns={"dice_RV": "dice_right", "hd95_RV": "hd95_right"})


def test_other_structures_are_refused_whatever_the_records_say(copies, change_cases):
    """Each has its column."""
    change_cases(copies[1], rename_structure)

    assert "now ['LV', 'myocardium', 'right']" in refusal(copies)


def test_other_patients_are_refused_and_named(copies, change_cases):
    """Intervals are over patients, so the same cases must be of the same ones."""
    change_cases(copies[0], lambda table: table.assign(patient=list("aabbccd")))
    assert "resampled (patients, now cases)" in refusal(copies)

    change_cases(copies[1], lambda table: table.assign(patient=list("aabccdd")).iloc[::-1])
    assert "patient of case '004' (b, now c) and 1 more; evaluate" in refusal(copies)

    change_cases(copies[1], lambda table: table.assign(patient=list("dccbbaa")))
    assert len(read_runs(copies)) == 2


def coarser(arrays):
    for key in ("counts", "positives", "confidences"):
        array = arrays[key]
        arrays[key] = array.reshape(*array.shape[:-1], 5, 3).sum(-1)


def test_other_bins_are_refused_whatever_the_records_say(copies, change_arrays, change_cases):
    """The ECE of 5 bins is not that of 15."""
    change_arrays(copies[1] / "evaluation/bins.npz", coarser)
    with np.load(copies[1] / "evaluation/bins.npz") as bins:
        gap = np.abs(bins["positives"] - bins["confidences"]).sum(-1)
        errors = gap / bins["counts"].sum(-1)
    new = {"ece_foreground": errors[:, 1, 0], "cece_foreground": errors[:, 1, 1:].mean(1)}
    new["ece_all"] = errors[:, 0, 0]
    change_cases(copies[1], lambda table: table.assign(**new))

    assert "num_bins (15, now 5)" in refusal(copies)


def test_cases_alone_are_read_where_bins_were_not_kept(copies):
    """As committed results are; but no figure can be drawn of them."""
    (copies[0] / "evaluation/bins.npz").unlink()

    found = read_evaluated(copies[0])
    check_alike(found, read_evaluated(copies[1]))
    assert found.bins is None
    assert "bins.npz: no such file" in refusal(copies)


def test_validation_cases_are_no_test_cases(copies):
    """Where only those of the test count."""
    assert read_tested(copies[0]).of.cases == "test cases"
    record(copies[0], set="val")

    with pytest.raises(InputError, match="its validation cases were evaluated, not its test cases"):
        read_tested(copies[0])


def test_other_cases_of_another_fold_are_alike(copies, make_run, tmp_path):
    """If they were evaluated alike."""
    fewer = make_run(tmp_path / "fewer", temperature=1, cases=6)
    first, other = read_evaluated(copies[0]), read_evaluated(fewer)

    check_alike(first, other, same_cases=False)
    with pytest.raises(InputError, match="missing here: 007"):
        check_alike(first, other)
    shutil.rmtree(fewer)
