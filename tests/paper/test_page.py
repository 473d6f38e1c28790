"""The page: one file, no network, every number with its command."""

import json
import re
import shutil
import subprocess
from html import escape
from html.parser import HTMLParser

import pytest

from nacl_monai.output import written_folder
from nacl_monai.paper.__main__ import main

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Parser(HTMLParser):
    """Checks that tags are closed in order; keeps addresses, ids and texts."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.ids, self.rows = [], [], [], 0

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        self.ids += [value for name, value in attrs if name == "id"]
        self.rows += tag == "tr"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def text(reproduced):
    return (reproduced / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def parsed(text):
    parser = Parser()
    parser.feed(text)
    assert not parser.open
    return parser


def test_page_needs_no_network(text, parsed):
    """Every address is inside the page; nothing is loaded from elsewhere."""
    for link in parsed.links:
        assert link.startswith(("data:", "#"))
    assert "://" not in re.sub(r"data:[^\"']*", "", text)
    assert "@import" not in text
    assert "url(" not in text


def test_links_within_the_page_lead_somewhere(parsed):
    """A link within the page has an end; no id is there twice."""
    assert {link[1:] for link in parsed.links if link.startswith("#")} <= set(parsed.ids)
    assert len(parsed.ids) == len(set(parsed.ids))


def test_page_has_pictures_figures_and_commands(text, grid, reproduced):
    """Per dataset reliability and three cases; then all figures; then all commands."""
    text = re.sub("<span>(.*?)</span>", r"\1", text)  # commands are in words
    for title in ("Best case", "Median case", "Worst case", "Reliability over all"):
        assert text.count(f"<figcaption>{title}") == 2
    for manifest in reproduced.glob("*.json"):
        assert f'<h3 id="{manifest.stem}">' in text
        assert f"<code>make {manifest.stem}</code>" in text
    command = f"nacl-monai paper report {grid} --output {reproduced}"
    assert text.count(f"Made by <code>{command}</code>") == 2


def test_calibrated_methods_have_tables_of_their_own(calibrated_grid, tmp_path):
    """Below that of the plain methods, which has none of them; their command fits and evaluates.

    Three tables of the main losses, and one of a hyper-parameter.
    """
    root = calibrated_grid / "acdc"
    assert main(["report", str(root), "--output", str(tmp_path / "out")]) == 0

    text = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    plain, *tables = text.split('<table class="sortable">')[1:]
    assert "temperature" not in plain.split("</table>")[0]
    assert len(tables) == 4
    for table in tables:
        assert table.count(">NACL + temperature (union)</th>") == 1


def test_missing_pictures_are_left_out(grid_copy, tmp_path):
    """Small committed results have few maps and bins."""
    for folder in (grid_copy / "hippocampus").iterdir():
        shutil.rmtree(folder / "evaluation" / "maps")
    assert main(["report", str(grid_copy / "hippocampus"), "--output", str(tmp_path / "out")]) == 0

    text = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "Reliability over all" in text
    assert "Median case" not in text


def test_damaged_manifest_is_one_line_that_names_it(grid, tmp_path, capsys):
    """Nothing of a table or figure is shown without its command."""
    output = tmp_path / "out"
    with written_folder(output, "paper") as folder:
        (folder / "table1.json").write_text("{}")

    assert main(["report", str(grid), "--output", str(output)]) == 1
    error = capsys.readouterr().err
    assert "table1.json: cannot be shown" in error
    assert error.count("\n") == 1


PROBE = """<script>
  const table = document.querySelector("table.sortable");
  const values = () => [...table.tBodies[0].rows].map(row => row.cells[3].dataset.value);
  const click = () => table.tHead.querySelectorAll("button")[3].click();
  click(); const up = values(); click(); const down = values();
  const wide = document.documentElement.scrollWidth > innerWidth;
  parent.document.title = JSON.stringify({up, down, wide, width: innerWidth, errors});
</script>"""
WATCH = "<script>const errors = []; onerror = message => errors.push(message);</script>"


@pytest.mark.nightly
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_page_sorts_and_fits_in_a_browser(text, tmp_path, width):
    """No console error; nothing wider than the window; a click on ECE sorts, a second turns round.

    The page is in a frame, since a headless window cannot be as narrow as a phone.
    """
    inner = text.replace("<head>", f"<head>{WATCH}").replace("</body>", f"{PROBE}</body>")
    frame = f'<iframe style="border: 0; width: {width}px" srcdoc="{escape(inner)}"></iframe>'
    page = tmp_path / "page.html"
    page.write_text(f"<title></title>{frame}", encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    options += ["--dump-dom", f"--user-data-dir={tmp_path}/profile", "--window-size=1400,1000"]
    found = subprocess.run(
        [CHROMIUM, *options, page.as_uri()], capture_output=True, text=True, check=True, timeout=240
    )
    state = json.loads(re.search(r"<title>(.*?)</title>", found.stdout)[1])

    assert "CONSOLE" not in found.stderr
    assert state["errors"] == []
    assert state["width"] == width
    assert not state["wide"]
    assert [float(value) for value in state["up"]] == sorted(map(float, state["up"]))
    assert state["down"] == state["up"][::-1]
