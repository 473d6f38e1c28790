"""Sphinx builds the site from this folder: `make site`."""

import re
import subprocess
import sys
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from myst_nb.core import render
from myst_nb.core.utils import coalesce_streams
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from nacl_monai import __version__

project = "nacl_monai"
author = "The nacl_monai authors"
copyright = author  # noqa: A001 - Sphinx's word
release = version = __version__
language = "en"
default_role = "py:obj"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
suppress_warnings = ["toc.not_included"]  # tables of results, which their page links
exclude_patterns = ["_build/**"]

# Prose: GitHub shows the same files, so links are those of files, and headings are their anchors.
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]

# Tutorials run when the site is built; an error in one ends the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_execution_in_temp = True
nb_merge_streams = True
nb_output_stderr = "remove"  # MONAI and tqdm say what they miss, and where; an error ends the build

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
maximum_signature_line_length = 88
autosummary_generate = True  # a page for each object that docs/api/index.md lists
templates_path = ["templates"]

html_theme = "furo"
html_title = f"nacl_monai {release}"
html_static_path = ["site.css", str(files("ziamath") / "fonts/STIXTwoMath-Regular.ttf")]
html_css_files = ["site.css"]
#: Where the project is, once it is public; the site then links to its source.
ADDRESS = ""
html_theme_options = {"navigation_with_keys": True}
if ADDRESS:
    html_theme_options |= {
        "source_repository": ADDRESS,
        "source_branch": "main",
        "source_directory": "docs/",
    }
html_show_copyright = False
html_math_renderer = "mathml"


#: Page → what somebody types who looks for it: the search finds these words as it finds titles.
SOUGHT = {
    "start": ("install", "pip", "wheel", "quick start"),
    "which": ("which command", "where to begin", "overview"),
    "audit": ("ECE", "expected calibration error", "uncertainty", "reliability diagram", "trust"),
    "calibrate": ("temperature scaling", "Platt scaling", "post-hoc calibration", "overconfident"),
    "promise": ("conformal prediction", "error bar", "safety margin", "coverage", "guarantee"),
    "triage": ("quality control", "failure detection", "active learning", "review", "which cases"),
    "watch": ("drift", "monitoring", "change detection", "new scanner", "alarm"),
    "islands": ("lesion", "FROC", "connected component", "detection"),
    "view": ("viewer", "scroll", "NiiVue"),
    "report": ("summary", "one command", "clinician"),
    "maps": ("probability map", "softmax", "heatmap", "uncertainty map", "npz to NIfTI"),
    "train": ("loss", "hyper-parameter", "GPU", "fine-tune", "resume"),
    "own_data": ("custom dataset", "BIDS", "datalist", "my images"),
    "infer": ("inference", "predict", "Hugging Face", "model card", "ONNX", "3D Slicer"),
    "reproduce": ("Slurm", "cluster", "Snakemake", "paper", "tables"),
    "calibration": ("over-confidence", "miscalibration", "why"),
    "methods": ("which loss", "comparison", "benchmark", "label smoothing", "focal loss"),
}


def add_sought(_: Sphinx, name: str, source: list[str]) -> None:
    """Puts the words of a page behind its title, where a reader does not see them."""
    if name in SOUGHT:
        entries = "".join(f"```{{index}} ! single: {word}\n```\n" for word in SOUGHT[name])
        source[0] = source[0].replace("\n", f"\n\n{entries}", 1)


def add_heading(app: Sphinx, name: str, source: list[str]) -> None:
    """Tables of results, which a command wrote, get a heading by their file, and a way back."""
    if name.startswith("results/") and not re.search(r"^# ", source[0], re.MULTILINE):
        folder, _, table = name.rpartition("/")
        back = "README.md" if Path(app.srcdir, folder, "README.md").is_file() else "../README.md"
        title = f"{table.replace('_', ' ').capitalize()}: {folder.removeprefix('results/')}"
        source[0] = f"# {title}\n\n[Back to the page of these results]({back})\n\n{source[0]}"


def link_pages(_: Sphinx, name: str, source: list[str]) -> None:
    """Links pages of the bundles, which GitHub shows where they are, to where the site includes them."""
    up = "../" * name.count("/")
    source[0] = re.sub(
        r"\]\([./]*bundles/(\w+)/docs/README\.md", rf"]({up}datasets/\1.md", source[0]
    )


