"""README and site show what the project does; every page can be reached."""

import json
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
from nacl_monai.cli import main
from nacl_monai.menus import dataset_names, read_menu
from tests.predictions.conftest import Study, undrawn  # noqa: F401
from tests.promises.test_commands import blobs

ROOT = Path(__file__).parents[1]


README = (ROOT / "README.md").read_text(encoding="utf-8")


TRAIN = (ROOT / "docs/train.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("make_words", [train_words, evaluate_words, infer_words])
def test_commands(make_words, tmp_path):
    """The monai.bundle commands of the page are those of its make commands."""
    program = tmp_path / "nacl-monai"
    program.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    program.chmod(0o755)
    verb = make_words.__name__.removesuffix("_words")
    (variables,) = re.findall(rf"^make {verb} +(.*)$", TRAIN, re.MULTILINE)
    printed = subprocess.run(
        ["make", "--silent", "-o", ".venv/runtime", f"BIN={tmp_path}", verb, *variables.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    options, overrides = parser().parse_known_args(printed.splitlines())

    joined = TRAIN.replace("\\\n", " ")
    shown_there = re.findall(r"^python -m monai.bundle .*$", joined, re.MULTILINE)
    assert shlex.split(shown(make_words(options, overrides))) in [*map(shlex.split, shown_there)]


def test_commands_that_need_a_clone_say_so():
    """On their line, or in the sentence above: those of make, and those that name its folders."""
    blocks = re.findall(r"([^\n]+)\n\n```bash\n(.*?)```", README, re.DOTALL)
    lines = [
        (above, line) for above, text in blocks for line in text.replace("\\\n", " ").splitlines()
    ]
    cloned = [f"{above} {line}" for above, line in lines if re.search("make |bundles/", line)]

    assert cloned
    assert all("in a clone" in line.lower() for line in cloned)


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


DOCS = ROOT / "docs"


TUTORIALS = sorted((DOCS / "tutorials").glob("*.ipynb"))


PAGES = sorted(
    page.relative_to(DOCS).with_suffix("").as_posix()
    for pattern in ("*.md", "api/*.md", "datasets/*.md", "tutorials/*.ipynb")
    for page in DOCS.glob(pattern)
)


def linked():
    """The pages that a table of contents names."""
    for page in DOCS.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"```\{toctree\}\n(.*?)```", text, re.DOTALL):
            for line in block.splitlines():
                if line and not line.startswith(":"):
                    yield (page.parent / line).relative_to(DOCS).as_posix()


@pytest.mark.parametrize("page", [page for page in PAGES if page != "index"])
def test_page_is_in_the_table_of_contents(page):
    """Once; `make site` itself refuses one that is named and not there."""
    assert list(linked()).count(page) == 1


def test_page_links_no_page_that_the_site_lacks():
    """Of those outside ``docs/``, it includes the pages of the bundles alone."""
    text = "".join(page.read_text(encoding="utf-8") for page in DOCS.glob("*.md"))

    links = set(re.findall(r"\]\(\.\./([^)#]+\.md)", text))
    assert {
        link for link in links if not re.fullmatch(r"bundles/\w+/docs/README\.md", link)
    } == set()


@pytest.mark.parametrize("file", TUTORIALS, ids=lambda file: file.stem)
def test_tutorial_is_committed_with_its_outputs(file):
    """Cells were run in order, with pictures and without errors; `make site` runs them again."""
    cells = [
        cell
        for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
    ]
    outputs = [output for cell in cells for output in cell["outputs"]]

    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output["output_type"] == "error"]


@pytest.mark.parametrize("file", TUTORIALS, ids=lambda file: file.stem)
def test_tutorial_shows_no_path_of_the_machine_that_ran_it(file):
    """It runs in a folder of its own, and names files in it."""
    text = file.read_text(encoding="utf-8")
    printed = re.sub(r'"image/png": "[^"]*"', "", text)

    assert not re.findall(r"(?<![\w.}])/(?:[\w.-]+/)+[\w.-]+", printed)


def test_api_has_a_page_for_every_package_that_users_import():
    """Those with names to rely on; commands and what YAML calls have none."""
    pages = {page.stem for page in (DOCS / "api").glob("*.md")} - {"index"}
    packages = (
        "audits data evaluations losses metrics networks posthoc predictions promises raters reports "
        "training verbs"
    )

    assert pages == set(packages.split())


def test_readme_is_short():
    """At most 800 words; whatever is longer is on a page of its own."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 800


#: What README and the next lines call a folder or a file → where a reader has it.
PLACES = {
    "PREDICTIONS": "old/nnunet",
    "LABELS": "old/labels",
    "OTHER_PREDICTIONS": "others/nnunet",
    "OTHER_LABELS": "others/labels",
    "NEW": "new/nnunet",
    "promise.json": "promise/promise.json",
}


def followed(arguments, capsys):
    """Runs a command, and then each that it says is next, to the end; returns all of them."""
    placed = [PLACES.get(word, word) for word in arguments]
    capsys.readouterr()
    assert main(placed) == 0, placed
    printed = capsys.readouterr().out
    following = re.findall(r"^next: nacl-monai (.*)$", printed, re.MULTILINE)
    several = [followed(shlex.split(line), capsys) for line in following]
    return [placed, *(command for chain in several for command in chain)]


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_commands_lead_to_the_end(tmp_path, monkeypatch, capsys):
    """Those of README on predictions, and each next line, by 30 labeled people of nnU-Net and 10 new."""
    monkeypatch.chdir(tmp_path)
    for folder, first, cases in (("old", 0, 30), ("others", 100, 30), ("new", 200, 10)):
        volumes = enumerate(blobs(0, cases, seed=first).values(), first)
        study = Study(tmp_path / folder, {f"case_{k:03d}": pair for k, pair in volumes})
        assert study.nnunet() == tmp_path / folder / "nnunet"
        assert study.labels == tmp_path / folder / "labels"
    (tmp_path / "verdicts.csv").write_text("case,verdict\ncase_200,reject\n")
    lines = re.findall(r"nacl-monai ((?:report|audit|calibrate|promise|triage) [^`\n#]+)", README)
    ways = [followed(shlex.split(line), capsys) for line in lines]
    called = [command[0] for way in ways for command in way]

    assert {way[0][0] for way in ways} == {"report", "audit", "calibrate", "promise", "triage"}
    assert ["report", "report", "triage"] in [[command[0] for command in way] for way in ways]
    assert called.count("promise") > 2
    for place in ("report/page.html", "triage/page.html", "contours/promised.csv", "calibrated"):
        assert (tmp_path / place).exists()
