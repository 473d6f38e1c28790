"""What the README and the page on training show is what the project does."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from nacl_monai.bundles.__main__ import (
    evaluate_words,
    infer_words,
    parser,
    shown,
    train_words,
)
from nacl_monai.menus import dataset_names, read_menu

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TRAIN = (ROOT / "docs/train.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("make_words", [train_words, evaluate_words, infer_words])
def test_commands(make_words):
    """The monai.bundle commands of the page are those of its make commands."""
    verb = make_words.__name__.removesuffix("_words")
    (given,) = re.findall(rf"^make {verb} +(.*)$", TRAIN, re.MULTILINE)
    printed = subprocess.run(
        ["make", "-n", "--silent", "-o", ".venv/runtime", verb, *given.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    options, others = parser().parse_known_args(shlex.split(printed)[1:])

    joined = TRAIN.replace("\\\n", " ")
    shown_there = re.findall(r"^python -m monai.bundle .*$", joined, re.MULTILINE)
    assert shlex.split(shown(make_words(options, others))) in [*map(shlex.split, shown_there)]


@pytest.mark.parametrize(
    "link", sorted(set(re.findall(r"\]\(((?!https?:)[^)#]+)\)", README))), ids=lambda link: link
)
def test_links(link):
    """Every file that the README links is there."""
    assert (ROOT / link).exists()


@pytest.mark.parametrize(
    ("variable", "known"),
    [
        ("DATASET", dataset_names(ROOT / "bundles")),
        ("LOSS", read_menu("losses", ROOT / "bundles")),
        ("NETWORK", read_menu("networks", ROOT / "bundles")),
    ],
)
def test_every_name_that_the_page_offers_can_be_chosen(variable, known):
    """What is in the row of ``LOSS=`` is in the menu of losses, and so on."""
    row = TRAIN.split(f"| `{variable}=` |")[1].splitlines()[0]
    offered = re.findall(r"`(\w+)`", row)

    assert offered
    assert set(offered) <= set(known)