def joined_streams(outputs: list[Any]) -> list[Any]:
    """The outputs of a cell with what it printed in one piece.

    `%%bash` hands over 100 bytes at a time, and myst_nb ends each piece with a newline, within numbers.
    """
    streams: dict[str, Any] = {}
    for output in outputs:
        if output["output_type"] == "stream" and output["name"] in streams:
            streams[output["name"]]["text"] += output["text"]
        elif output["output_type"] == "stream":
            streams[output["name"]] = output
    first = [id(output) for output in streams.values()]
    return [shown for shown in outputs if shown["output_type"] != "stream" or id(shown) in first]


def add_summary(_: Sphinx, __: str, source: list[str]) -> None:
    """A page of the API begins with its classes and functions, each with what it does."""
    if found := re.search(r"^\.\. automodule:: (.*)$", source[0], re.MULTILINE):
        module = import_module(found[1])
        known = ((name, getattr(module, name)) for name in module.__all__)
        names = "".join(f"   {name}\n" for name, value in known if callable(value))
        table = f".. currentmodule:: {found[1]}\n\n.. autosummary::\n   :nosignatures:\n\n{names}\n"
        source[0] = source[0].replace(found[0], table + found[0])


def shorten(*signature: Any) -> tuple[str | None, ...]:
    """A signature in which an array of any shape and kind is called ``ndarray``."""
    number = r"~?(?:numpy\.)?dtype\[[^\]]*\]"
    array = rf"~?(?:numpy\.)?ndarray\[tuple\[~?(?:typing\.)?Any, \.\.\.\], {number}\]"
    return tuple(part and re.sub(array, "ndarray", part) for part in signature[-2:])


def write_formula(writer: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    """Writes a formula as MathML, which browsers draw by themselves: no script, and no network."""
    if isinstance(node, nodes.math_block):
        lines = [part for part in node.astext().split("\n\n") if part.strip()]
        formulas = "".join(convert(line, display="block") for line in lines)
        writer.body.append(f'<div class="math">{formulas}</div>\n')
    else:
        writer.body.append(f'<span class="math">{convert(node.astext())}</span>')
    raise nodes.SkipNode


WAY_BACK = f'<p><a href="index.html">{project}</a>, <a href="view.html">about this page</a>'
LESIONS = Path(__file__).parent / "lesions"
FOLDERS = [str(LESIONS / kind) for kind in ("maps", "labels")]
OF_LESIONS = ["--images", str(LESIONS / "images"), "--dataset", str(LESIONS / "dataset.json")]
SYNTHETIC = """</p><p><strong>The prediction is synthetic</strong>, and so is every number below: no
network made it. Image and label are of Lesjak et al., Neuroinformatics 2017 (CC BY), cropped.</p>"""
#: Pages of the site on which one scrolls through cases → the command, its page, and its first words.
EXAMPLES = {
    "example.html": (["demo", "--quick"], "runs/demo/quick/report/promise/page.html", "</p>"),
    "lesions.html": (
        ["audit", *FOLDERS, *OF_LESIONS, "--output", "audit"],
        "audit/page.html",
        SYNTHETIC,
    ),
}
TRY_IT = """<p><a href="example.html"><strong>Try it here</strong></a>, without installing anything: what
the demo promises, and three of its cases (3 MB). Find where label and prediction differ, and read the
probability there. Or go from lesion to lesion of <a href="lesions.html">multiple sclerosis</a>.</p>"""


def make_examples(app: Sphinx) -> None:
    """Runs the quick demo and the audit of a lesion case, and puts their pages into the site."""
    for name, (command, result, first) in EXAMPLES.items():
        page = Path(app.outdir) / name
        if app.builder.format != "html" or page.is_file():
            continue
        page.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory() as place:
            argv = [sys.executable, "-m", "nacl_monai", *command]
            subprocess.run(argv, cwd=place, check=True, stdout=subprocess.DEVNULL)
            text = (Path(place) / result).read_text("utf-8").replace(f"{LESIONS}/", "docs/lesions/")
            page.write_text(text.replace("<main>", f"<main>{WAY_BACK}{first}", 1), encoding="utf-8")


def try_it(_: Sphinx, name: str, source: list[str]) -> None:
    """The first page and Start open with the example, which is in the site alone."""
    if name in ("index", "start"):
        source[0] = source[0].replace("\n", f"\n\n{TRY_IT}\n", 1)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    render.coalesce_streams = lambda outputs: coalesce_streams(joined_streams(outputs))
    renderers = (write_formula, None)
    app.add_html_math_renderer("mathml", renderers, renderers)
    app.connect("autodoc-process-signature", shorten)
    app.connect("source-read", link_pages)
    app.connect("source-read", add_summary)
    app.connect("source-read", add_sought)
    app.connect("source-read", add_heading)
    app.connect("source-read", try_it)
    app.connect("builder-inited", make_examples)
