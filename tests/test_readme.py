"""What the README and the page on training show is what the project does."""

import re
import subprocess
from pathlib import Path

import pytest

from nacl_monai.menus import dataset_names, read_menu

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TRAIN = (ROOT / "docs/train.md").read_text(encoding="utf-8")
CHOICE = ["DATASET=acdc", "DATASET_DIR=/data/ACDC", "LOSS=nacl", "NETWORK=unet", "SEED=0", "ARGS="]


def words(text):
    """The words of shell commands, whatever their line breaks."""
    return text.replace("\\\n", " ").split()


@pytest.mark.parametrize("target", ["train", "evaluate", "infer"])
def test_commands(target):
    """The monai.bundle commands of the page are those that make prints and runs."""
    images = ["IMAGES=/data/new/patient.nii.gz"] if target == "infer" else []
    printed = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", target, *CHOICE, *images],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    command = printed[printed.index(".venv/bin/python -m monai.bundle run") :]

    assert " ".join(words(command)) in " ".join(words(TRAIN))


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
