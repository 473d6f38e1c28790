"""What the README shows is what the project does."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHOICE = ["DATASET=acdc", "DATASET_DIR=/data/ACDC", "LOSS=nacl", "NETWORK=unet", "SEED=0"]


def words(text):
    """The words of shell commands, whatever their line breaks."""
    return text.replace("\\\n", " ").split()


@pytest.mark.parametrize("target", ["train", "evaluate", "infer"])
def test_commands(target):
    """The README's monai.bundle commands are those that make prints and runs."""
    images = ["IMAGES=/data/new/patient.nii.gz"] if target == "infer" else []
    printed = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", target, *CHOICE, *images],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    command = printed[printed.index(".venv/bin/python -m monai.bundle run") :]

    assert " ".join(words(command)) in " ".join(words(README))


@pytest.mark.parametrize(
    "link", sorted(set(re.findall(r"\]\(((?!https?:)[^)#]+)\)", README))), ids=lambda link: link
)
def test_links(link):
    """Every file that the README links is there."""
    assert (ROOT / link).exists()


def test_menus():
    """Every dataset, loss and network that can be chosen is named."""
    for file, menu in (("train", "losses"), ("model", "networks")):
        text = (ROOT / f"bundles/common/{file}.yaml").read_text(encoding="utf-8")
        section = text.split(f"\n{menu}:\n")[1].split("\n\n")[0]
        for name in re.findall(r"^  (\w+):", section, flags=re.MULTILINE):
            assert f"`{name}`" in README
    for folder in (ROOT / "bundles").glob("*/configs"):
        assert f"`{folder.parent.name}`" in README
