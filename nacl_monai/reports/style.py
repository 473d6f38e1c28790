"""One style for all figures: color-blind safe, readable in gray and at README width.

Figures are made from `matplotlib.figure.Figure` and drawn by the canvas of their file format, so
that importing this package neither chooses a backend nor changes the settings of a notebook; without
a figure Matplotlib is not imported. Pages share one style sheet, ``page.css``.
"""

from __future__ import annotations

import base64
import io
import math
import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template
from PIL import Image

from nacl_monai.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

#: Figure width in inches: shown 900 pixels wide, a 10-point letter is about 14 pixels high.
WIDTH = 9.0
DPI = 150
#: A PNG beyond this many bytes is written 900 pixels wide instead, and if need be with 256 colors.
PNG_LIMIT = 300_000
SMALL_DPI = 100
#: Less than half the time of the usual level, for a tenth more bytes at most.
_FAST = {"compress_level": 3}
#: The heights of a line of a caption and of a key, in inches.
_LINE, KEY_LINE = 0.18, 0.25
#: How many fit in a caption: a cautious mean over the widths of letters at 9 points.
LETTERS_PER_INCH = 13.5

#: Okabe and Ito's palette, "Color Universal Design" (2008), https://jfly.uni-koeln.de/color/
OKABE_ITO = {
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "purple": "#CC79A7",
    "black": "#000000",
}

#: Color of the background class.
_BACKGROUND = "0.7"
#: Colors of the foreground classes; neighbors in this order differ in gray, too.
CLASS_COLORS = tuple(
    OKABE_ITO[name] for name in ("purple", "yellow", "blue", "orange", "green", "sky", "vermillion")
)

#: Confidence: dark is doubt. Lightness rises evenly, so that gray print keeps the order.
CONFIDENCE_COLORMAP = "magma"

STYLE: dict[str, Any] = {
    "figure.dpi": DPI,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titley": 1.0,  # above the panel, where to look for room is slow
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.8,
    "hatch.linewidth": 0.7,
    "legend.frameon": False,
    "text.parse_math": False,  # a method, class or case may be called $x_1$
    "svg.hashsalt": "nacl_monai",
}


def gray_ends(image: npt.NDArray[Any], low: float = 0.5, high: float = 99.5) -> tuple[float, float]:
    """The values that are black and white, percentiles of the finite voxels of an image.

    Example:
        >>> gray_ends(np.array([0.0, 1.0, np.nan, np.inf]), 0, 100)
        (0.0, 1.0)
    """
    finite = image[np.isfinite(image)]
    ends = np.percentile(finite, (low, high)).tolist() if finite.size else (0.0, 1.0)
    return ends[0], max(ends[1], ends[0] + 1e-6)


def house_style() -> AbstractContextManager[None]:
    """The style while a figure is made or saved; the caller's settings are restored afterward."""
    import matplotlib.style  # noqa: PLC0415

    return matplotlib.style.context(["default", STYLE])


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure (inches) that no window system knows; use inside `house_style`."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("compressed", w_pad=0.06, h_pad=0.06)
    return figure


