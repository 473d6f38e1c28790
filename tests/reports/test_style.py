"""Figures are whole files that a browser shows, and leave the caller's matplotlib alone."""

import os
import subprocess
import sys
from functools import partial
from types import SimpleNamespace
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from nacl_monai.evaluations import read_runs
from nacl_monai.promises.pictures import _draw_structure
from nacl_monai.reports import (
    draw_class_logits,
    draw_epoch_logits,
    draw_maps,
    draw_reliability,
    draw_selective,
    house_style,
    new_figure,
    save_figure,
)
from nacl_monai.reports.maps import _gray
from nacl_monai.reports.style import (
    CLASS_COLORS,
    PNG_LIMIT,
    data_source,
    gray_ends,
    panel_grid,
    png_source,
    save_png,
    shown_width,
)

DRAW = {
    "reliability": draw_reliability,
    "maps": draw_maps,
    "both_maps": partial(draw_maps, show=("confidence", "entropy")),
    "class_logits": draw_class_logits,
    "epoch_logits": draw_epoch_logits,
}
WRITTEN = ("reliability", "maps", "class_logits")


@pytest.fixture(scope="module")
def written(folders, tmp_path_factory):
    """One figure of each module as PNG and SVG."""
    folder = tmp_path_factory.mktemp("figures")
    runs = read_runs(folders)
    return {name: save_figure(DRAW[name](runs), folder / name) for name in WRITTEN}


@pytest.mark.usefixtures("painted")
@pytest.mark.parametrize("name", WRITTEN)
class TestFiles:
    def test_png_is_small_and_not_blank(self, written, name):
        """The PNG decodes, is at least 900 pixels wide, not blank, and small."""
        png, _ = written[name]

        with Image.open(png) as image:
            image.load()
            pixels = np.asarray(image.convert("L"), dtype=float)

        assert image.format == "PNG"
        assert pixels.shape[1] >= 900
        assert pixels.std() > 10
        assert png.stat().st_size < PNG_LIMIT

    def test_svg_is_a_document_with_shapes(self, written, name):
        """The SVG is an XML document with shapes in it."""
        root = ElementTree.parse(written[name][1]).getroot()

        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 20

    def test_same_numbers_same_bytes(self, written, folders, tmp_path, name):
        """Drawing again gives the same files, whatever settings the caller's notebook has."""
        with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
            again = save_figure(DRAW[name](read_runs(folders)), tmp_path / name)

        assert [path.read_bytes() for path in again] == [
            path.read_bytes() for path in written[name]
        ]


@pytest.mark.usefixtures("painted")
def test_noise_stays_below_the_limit(tmp_path):
    """A figure that noise makes too large is written with fewer pixels or colors."""
    with house_style():
        figure = new_figure(height=3)
        noise = np.random.default_rng(0).uniform(size=(450, 1350))
        figure.subplots().imshow(noise, cmap="gray", aspect="auto")

    png, _ = save_figure(figure, tmp_path / "noise")

    assert png.stat().st_size < PNG_LIMIT


@pytest.mark.parametrize("draw", DRAW.values())
def test_words_fit_into_a_narrow_figure(folders, draw):
    """Caption and key of a single method's figure end inside the figure, the caption below all else."""
    figure = draw(read_runs(folders[:1]))
    with house_style():
        figure.draw_without_rendering()

    (caption,) = (text for text in figure.texts if text.get_text() == figure.get_supxlabel())

    for text in (caption, *figure.legends):
        extent = text.get_window_extent()
        assert extent.x0 >= 0
        assert extent.x1 <= figure.bbox.x1
    lowest = min(axes.get_tightbbox().y0 for axes in figure.axes)
    assert caption.get_window_extent().y1 <= lowest + 1


