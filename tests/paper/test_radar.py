"""Radars: closed lines over spokes, in rows."""

import numpy as np
import pytest

from nacl_monai.paper.radar import Line, add_legend, draw_lines, new_radars, zoom


@pytest.mark.parametrize(("datasets", "rows", "columns"), [(1, 1, 1), (3, 1, 3), (4, 2, 3)])
def test_radars_stand_in_rows_of_three(datasets, rows, columns):
    """With two kinds, the second is below the first of the same dataset."""
    radars = new_radars(datasets, kinds=2, height=3, margin=1)
    places = {
        (k, kind): radars.add(k, kind).get_subplotspec().rowspan.start * 10
        + radars.figure.axes[-1].get_subplotspec().colspan.start
        for k in range(datasets)
        for kind in range(2)
    }

    assert (radars.rows, radars.columns) == (2 * rows, columns)
    assert len(set(places.values())) == 2 * datasets
    for k in range(datasets):
        assert places[k, 0] == 10 * 2 * (k // columns) + k % columns
        assert places[k, 1] - places[k, 0] == 10
    assert radars.figure.get_figheight() == 3 * 2 * rows + 1


def test_lines_are_closed_over_equal_angles():
    """The last point is the first."""
    radars = new_radars(1, kinds=1, height=3, margin=1)
    axes = radars.add(0)
    draw_lines(axes, ["a", "b", "c"], [Line([1, 2, 3], {"color": "red"})])

    angles, radii = axes.lines[0].get_data()
    np.testing.assert_allclose(radii, [1, 2, 3, 1])
    np.testing.assert_allclose(angles, [0, 2 * np.pi / 3, 4 * np.pi / 3, 0])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    assert axes.lines[0].get_color() == "red"


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ([0.5, 0.6, 0.7], (0.4, 0.75)),
        ([0.1, 0.5, np.nan], (0.0, 0.6)),
        ([0.5, 0.5, 0.5], (0.49, 0.505)),
    ],
)
def test_zoom_shows_differences(values, limits):
    """A quarter of the range outside and twice that inside, but not below 0."""
    axes = new_radars(1, kinds=1, height=3, margin=1).add(0)
    zoom(axes, [Line(values, {})])

    assert axes.get_ylim() == pytest.approx(limits)


def test_nothing_to_zoom_into():
    """Undefined values leave the radar as it is."""
    axes = new_radars(1, kinds=1, height=3, margin=1).add(0)
    before = axes.get_ylim()
    zoom(axes, [Line([np.nan, np.nan], {})])

    assert axes.get_ylim() == before


def test_legend_has_every_style():
    """By its label."""
    radars = new_radars(1, kinds=1, height=3, margin=1)
    add_legend(radars.figure, {"HP1": {"color": "red"}, "HP2": {"color": "blue"}})

    legend = radars.figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["HP1", "HP2"]
    assert [line.get_color() for line in legend.get_lines()] == ["red", "blue"]
