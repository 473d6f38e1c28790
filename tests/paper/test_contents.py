"""What an exhibit consists of, and the files that it becomes."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from nacl_monai.paper import EXHIBITS
from nacl_monai.paper.contents import Pictures, Plot, Table


def test_table_is_markdown_csv_and_latex(results, tmp_path):
    """All its metrics are tested; the CSV holds every number to six decimals."""
    table = Table("Table 2", ("ece_foreground",))
    chosen = EXHIBITS["table2"].select(results)
    files = table.write(chosen, tmp_path / "mine")

    assert [path.name for path in files] == ["mine.md", "mine.csv", "mine.tex"]
    assert table.tested == ("ece_foreground",)
    written = pd.read_csv(files[1])
    summary = table.summary(chosen)
    assert written["method"].tolist() == summary["method"].tolist()
    np.testing.assert_allclose(written["mean"], summary["mean"], atol=1e-6)
    assert summary.loc[summary["dataset"] == "acdc", "paper"].notna().all()


def test_plot_is_a_figure_with_its_numbers(results, tmp_path):
    """PNG and SVG, and what was drawn as CSV."""
    numbers = pd.DataFrame({"method": ["nacl"], "mean": [0.5]})
    plot = Plot(lambda _: (Figure(), numbers), tested=("dice",))
    files = plot.write(results, tmp_path / "mine")

    assert [path.name for path in files] == ["mine.png", "mine.svg", "mine.csv"]
    assert files[2].read_text() == "method,mean\nnacl,0.500000\n"


def test_pictures_are_drawn_for_every_dataset_from_first_runs(results, tmp_path):
    """The names of their files end in that of the dataset."""
    drawn = []

    def draw(runs):
        drawn.append([run.folder.name for run in runs])
        return {"mine_left": Figure(), "mine_right": Figure()}

    files = Pictures(draw).write(EXHIBITS["figure5"].select(results), tmp_path / "mine")

    assert sorted(path.name for path in files) == [
        f"mine_{side}_{dataset}.{suffix}"
        for side in ("left", "right")
        for dataset in ("acdc", "hippocampus")
        for suffix in ("png", "svg")
    ]
    assert drawn == [
        ["unet_dice_ce_seed0", "unet_svls_seed0", "unet_nacl_seed0"],
        ["unet_dice_ce_seed0", "unet_nacl_seed0"],
    ]


def test_no_picture_is_written_if_one_cannot_be_drawn(results, tmp_path):
    """Half a figure is worse than none."""
    calls = iter([{"mine": Figure()}])

    with pytest.raises(StopIteration):
        Pictures(lambda _: next(calls)).write(results, tmp_path / "mine")
    assert not list(tmp_path.iterdir())
