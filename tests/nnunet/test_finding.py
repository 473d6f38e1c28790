"""Names of the trainers, and the folder where nnU-Net finds them; neither needs nnU-Net."""

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import nacl_monai
from nacl_monai.errors import InputError
from nacl_monai.nnunet import finding
from nacl_monai.nnunet.__main__ import main
from nacl_monai.nnunet.finding import LOWEST_VERSION, TRAINERS, check_installed, trainers_folder
from nacl_monai.paper.grid import MAIN_LOSSES


@pytest.fixture
def installed(monkeypatch):
    """Pretends that a version of nnU-Net is installed, or none."""

    def pretend(number):
        def version(name):
            assert name == "nnunetv2"
            if number is None:
                raise PackageNotFoundError(name)
            return number

        monkeypatch.setattr(finding, "version", version)

    return pretend


def test_every_loss_of_the_paper_has_a_trainer_with_and_without_dice():
    """CE+DSC of the menu is the one with cross-entropy and Dice."""
    mixed = {"nacl_mixed", "nacl_mixed_dice"}
    assert {loss for loss, _ in TRAINERS.values()} - mixed == set(MAIN_LOSSES) - {"dice_ce"}
    for name, (loss, with_dice) in TRAINERS.items():
        assert name.startswith("nnUNetTrainerDice") == with_dice
        alone = TRAINERS[name.replace("TrainerDice", "Trainer")]
        assert alone == (loss.removesuffix("_dice"), False)


def test_the_folder_is_that_of_the_extension(installed, capsys):
    """It is absolute, nnU-Net's finder sees one module in it, and the command prints it alone."""
    installed("2.8.1")
    folder = trainers_folder()
    assert main([]) == 0
    assert capsys.readouterr().out == f"{folder}\n"

    assert folder == Path(nacl_monai.__file__).resolve().parent / "nnunet" / "extension"
    assert [file.name for file in folder.glob("[!_]*.py")] == ["nacl_monai_trainers.py"]


@pytest.mark.parametrize(
    ("number", "fine"), [("2.8", True), ("2.10.0", True), ("3.0.1", True), ("2.7.9", False)]
)
def test_a_version_that_does_not_look_elsewhere_is_refused(installed, number, fine):
    """Versions are numbers, not text: 2.10 is above 2.8."""
    installed(number)

    if fine:
        check_installed()
    else:
        with pytest.raises(InputError, match=r"^nnunetv2: is 2\.7\.9, .*'nnunetv2>=2\.8'$"):
            check_installed()


def test_the_lowest_version_is_that_of_the_extra():
    """pyproject.toml and the check agree."""
    (needed,) = [
        requirement
        for requirement in map(Requirement, requires("nacl-monai"))
        if requirement.name == "nnunetv2"
    ]

    assert str(needed.specifier) == ">=" + ".".join(map(str, LOWEST_VERSION))
    assert needed.marker.evaluate({"extra": "nnunet"})
    assert not needed.marker.evaluate({"extra": "dev"})


def test_a_folder_that_the_variable_cannot_name_is_refused(installed, monkeypatch):
    """nnU-Net splits it where it separates folders."""
    installed("2.8.1")
    monkeypatch.setattr(finding, "__file__", f"/a{os.pathsep}b/nnunet/finding.py")

    with pytest.raises(InputError, match=rf"has '{os.pathsep}' in its name"):
        trainers_folder()


def test_an_error_is_one_line_and_nothing_for_the_variable(installed, capsys):
    """It goes to the other stream."""
    installed(None)

    assert main([]) == 1
    line = "error: nnunetv2: is not installed here; pip install 'nnunetv2>=2.8'\n"
    assert capsys.readouterr() == ("", line)


def test_the_command_imports_neither_torch_nor_nnunet():
    """A shell that starts waits for it."""
    code = (
        "import sys; from nacl_monai.nnunet.__main__ import main; main([]); "
        "sys.exit(any(name in sys.modules for name in ['torch', 'monai', 'nnunetv2']))"
    )

    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
