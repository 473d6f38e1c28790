"""Risk–coverage curves are those of the fine bins, voxel by voxel."""

import numpy as np
import pandas as pd
import pytest

from nacl_monai.evaluations import read_run
from nacl_monai.reports import draw_selective, risk_curve, write_selective
from tests.conftest import refused
from tests.same import same_bits


def voxels_of(folder, region):
    """The rate of errors of every voxel, the most confident first, cases pooled."""
    with np.load(folder / "evaluation" / "bins.npz") as archive:
        r = list(archive["regions"]).index(region)
        counts, errors = (archive[f"fine_{key}"][:, r].sum(0) for key in ("counts", "errors"))
    rates = [np.full(n, e / n) for n, e in zip(counts, errors, strict=True) if n]
    return np.concatenate(rates[::-1])


@pytest.mark.parametrize("region", ["all", "foreground"])
def test_curve_is_the_error_rate_of_the_most_confident(folders, region):
    """Voxel by voxel; those of a fine bin share its errors."""
    for folder in folders:
        rates = voxels_of(folder, region)
        risks = np.cumsum(rates) / np.arange(1, len(rates) + 1)
        curve = risk_curve(read_run(folder), region)

        assert curve.voxels == len(rates)
        looked_at = curve.coverage * len(rates)  # the last voxel by a fraction
        met = np.interp(looked_at, range(len(rates) + 1), [0, *np.cumsum(rates)])
        np.testing.assert_allclose(curve.risk, met / looked_at)
        assert curve.risk[-1] == pytest.approx(rates.mean())
        assert curve.error == pytest.approx(risks.mean())


def test_figure_has_a_panel_per_region_and_a_line_per_run(runs):
    """The legend says the numbers of the table."""
    figure, numbers = draw_selective(runs)

    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in panels] == ["All voxels", "Voxels labeled as foreground"]
    for axes, region in zip(panels, ["all", "foreground"], strict=True):
        rows = numbers[numbers["region"] == region]
        texts = [text.get_text() for text in axes.get_legend().get_texts()]
        assert texts == [f"{row.aurc:.2g}  {row.method}" for row in rows.itertuples(index=False)]
        for line, run in zip(axes.lines, runs, strict=True):
            same_bits(
                line.get_ydata(), risk_curve(run, region).risk, "a line holds what it is given"
            )
    assert len({(line.get_color(), line.get_linestyle()) for line in panels[0].lines}) == 2


def test_region_without_voxels_is_said(copies, empty_foreground):
    """Instead of a number."""
    empty_foreground(copies[0], 7)

    figure, numbers = draw_selective([read_run(copies[0])], ["foreground"])

    (text,) = figure.axes[0].get_legend().get_texts()
    assert text.get_text() == "no voxels  ce_dice"
    assert numbers["aurc"].isna().all()


def test_evaluation_without_fine_bins_is_one_line(copies, change_arrays, tmp_path):
    """It is still read, but has no curve; a part of the arrays is refused."""
    path = copies[1] / "evaluation/bins.npz"
    change_arrays(path, lambda arrays: [arrays.pop(f"fine_{key}") for key in ("excess", "errors")])
    assert "holds fine_counts alone of fine_counts" in refused(read_run, copies[1])

    change_arrays(path, lambda arrays: arrays.pop("fine_counts"))
    assert read_run(copies[1]).bins.fine is None
    line = refused(write_selective, copies, tmp_path / "report")
    assert "bins.npz: no array 'fine_counts'; evaluate" in line
    assert not (tmp_path / "report").exists()


def test_numbers_are_written_beside_the_picture(folders, tmp_path):
    """Of the regions that were asked for."""
    write_selective(folders, tmp_path, regions=["all"])

    assert pd.read_csv(tmp_path / "selective.csv")["region"].tolist() == ["all", "all"]
