"""What the demo trains on: data that are there, and each word once."""

from pathlib import Path

import pytest

from nacl_monai.demo import DATASET, plan, planning
from nacl_monai.errors import InputError, SettingError


def test_images_come_with_the_project():
    """Those of both sides of 36 people, each with its label and under a license of their own."""
    folder = plan().folder
    images = {file.name for file in (folder / "imagesTr").iterdir()}

    assert len(images) == 72
    assert images == {file.name for file in (folder / "labelsTr").iterdir()}
    note = (folder.parent / "README.md").read_text(encoding="utf-8")
    assert "https://creativecommons.org/licenses/by-sa/4.0/" in note


def test_acdc_is_a_phantom_unless_there_are_data(tmp_path):
    """The settings are those of ACDC for both."""
    made, real = plan("acdc"), plan("acdc", tmp_path)

    assert (made.phantom, real.phantom) == (True, False)
    assert made.training == real.training
    assert made.training[-2:] == ["--spatial_size", "[96, 96]"]


def test_split_of_36_people_is_for_them_alone(tmp_path):
    """Own data in the same layout have as many people as they have."""
    assert "--split_proportions" in plan().training
    assert "--split_proportions" not in plan(DATASET, tmp_path).training


def test_given_size_takes_the_place_of_the_phantoms():
    """It is a word like any other."""
    assert (
        plan("acdc", overrides=["--spatial_size", "[64, 64]"]).training.count("--spatial_size") == 1
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--loss", "@losses::mbls"],
        ["--loss=@losses::mbls"],
        ["--network_def", "x"],
        ["--output_dir=x"],
    ],
)
def test_word_that_the_demo_decides_is_refused(words):
    """Another loss would be shown under the names CE+DSC and NACL."""
    with pytest.raises(SettingError, match=r"is not for the demo to be told .*; leave it out"):
        plan(overrides=words)


@pytest.mark.parametrize("words", [["--max_epochs", "1"], ["--max_epochs=1"]])
def test_given_word_takes_the_place_of_the_usual_one(words):
    """No option may be given twice; all others stay."""
    training = plan(overrides=words).training

    assert [word for word in training if word.startswith("--max_epochs")] == words[:1]
    assert "24" not in training
    assert training[-len(words) :] == words
    assert training[training.index("--batch_size") + 1] == "8"


@pytest.mark.parametrize(
    ("dataset", "folder", "line"),
    [
        ("hipocampus", None, "hipocampus: no such dataset; choose from: acdc, "),
        ("kits", None, "kits: comes without data; name their folder: --dataset_dir DIR"),
        ("kits", Path("nowhere"), "nowhere: no such folder; name that of the unpacked download"),
    ],
)
def test_without_data_is_one_line(dataset, folder, line):
    """Before anything is done."""
    with pytest.raises(InputError) as refused:
        plan(dataset, folder)

    assert str(refused.value).startswith(line)


def test_missing_images_are_named(monkeypatch):
    """As of a package whose data somebody removed."""
    monkeypatch.setattr(planning, "_FOLDER", "demo/gone")
    with pytest.raises(InputError, match=r"demo/gone: is missing; install"):
        plan()
