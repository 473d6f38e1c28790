"""Every kind of page, as one reads it by the keyboard, on paper, on a phone and by a screen reader."""

import io
import re
import unicodedata
from itertools import groupby

import pytest

from nacl_monai.cli import main
from tests.evaluated_runs import write_run
from tests.predictions.conftest import Study
from tests.promises.test_commands import PATIENTS, blobs
from tests.reports.conftest import new_page

pytestmark = pytest.mark.slow
KINDS = ["audit", "promise", "triage", "report", "view", "calibrated", "watch", "run", "paper"]
#: The cells in which a number is on two lines.
BROKEN = """[...document.querySelectorAll('td, th')].filter((cell) => {
  const range = document.createRange();
  return [...cell.childNodes].filter((node) => node.nodeType === 3).some((node) =>
    [...node.textContent.matchAll(/[−-]?[\\d.]+%?/g)].some(({ index, 0: number }) => {
      range.setStart(node, index); range.setEnd(node, index + number.length);
      return new Set([...range.getClientRects()].map(({ top }) => Math.round(top))).size > 1;
    }));
}).map((cell) => cell.textContent)"""
#: The words of some elements that are on two lines, though they would fit into one.
TORN = """([selector, letters]) => [...document.querySelectorAll(selector)].flatMap((code) => {
  const range = document.createRange(), walker = document.createTreeWalker(code, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) texts.push(walker.currentNode);
  return texts.flatMap((text) => [...text.data.matchAll(/[^ ]+/g)].filter(({ index, 0: word }) => {
    range.setStart(text, index); range.setEnd(text, index + word.length);
    return word.length < letters && new Set([...range.getClientRects()].map(({ top }) => top)).size > 1;
  }).map(([word]) => word));
})"""
FOCUSABLE = "a[href], button, select, input, summary, canvas[tabindex], [tabindex='0']"


@pytest.fixture(scope="module")
def pages(tmp_path_factory, reproduced):
    """Kind → its file, of twenty patients who are labeled and three who are not."""
    root = tmp_path_factory.mktemp("pages")
    old, new = Study(root / "old", blobs(0, 40)), Study(root / "new", blobs(40, 6))
    labeled = [old.nnunet(), old.labels, *PATIENTS]
    commands = {
        "audit": labeled,
        "promise": labeled,
        "triage": [root / "promise", new.nnunet(), *PATIENTS, "--budget", "2"],
        "report": [*labeled, "--new", new.nnunet()],
        "view": [new.nnunet()],
        "calibrated": labeled,
        "watch": [root / "promise", new.nnunet(), *PATIENTS],
    }
    for kind, arguments in commands.items():
        verb = "calibrate" if kind == "calibrated" else kind
        assert main([verb, *map(str, arguments), "--output", str(root / kind)]) == 0
    run = write_run(root / "nacl", temperature=1.0)
    assert main(["page", str(run), "--output", str(root / "run")]) == 0
    written = {"run": root / "run/nacl.html", "paper": reproduced / "report.html"}
    return {kind: root / kind / "page.html" for kind in KINDS} | written


@pytest.fixture(params=KINDS)
def page(request, browser, pages):
    """One page of each kind."""
    shown = new_page(browser, viewport={"width": 1400, "height": 900})
    shown.goto(pages[request.param].as_uri())
    if shown.locator("#viewer").count():
        shown.wait_for_selector("body.seen")
    yield shown
    shown.close()


def walked(page, key, most):
    """The places of what has the focus, one after the other, until all have had it.

    Something with several parts has the focus several times in a row, and counts once.
    """
    page.evaluate(f"window.all = [...document.querySelectorAll({FOCUSABLE!r})]")
    places = []
    for _ in range(most):
        page.keyboard.press(key)
        place = page.evaluate("window.all.indexOf(document.activeElement)")
        if place < 0 or (place in places[:1] and place != places[-1]):  # or begins anew
            break
        places.append(place)
    return [place for place, _ in groupby(places)]


def test_tab_walks_through_the_whole_page_and_back(page):
    """Nothing keeps the focus, and nothing that can be used is left out."""
    shown = page.evaluate(
        f"""[...document.querySelectorAll({FOCUSABLE!r})].map((one) => one.checkVisibility())"""
    )
    reachable = [place for place, visible in enumerate(shown) if visible]
    assert walked(page, "Tab", 2 * len(shown)) == reachable
    page.evaluate("document.activeElement.blur()")
    assert sorted(walked(page, "Shift+Tab", 2 * len(shown))) == reachable


def test_headings_sort_by_enter_and_by_space(page):
    """Space does not scroll the page away."""
    headings = page.locator("thead th[tabindex]")
    for key in ("Enter", " ") if headings.count() else ():
        heading = headings.last
        heading.focus()
        before = page.evaluate("scrollY"), heading.get_attribute("aria-sort")
        page.keyboard.press(key)
        assert page.evaluate("scrollY") == before[0]
        assert heading.get_attribute("aria-sort") != before[1]


def test_paper_holds_the_last_column_of_every_table(page):
    """The text of the PDF has each of its cells, and no number is broken but in a long name."""
    pypdf = pytest.importorskip("pypdf")
    cells = page.evaluate(
        """[...document.querySelectorAll('tr')].filter((row) => row.checkVisibility())
            .map((row) => row.cells[row.cells.length - 1].textContent)"""
    )
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 690, "height": 1000})  # within the margins of A4
    first = page.locator("tbody th").all_text_contents()
    assert [cell for cell in page.evaluate(BROKEN) if cell not in first] == []
    assert page.evaluate(TORN, ["tbody th", 16]) == []
    reader = pypdf.PdfReader(io.BytesIO(page.pdf()))
    text = unicodedata.normalize("NFKC", "".join(each.extract_text() for each in reader.pages))
    printed = re.sub(r"\s", "", text)  # without ligatures
    assert cells or "view" in page.url
    assert [word for cell in cells for word in cell.split() if word not in printed] == []


def test_nothing_is_cut_off_on_a_phone(page):
    """A table may scroll within itself; a number, or a word of a command, is never broken."""
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate(BROKEN) == []
    assert page.evaluate(TORN, ["code", 30]) == []


def test_a_wide_screen_shows_all_columns(page):
    """A table that is wider than lines of text are goes beyond them, and takes nothing with it."""
    hidden = page.evaluate(
        """[...document.querySelectorAll(':not(details) > .wide')].filter((box) => {
          box.firstElementChild.style.width = '1100px';
          return box.scrollWidth > box.clientWidth;
        }).map((box) => box.textContent)"""
    )
    assert hidden == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 1400


def test_a_command_can_be_copied(page):
    """In a sentence as at the end: each is code, and one click selects it whole."""
    page.evaluate(
        "document.querySelectorAll('code, script, #viewer').forEach((part) => part.remove())"
    )
    assert "nacl-monai " not in page.locator("main").text_content()


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(page, scheme, width):
    """Names, roles, order, contrast, and what scrolls is reached by the keyboard."""
    axe = pytest.importorskip("axe_core_python.sync_playwright").Axe()
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    found = axe.run(page)["violations"]
    serious = {
        fault["id"]: [node["html"][:200] for node in fault["nodes"]]
        for fault in found
        if fault["impact"] in ("serious", "critical")
    }
    assert serious == {}
