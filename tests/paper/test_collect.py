"""The small files of a grid are enough to make everything again."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from nacl_monai.paper import write_exhibit
from nacl_monai.paper.__main__ import main
from nacl_monai.reports import read_run


@pytest.mark.slow
def test_copied_files_make_the_same_tables_and_figures(grid, reproduced, tmp_path):
    """Byte for byte."""
    small, again = tmp_path / "runs", tmp_path / "again"

    assert main(["collect", str(grid / "acdc"), "--output", str(small)]) == 0

    for name in ("table1", "table3", "figure10"):
        write_exhibit(name, [grid / "acdc"], tmp_path / "direct")
        for path in write_exhibit(name, [small], again):
            if path.suffix != ".json":
                assert path.read_bytes() == (tmp_path / "direct" / path.name).read_bytes()
    for name in ("figure4", "figure5", "figure11"):
        for path in write_exhibit(name, [small], again):
            if path.suffix == ".png":
                assert path.read_bytes() == (reproduced / path.name).read_bytes()


def test_weights_and_curves_stay_behind(grid, tmp_path):
    """Other seeds and ablations have nothing but what tables need."""
    copied = Path(shutil.copytree(grid / "acdc", tmp_path / "acdc"))
    for folder in copied.glob("*_seed?"):
        (folder / "model.pt").write_bytes(b"weights")
        record = json.loads((folder / "evaluation/evaluation.json").read_text())
        record["weights"] = hashlib.sha256(b"weights").hexdigest()
        (folder / "evaluation/evaluation.json").write_text(json.dumps(record))
        (folder / "run.json").write_text("{}")
    small = tmp_path / "small"

    assert main(["collect", str(copied), "--output", str(small)]) == 0

    assert not list(small.rglob("model.pt"))
    assert len(list(small.rglob("run.json"))) == 12
    assert len(list(small.rglob("cases.csv"))) == 12
    assert len(list(small.rglob("evaluation.json"))) == 12
    shown = ["unet_dice_ce_seed0", "unet_nacl_seed0", "unet_svls_seed0"]
    assert sorted(path.parents[1].name for path in small.rglob("bins.npz")) == shown
    assert len(list((small / shown[1]).rglob("maps/*.npz"))) == 3


def test_runs_of_an_ablation_alone_are_collected(grid, tmp_path, capsys):
    """No figure shows single runs of them."""
    run = "unet_nacl_penalty=l2_seed0"
    shutil.copytree(grid / "acdc" / run, tmp_path / "runs" / run)

    assert main(["collect", str(tmp_path / "runs"), "--output", str(tmp_path / "small")]) == 0

    assert not capsys.readouterr().err
    files = [path.name for path in (tmp_path / "small" / run).rglob("*") if path.is_file()]
    assert sorted(files) == ["cases.csv", "evaluation.json", "summary.json"]


def test_calibrated_evaluations_stay_with_their_run(calibrated_grid, tmp_path):
    """They make the same table again."""
    small = tmp_path / "runs"
    assert main(["collect", str(calibrated_grid / "acdc"), "--output", str(small)]) == 0

    folder = small / "unet_nacl_seed1/calibrated/temperature_union"
    assert (folder / "calibrator.json").is_file()
    assert not list(small.glob("temperature*"))
    for source, to in ((calibrated_grid / "acdc", "direct"), (small, "again")):
        write_exhibit("after_training", [source], tmp_path / to)
    for ending in ("md", "csv"):
        direct, again = (tmp_path / to / f"after_training.{ending}" for to in ("direct", "again"))
        assert again.read_bytes() == direct.read_bytes()


def test_kept_bins_are_those_of_the_run(grid, tmp_path):
    """For the regions that figures need."""
    main(["collect", str(grid / "acdc"), "--output", str(tmp_path)])
    old = read_run(grid / "acdc" / "unet_nacl_seed0")
    new = read_run(tmp_path / "unet_nacl_seed0")

    assert new.bins.regions == ["foreground"]
    for key, array in new.bins.select("foreground", "LV").arrays().items():
        np.testing.assert_array_equal(array, old.bins.select("foreground", "LV").arrays()[key])


def test_maps_that_are_not_there_are_left_out(grid_copy, tmp_path):
    """An evaluation need not have them."""
    for run in (grid_copy / "acdc").glob("*_seed?"):
        shutil.rmtree(run / "evaluation/maps")
    small = tmp_path / "small"

    assert main(["collect", str(grid_copy / "acdc"), "--output", str(small)]) == 0
    assert not list(small.rglob("maps"))
    assert len(list(small.rglob("bins.npz"))) == 3


@pytest.mark.parametrize("name", ["split.json", "logit_histogram.npz", "evaluation/logits.npz"])
def test_missing_file_is_named_before_anything_is_written(grid_copy, tmp_path, capsys, name):
    """Figures of single runs need it."""
    missing = grid_copy / "acdc/unet_svls_seed0" / name
    missing.unlink()

    assert main(["collect", str(grid_copy / "acdc"), "--output", str(tmp_path / "small")]) == 1
    assert f"error: {missing}: no such file; train and" in capsys.readouterr().err
    assert not (tmp_path / "small").exists()


def test_runs_of_two_datasets_are_refused(grid, tmp_path, capsys):
    """Their names are the same, and so one would be written over the other."""
    assert main(["collect", str(grid), "--output", str(tmp_path / "small")]) == 1

    assert (
        "hold runs of acdc, hippocampus; collect one dataset at a time" in capsys.readouterr().err
    )
    assert not (tmp_path / "small").exists()


def test_evaluation_of_other_weights_is_refused(grid, tmp_path, capsys):
    """Without the weights, nobody could tell of the copy; of any seed."""
    copied = Path(shutil.copytree(grid / "acdc", tmp_path / "acdc"))
    (copied / "unet_nacl_seed1/model.pt").write_bytes(b"trained anew")

    assert main(["collect", str(copied), "--output", str(tmp_path / "small")]) == 1

    assert "is of another model.pt than the run's" in capsys.readouterr().err
    assert not (tmp_path / "small").exists()
