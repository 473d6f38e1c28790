"""The wheel alone goes the whole way in an empty folder, with nothing of the project beside it."""

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.own_data import renamed_as_nnunet

PARTS = (
    "bundles",
    "nacl_monai",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "requirements.txt",
    "setup.py",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, since setuptools leaves its own folders behind."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copyfile
        copy(ROOT / part, source / part)
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_wheel_carries_the_bundles_and_the_license(wheel):
    """Every file of them."""
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [file for file in (ROOT / "bundles").rglob("*") if file.is_file()]

    for file in (*files, ROOT / "LICENSE"):
        assert f"nacl_monai/shipped/{file.relative_to(ROOT).as_posix()}" in names


@pytest.mark.slow
def test_own_data_go_the_whole_way_by_the_wheel(wheel, decathlon_phantom, tmp_path):
    """In an environment that has the other packages, but not this project."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    # As pip installs it; there may be no network, nor a pip in the new environment.
    words = ["install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    # Not by a .pth of its own, which would be followed to the project's.
    (site / "others.pth").write_text(
        f"import sys; sys.path.append({sysconfig.get_path('purelib')!r})\n"
    )
    data = renamed_as_nnunet(decathlon_phantom, tmp_path / "data")
    empty = tmp_path / "empty"
    empty.mkdir()

    def run(*words):
        command = [environment / "bin/python", "-m", "nacl_monai.cli", *words]
        done = subprocess.run(command, cwd=empty, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = "import nacl_monai; print(nacl_monai.__file__)"
    found = subprocess.run(
        [environment / "bin/python", "-c", where], cwd=empty, capture_output=True, text=True
    )
    assert Path(found.stdout.strip()).is_relative_to(site)

    assert "wrote bundles/mine" in run("new", "mine", data)
    assert "10 sound cases" in run("check", "mine", data, "--preprocess")
    assert f"{site}/nacl_monai/shipped/bundles/common/model.yaml" in run(
        *("train", "mine", data, "--loss", "nacl", "--max_epochs", "1")
    )
    assert "2 cases, mean over cases" in run("evaluate", "mine", data)
    run("infer", "mine", data / "imagesTr/hippocampus_000_0000.nii.gz")
    assert "wrote dist/mine_unet_nacl.zip" in run("export", "mine")
    assert (empty / "dist/mine_unet_nacl/LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