class TestCallersSettings:
    def test_settings_come_back(self, runs, tmp_path):
        """Drawing and saving leave the settings as they were."""
        before = dict(matplotlib.rcParams)

        draw_reliability(runs, resamples=10)
        save_figure(new_figure(height=1), tmp_path / "figure")

        assert dict(matplotlib.rcParams) == before

    @pytest.mark.nightly
    def test_no_backend_on_import(self):
        """Importing the package chooses no backend."""
        code = (
            "import matplotlib, nacl_monai.reports; "
            "print(matplotlib.get_backend(auto_select=False))"
        )
        environment = {key: os.environ[key] for key in os.environ if key != "MPLBACKEND"}

        printed = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)

        assert printed.split() == ["None"]


class TestColors:
    def test_neighbors_differ_in_gray(self):
        """Successive classes differ by more than ten units of CIE lightness (0 to 100)."""
        rgb = np.array([matplotlib.colors.to_rgb(color) for color in CLASS_COLORS])
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        lightness = 116 * (linear @ [0.2126, 0.7152, 0.0722]) ** (1 / 3) - 16

        assert np.abs(np.diff(lightness)).min() > 10


@pytest.mark.parametrize("number", [1, 7])
@pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)
def test_any_number_of_methods(folders, draw, number):
    """One method has a figure, and more than fit into a line go on in the next."""
    names = [f"method {k}" for k in range(number)]

    figure = draw(read_runs([folders[k % 2] for k in range(number)], names))

    titles = [axes.get_title() for axes in figure.axes]
    assert [title for title in titles if title.startswith("method")] == names
    with house_style():
        figure.draw_without_rendering()
    assert min(axes.get_tightbbox().x0 for axes in figure.axes) >= 0


@pytest.mark.parametrize("most", [1, 3, 4])
@pytest.mark.parametrize("panels", range(1, 14))
def test_grid_of_panels_is_as_small_as_possible(panels, most):
    """No line is longer than allowed, no line could be spared, no column is empty."""
    lines, columns = panel_grid(panels, most)

    assert columns <= most
    assert (lines - 1) * most < panels <= lines * columns
    assert lines * (columns - 1) < panels


@pytest.mark.usefixtures("painted")
def test_dollars_of_names_are_shown(copies, change_arrays):
    """In names of classes and runs, in every figure that has them."""
    classes = np.array(["top-1", "background", r"a $\b$", "x_1$ vs $y", "LV"])
    for folder in copies:
        change_arrays(folder / "evaluation/bins.npz", lambda arrays: arrays.update(classes=classes))
    runs = read_runs(copies, [r"$\foo$", "cost $1e-3$ and $"])
    for figure in (
        draw_reliability(runs, class_name=r"a $\b$", resamples=10),
        draw_selective(runs)[0],
    ):
        png_source(figure)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_leave_the_gray_of_the_others(value):
    """On pages, in maps and in pictures of contours, which would all be black."""
    image = np.random.default_rng(0).normal(size=(30, 30))
    spoilt = image.copy()
    spoilt[:3, :5] = value  # more than the percentiles leave out

    assert gray_ends(spoilt) == gray_ends(image[np.isfinite(spoilt)])
    assert gray_ends(spoilt * np.nan) == (0.0, 1.0)
    shown = SimpleNamespace(image=spoilt, label=image)
    assert np.isfinite(_gray(shown)).all()
    figure = new_figure(height=3)
    axis = figure.subplots()
    mask = np.zeros((30, 30, 1), bool)
    mask[5:9, 5:9] = True
    _draw_structure(axis, {"outer contour": mask}, spoilt[..., None], None)
    assert np.isfinite(axis.images[0].get_clim()).all()


@pytest.mark.usefixtures("painted")
def test_a_picture_in_a_page_is_as_wide_as_its_figure_whatever_its_pixels(tmp_path):
    """A hundred CSS pixels for each inch: the letters of all pictures are of one size."""
    with house_style():
        figure = new_figure(2, width=3)
        figure.subplots()
    save_png(figure, tmp_path / "fine.png")

    sources = png_source(figure), data_source((tmp_path / "fine.png").read_bytes())
    assert len(sources[0]) < len(sources[1])
    assert [*map(shown_width, sources)] == [300, 300]