def panel_figure(
    lines: int,
    columns: int,
    panel: tuple[float, float],
    *,
    width: float = WIDTH,
    left: float = 0.1,
    right: float = 0.1,
    bottom: float = 0.2,
    top: float = 0.4,
    between: tuple[float, float] = (0.1, 0.4),
) -> Figure:
    """An empty figure with room for panels of one size, all in inches; to measure text takes longer.

    Captions and keys make it higher. Use inside `house_style`.

    Args:
        lines: Of panels.
        columns: Panels in each.
        panel: Width and height of one.
        width: That of the figure, in the middle of which they are.
        left: What is beside the first panel.
        right: What is beside the last.
        bottom: What is below the last line.
        top: What is above the first.
        between: Two panels side by side, and one below the other.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415

    across, down = (
        n * size + (n - 1) * gap
        for n, size, gap in zip((columns, lines), panel, between, strict=True)
    )
    height, spare = top + down + bottom, (width - left - across - right) / 2
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(
        left=(spare + left) / width,
        right=(spare + left + across) / width,
        bottom=bottom / height,
        top=1 - top / height,
        wspace=between[0] / panel[0],
        hspace=between[1] / panel[1],
    )
    return figure


def _heighten(figure: Figure, above: float, below: float) -> None:
    """Adds room above and below the panels of a figure without an engine for its layout."""
    old, edges = figure.get_figheight(), figure.subplotpars
    height = old + above + below
    figure.set_figheight(height)
    top, bottom = ((edge * old + below) / height for edge in (edges.top, edges.bottom))
    figure.subplots_adjust(top=top, bottom=bottom)


def add_key(figure: Figure, handles: Sequence[Artist], columns: int, **how: Any) -> None:
    """A key above the panels of a `panel_figure`."""
    _heighten(figure, math.ceil(len(handles) / columns) * KEY_LINE, 0)
    figure.legend(handles=handles, loc="upper center", borderaxespad=0.3, ncols=columns, **how)


def class_color(index: int) -> str:
    """The color of a class; those of the foreground begin anew after the last."""
    return _BACKGROUND if index == 0 else CLASS_COLORS[(index - 1) % len(CLASS_COLORS)]


def panel_grid(panels: int, most: int) -> tuple[int, int]:
    """Lines and columns for a number of panels, at most ``most`` side by side, lines filled evenly.

    Example:
        >>> panel_grid(3, most=4), panel_grid(6, most=4), panel_grid(7, most=4)
        ((1, 3), (2, 3), (2, 4))
    """
    lines = math.ceil(panels / most)
    return lines, math.ceil(panels / lines)


def add_caption(figure: Figure, text: str) -> None:
    """Small text below a figure, behind what is there, wrapped to its width; lines stay lines."""
    width = int(LETTERS_PER_INCH * figure.get_figwidth())
    whole = f"{figure.get_supxlabel()} {text}".strip()
    lines = [part for line in whole.splitlines() for part in textwrap.wrap(line, width)]
    place = {}  # an engine keeps room for a caption that has none of its own
    if figure.get_layout_engine() is None:
        _heighten(figure, 0, _LINE * (len(lines) - len(figure.get_supxlabel().splitlines())))
        place = {"y": 0.05 / figure.get_figheight()}
    figure.supxlabel("\n".join(lines), fontsize=9, **place)


def save_figure(figure: Figure, stem: str | Path) -> list[Path]:
    """Writes ``stem.png`` and ``stem.svg``, each whole or not at all; returns the two paths.

    The same numbers give the same bytes: no date, and fixed identifiers in the SVG.

    Raises:
        InputError: If the files cannot be written.
    """
    stem = Path(stem)
    png, svg = (stem.with_name(f"{stem.name}.{suffix}") for suffix in ("png", "svg"))
    save_png(figure, png)
    with house_style(), atomic_path(svg) as path:  # its parts are where those of the PNG are
        paint(figure, path, format="svg", dpi=DPI, metadata={"Date": None})
    return [png, svg]


def save_png(figure: Figure, png: str | Path) -> None:
    """Writes a PNG, whole or not at all.

    Raises:
        InputError: If it cannot be written.
    """
    with house_style(), atomic_path(png) as path:
        paint(figure, path, format="png", dpi=DPI, pil_kwargs=_FAST)
        if path.stat().st_size > PNG_LIMIT:
            paint(figure, path, format="png", dpi=SMALL_DPI, pil_kwargs={"optimize": True})
        if path.stat().st_size > PNG_LIMIT:
            with Image.open(path) as image:
                palette = image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
            palette.save(path, format="png", optimize=True)


def paint(figure: Figure, file: Path | io.BytesIO, *, dpi: int, **how: Any) -> None:
    """Saves a figure, whose parts get their places once; `savefig` alone would draw it for them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415

    if engine := figure.get_layout_engine():
        FigureCanvasAgg(figure)
        figure.set_dpi(dpi)
        engine.execute(figure)
        figure.set_layout_engine(None)
    figure.savefig(file, dpi=dpi, **how)


def png_source(figure: Figure) -> str:
    """A small PNG of a figure as the source of a picture in a page that needs no network."""
    return data_source(_small_png(figure).getvalue())


def pixels(figure: Figure) -> npt.NDArray[np.uint8]:
    """The same picture as an array ``(height, width, 3)``, as trackers of experiments take it."""
    with Image.open(_small_png(figure)) as image:
        return np.asarray(image.convert("RGB"))


def _small_png(figure: Figure) -> io.BytesIO:
    buffer = io.BytesIO()
    with house_style():
        paint(figure, buffer, format="png", dpi=SMALL_DPI, pil_kwargs=_FAST)
    return buffer


def data_source(png: bytes) -> str:
    """The bytes of a PNG as the source of a picture."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def shown_width(source: str) -> int:
    """The width of a picture in a page, in CSS pixels: a hundred for each inch of its figure."""
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
        return round(100 * image.width / float(image.info.get("dpi", (100, 100))[0]))


_HERE = "nacl_monai.reports"


@cache
def page_template(package: str = _HERE, file: str = "page.html.j2") -> Template:
    """A page of a package, which may include files of this one.

    Values are escaped, and one that is missing is an error.

    Args:
        package: Its name.
        file: That of its template.
    """
    loader = ChoiceLoader([PackageLoader(name, ".") for name in (package, _HERE)])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.filters["width"] = shown_width
    return environment.get_template(file)
