"""The pages are two templates and one style sheet."""

import re
from pathlib import Path

import jinja2
import pytest

import nacl_monai.reports
from nacl_monai.reports.style import page_template

PACKAGES = ("nacl_monai.reports", "nacl_monai.paper")
FOLDER = Path(nacl_monai.reports.__file__).parent
STYLE = (FOLDER / "page.css").read_text(encoding="utf-8").strip()


def sheet(package):
    """The style of a package's page, as it is rendered, and as its template has it."""
    text = Path(page_template(package).filename).read_text(encoding="utf-8")
    own = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    return page_template(package).environment.from_string(own).render(), own


@pytest.mark.parametrize("package", PACKAGES)
def test_both_pages_have_the_shared_style(package):
    """And no line of it twice."""
    rendered, own = sheet(package)

    assert STYLE in rendered
    assert not {line for line in own.splitlines() if line.strip()} & set(STYLE.splitlines())


def test_values_are_escaped_and_must_be_there():
    """Names are those of folders and files of others."""
    environment = page_template().environment

    assert environment.from_string("{{ a }}").render(a="<b>") == "&lt;b&gt;"
    with pytest.raises(jinja2.UndefinedError):
        environment.from_string("{{ a }}").render()


def test_templates_and_style_are_part_of_an_installation():
    """What the pages need is in the wheel."""
    root = FOLDER.parents[1]
    listed = (root / "pyproject.toml").read_text(encoding="utf-8")
    files = [*FOLDER.parent.rglob("*.j2"), *FOLDER.parent.rglob("*.css")]

    assert len(files) == 3
    for file in files:
        assert f'"{file.relative_to(FOLDER.parent)}"' in listed
