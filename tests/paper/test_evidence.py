"""The small files of a grid, packed into one archive, are enough to make everything again."""

import hashlib
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from nacl_monai.errors import InputError
from nacl_monai.paper import read_results, write_exhibit, write_page
from nacl_monai.paper.__main__ import main
from nacl_monai.reports import read_run


@pytest.fixture
def collect(tmp_path):
    """Packs runs; returns the archive, and the names of its runs with their files."""

    def pack(*roots, output="small.tar.xz"):
        archive = tmp_path / output
        assert main(["collect", *map(str, roots), "--output", str(archive)]) == 0
        with tarfile.open(archive) as members:
            return archive, [member.removeprefix("runs/") for member in members.getnames()]

    return pack


@pytest.mark.slow
def test_packed_files_make_the_same_tables_and_figures(grid, collect, tmp_path):
    """Byte for byte; packed again, they are the same archive."""
    small, _ = collect(grid / "acdc")

    for name in ("table1", "table3", "figure10", "figure4", "figure5", "figure11"):
        write_exhibit(name, [grid / "acdc"], tmp_path / "direct")
        for path in write_exhibit(name, [small], tmp_path / "again"):
            if path.suffix != ".json":
                assert path.read_bytes() == (tmp_path / "direct" / path.name).read_bytes()
    again, _ = collect(small, output="again.tar.xz")
    assert again.read_bytes() == small.read_bytes()
    (page,) = write_page([small], tmp_path / "page")
    assert f"{tmp_path}/runs/unet_nacl_seed1" in page.read_text(encoding="utf-8")


def test_weights_and_curves_stay_behind(grid, collect, tmp_path):
    """Other seeds and ablations have nothing but what tables need."""
    copied = Path(shutil.copytree(grid / "acdc", tmp_path / "acdc"))
    for folder in copied.glob("*_seed?"):
        (folder / "model.pt").write_bytes(b"weights")
        record = json.loads((folder / "evaluation/evaluation.json").read_text())
        record["weights"] = hashlib.sha256(b"weights").hexdigest()
        (folder / "evaluation/evaluation.json").write_text(json.dumps(record))
        (folder / "run.json").write_text('{"finished": true}')
    _, names = collect(copied)
    ended = {
        end: [name for name in names if name.endswith(end)] for end in (".pt", "n.json", ".csv")
    }

    assert [len(found) for found in ended.values()] == [0, 24, 12]
    shown = ["unet_dice_ce_seed0", "unet_nacl_seed0", "unet_svls_seed0"]
    assert [name for name in names if name.endswith("bins.npz")] == [
        f"{run}/evaluation/bins.npz" for run in shown
    ]
    assert len([name for name in names if name.startswith(f"{shown[1]}/evaluation/maps/")]) == 3


def test_runs_of_an_ablation_alone_are_collected(grid, collect, tmp_path):
    """No figure shows single runs of them."""
    run = "unet_nacl_penalty=l2_seed0"
    shutil.copytree(grid / "acdc" / run, tmp_path / "acdc" / run)
    _, names = collect(tmp_path / "acdc")

    files = ("cases.csv", "evaluation.json", "summary.json")
    assert names == [f"{run}/evaluation/{file}" for file in files]


def test_calibrated_evaluations_stay_with_their_run(calibrated_grid, collect):
    """They are the same methods again."""
    small, names = collect(calibrated_grid / "acdc")

    assert "unet_nacl_seed1/calibrated/temperature_union/calibrator.json" in names
    cases, again = (read_results([root]).cases("acdc") for root in (calibrated_grid, small))
    assert again.equals(cases)


def test_kept_bins_are_those_of_the_run(grid, collect, tmp_path):
    """For the regions that figures need."""
    small, _ = collect(grid / "acdc")
    shutil.unpack_archive(small, tmp_path, filter="data")
    old = read_run(grid / "acdc" / "unet_nacl_seed0")
    new = read_run(tmp_path / "runs/unet_nacl_seed0")

    assert new.bins.regions == ["foreground"]
    for key, array in new.bins.select("foreground", "LV").arrays().items():
        np.testing.assert_array_equal(array, old.bins.select("foreground", "LV").arrays()[key])


def test_maps_that_are_not_there_are_left_out(grid_copy, collect):
    """An evaluation need not have them."""
    for run in (grid_copy / "acdc").glob("*_seed?"):
        shutil.rmtree(run / "evaluation/maps")
    _, names = collect(grid_copy / "acdc")

    assert not [name for name in names if "/maps/" in name]
    assert len([name for name in names if name.endswith("bins.npz")]) == 3


def lack(file):
    return lambda grid: (grid / "acdc/unet_svls_seed0" / file).unlink()


def train_anew(grid):
    (grid / "acdc/unet_nacl_seed1/model.pt").write_bytes(b"trained anew")


@pytest.mark.parametrize(
    ("change", "roots", "output", "line"),
    [
        *(
            (lack(file), "acdc", "x.tar.xz", f"{file}: no such file; train and evaluate the run")
            for file in ("split.json", "logit_histogram.npz", "evaluation/logits.npz")
        ),
        (train_anew, "acdc", "x.tar.xz", "is of another model.pt than the run's"),
        (None, ".", "x.tar.xz", "hold runs of acdc, hippocampus; collect one dataset at a time"),
        (None, "acdc", "x", "is no name of an archive; write --output NAME.tar.xz"),
    ],
)
def test_what_cannot_be_packed_is_one_line(
    grid_copy, tmp_path, capsys, change, roots, output, line
):
    """Nothing is written: missing files, other weights, runs of one name, another ending."""
    if change:
        change(grid_copy)

    assert main(["collect", str(grid_copy / roots), "--output", str(tmp_path / output)]) == 1
    assert line in capsys.readouterr().err
    assert not (tmp_path / output).exists()


@pytest.mark.parametrize("content", [None, b"", b"no archive"])
def test_archive_that_cannot_be_unpacked_is_one_line(tmp_path, content):
    """Missing, empty or damaged."""
    archive = tmp_path / "runs.tar.xz"
    if content is not None:
        archive.write_bytes(content)

    with pytest.raises(InputError, match=r"runs\.tar\.xz: (no such file|cannot be unpacked)"):
        read_results([archive])
