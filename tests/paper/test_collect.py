"""The small files of a grid are enough to make everything again."""

import shutil
from pathlib import Path

import numpy as np

from nacl_monai.paper import write_target
from nacl_monai.paper.__main__ import main
from nacl_monai.reports import read_run


def test_everything_again(grid, reproduced, tmp_path):
    """Tables and figures of the copied files are those of the runs, byte for byte."""
    small, again = tmp_path / "runs", tmp_path / "again"

    assert main(["collect", str(grid / "acdc"), "--output", str(small)]) == 0

    for target in ("table1", "table3", "figure10"):
        write_target(target, [grid / "acdc"], tmp_path / "direct")
        for path in write_target(target, [small], again):
            if path.suffix != ".json":
                assert path.read_bytes() == (tmp_path / "direct" / path.name).read_bytes()
    for target in ("figure4", "figure5", "figure11"):
        for path in write_target(target, [small], again):
            if path.suffix == ".png":
                assert path.read_bytes() == (reproduced / path.name).read_bytes()


def test_small(grid, tmp_path):
    """Weights and curves stay behind; of other seeds and ablations only tables come along."""
    copied = Path(shutil.copytree(grid / "acdc", tmp_path / "acdc"))
    for folder in copied.glob("*_seed?"):
        (folder / "model.pt").write_bytes(b"weights")
        (folder / "run.json").write_text("{}")
    small = tmp_path / "small"

    assert main(["collect", str(copied), "--output", str(small)]) == 0

    assert not list(small.rglob("model.pt"))
    assert len(list(small.rglob("run.json"))) == 12
    assert len(list(small.rglob("cases.csv"))) == 12
    shown = ["unet_dice_ce_seed0", "unet_nacl_seed0", "unet_svls_seed0"]
    assert sorted(path.parents[1].name for path in small.rglob("bins.npz")) == shown
    assert len(list((small / shown[1]).rglob("maps/*.npz"))) == 3


def test_bins(grid, tmp_path):
    """The sums of the regions kept are those of the run."""
    main(["collect", str(grid / "acdc"), "--output", str(tmp_path)])
    old = read_run(grid / "acdc" / "unet_nacl_seed0")
    new = read_run(tmp_path / "unet_nacl_seed0")

    assert new.bins.regions == ["foreground"]
    for key, array in new.bins.select("foreground", "LV").arrays().items():
        np.testing.assert_array_equal(array, old.bins.select("foreground", "LV").arrays()[key])
