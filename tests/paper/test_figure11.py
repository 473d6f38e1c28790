"""Figure 11 has two parts for the runs of one dataset."""

import shutil

from nacl_monai.paper import figure11
from nacl_monai.paper.grid import main_grid
from nacl_monai.paper.results import first_runs, read_results


def test_both_parts_show_every_run(results):
    """The stems of the files say the part."""
    runs = first_runs(results.select(main_grid()), "acdc")
    figures = figure11.draw(runs)

    assert list(figures) == ["figure11_maps", "figure11_reliability"]
    for figure in figures.values():
        titles = " ".join(axes.get_title() for axes in figure.axes)
        texts = " ".join(text.get_text() for axes in figure.axes for text in axes.texts)
        for run in runs:
            assert run.name in titles + texts


def test_runs_without_slices_have_no_maps(grid_copy):
    """Their images may not be shown; the diagrams are drawn still."""
    for maps in grid_copy.rglob("maps"):
        shutil.rmtree(maps)
    runs = first_runs(read_results([grid_copy]).select(main_grid()), "acdc")

    assert list(figure11.draw(runs)) == ["figure11_reliability"]
