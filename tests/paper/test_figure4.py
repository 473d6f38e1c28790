"""Figure 4 is drawn for the runs of one dataset."""

from nacl_monai.paper import figure4
from nacl_monai.paper.grid import main_grid
from nacl_monai.paper.results import first_runs


def test_every_run_has_a_panel(results):
    """The stem of the file is the figure's name."""
    runs = first_runs(results.select(main_grid()), "acdc")
    figures = figure4.draw(runs)

    assert list(figures) == ["figure4"]
    titles = [axes.get_title() for axes in figures["figure4"].axes]
    assert [title for title in titles if title] == ["CE+DSC", "SVLS", "NACL"]
