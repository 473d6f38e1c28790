"""A page is a record, which programs read as JSON, and one template, which draws it and adds nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nacl_monai.files import record_text, write_text
from nacl_monai.inference.records import (
    Condition,
    anything,
    boolean,
    each,
    keyed,
    mapped,
    maybe,
    string,
    whole,
)
from nacl_monai.reports.style import page_template
from nacl_monai.reports.viewer import scripts

#: A page, and what it says.
PAGE, PAGE_RECORD = "page.html", "page.json"
_TEXTS = each(string)
_SECTION: dict[str, Condition] = {
    **dict.fromkeys(("title", "about", "whole"), string),
    **dict.fromkeys(("sentences", "notes", "pictures", "headings", "files"), _TEXTS),
    "rows": each(_TEXTS),
    "shown": maybe(whole()),
    "numbers": each(mapped(anything)),
    "viewer": boolean,
}
#: What a record of any page holds; each kind of page has more.
PAGES = _SECTION | {
    "sections": each(keyed(_SECTION, ["shown"])),
    "commands": mapped(string),
    "versions": mapped(string),
}


@dataclass(frozen=True)
class Section:
    """A part of a page: what it says, its pictures, one table, and the files behind it.

    Attributes:
        about: What it is about.
        sentences: Its answer.
        pictures: Caption → source.
        rows: Of the table, in text.
        shown: So many rows are on the page; by default all.
        whole: The file with all rows, if the page has fewer.
        notes: What the columns are, and what else one should know.
        files: Those behind it.
        numbers: Those behind the sentences, with intervals and units, for programs.
        viewer: Whether one scrolls through the cases here, in place of their pictures.
    """

    title: str = ""
    about: str = ""
    sentences: Sequence[str] = ()
    pictures: Mapping[str, str] = field(default_factory=dict)
    headings: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    shown: int | None = None
    whole: str = ""
    notes: Sequence[str] = ()
    files: Sequence[str] = ()
    numbers: Sequence[Mapping[Any, Any]] = ()
    viewer: bool = False

    @property
    def record(self) -> dict[str, Any]:
        """The section with the captions of its pictures alone."""
        return {**asdict(self), "pictures": [*self.pictures]}


def write_sections(
    file: Path,
    head: Section,
    sections: Sequence[Section],
    commands: Mapping[str, str],
    *,
    layers: Sequence[Mapping[str, Any] | None] = (),
    beside: str | None = PAGE_RECORD,
    **facts: Any,
) -> Path:
    """Writes a record, and the page that is drawn of it; returns the path of the page.

    Args:
        file: The page.
        head: How it begins.
        sections: What follows.
        commands: What a command is for → the command.
        layers: Of the cases that one scrolls through, from `nacl_monai.reports.viewer.viewed`.
        beside: The name of the record beside the page; None for a page alone.
        **facts: What else the record has, for programs.

    Raises:
        InputError: If they cannot be written.
    """
    records = [section.record for section in sections]
    text = record_text({**head.record, **facts, "sections": records, "commands": commands})
    if beside:
        write_text(file.with_name(beside), text)
    pictures = [[*section.pictures.values()] for section in (head, *sections)]
    drawn = page_template().render(
        page=json.loads(text), pictures=pictures, **scripts(layers, file)
    )
    return write_text(file, drawn + "\n")
