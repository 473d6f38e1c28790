"""Bundles of networks that are trained here, for programs that serve them, in environments of their own.

`make test-hosts` makes the environments. All tests here are of minutes.
"""

import subprocess
import sys
from functools import cache
from typing import NamedTuple

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt

from tests.conftest import ROOT

#: They run in the environments of the hosts.
collect_ignore = ["deploy_app.py", "label_task.py"]
DATA = ROOT / "demo/Task04_Hippocampus"
SMALL = ["--networks::unet::channels", "[8, 16, 32]", "--networks::unet::strides", "[2, 2]"]
#: How each run is trained, and the calibrators that are fitted to it.
RUNS = {
    "slices": ([], ["signed_distance_all", "temperature_near"]),
    "patches": (["--dims", "3", "--patch", "[24, 32, 24]"], ["signed_distance_all"]),
}
#: Each bundle: its run, and what is behind its network.
BUNDLES = {
    "plain": ("slices", None),
    "distance": ("slices", "signed_distance_all"),
    "temperature": ("slices", "temperature_near"),
    "plain_3d": ("patches", None),
    "distance_3d": ("patches", "signed_distance_all"),
}
EACH = pytest.mark.parametrize("name", BUNDLES)


def pytest_collection_modifyitems(items):
    """Marks what is in this folder."""
    for item in items:
        if "hosts" in item.path.parts:
            item.add_marker(pytest.mark.nightly)


def run(*command, **options):
    """What a command prints; the test fails with it where the command does."""
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def python_of(host):
    """The interpreter of a host's environment."""
    python = ROOT / f".venv-{host}/bin/python"
    if not python.exists():
        pytest.skip(f"{python.parents[1]} is not there; make test-hosts installs it")
    return python


class Maps(NamedTuple):
    """What `monai.bundle run inference` saves of an image: ``(*spatial, C)`` and ``(*spatial)``."""

    probs: np.ndarray
    label: np.ndarray


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    """A volume whom no run was trained on, stored with other axes than the network has."""
    stored = nibabel.load(DATA / "imagesTr/hippocampus_003.nii.gz")
    file = tmp_path_factory.mktemp("studies") / "patient.nii.gz"
    nibabel.save(stored.as_reoriented(axcodes2ornt("PIL")), file)
    return file


@pytest.fixture(scope="session")
def bundle_of(tmp_path_factory):
    """Name → the folder of a bundle, of a run of a few epochs."""
    root = tmp_path_factory.mktemp("hosts")

    def command(*arguments):
        run(sys.executable, "-m", "nacl_monai", *arguments, cwd=ROOT)

    @cache
    def trained(kind):
        options, calibrators = RUNS[kind]
        cache_dir = ["--cache_dir", root / "cache"]
        training = [*SMALL, *options, *cache_dir, "--max_epochs", 2]
        command("train", "hippocampus", DATA, "--run", root / kind, *training)
        for name in calibrators:
            command(
                "calibrate", root / kind, "--dataset_dir", DATA, "--calibrator", name, *cache_dir
            )
        return root / kind

    @cache
    def export(name):
        kind, calibrator = BUNDLES[name]
        behind = [] if calibrator is None else ["--calibrator", calibrator]
        output = root / "dist" / name
        command("export", "hippocampus", "--run", trained(kind), "--output", output, *behind)
        return output

    return export


@pytest.fixture(scope="session")
def maps_of(bundle_of, image, tmp_path_factory):
    """Name → what a bundle says of the image by MONAI's own command; calibrated, or not."""

    @cache
    def infer(name, calibrated=True):
        bundle, output = bundle_of(name), tmp_path_factory.mktemp("maps")
        command_line = ["--config_file", bundle / "configs/inference.json", "--bundle_root", bundle]
        command_line += ["--images", image, "--output_dir", output, "--calibrated", calibrated]
        run(sys.executable, "-m", "monai.bundle", "run", "inference", *command_line)
        saved = {
            kind: nibabel.load(output / f"patient_{kind}.nii.gz").get_fdata()
            for kind in ("probabilities", "label")
        }
        return Maps(saved["probabilities"], saved["label"])

    return infer


@pytest.fixture(scope="session")
def check_probabilities(maps_of):
    """Compares a host with MONAI's command, to 1e-5; a calibrator that is left out would be seen."""

    def check(name, probs):
        expected = maps_of(name).probs
        np.testing.assert_allclose(np.moveaxis(probs, 0, -1), expected, rtol=0, atol=1e-5)
        if BUNDLES[name][1] is not None:
            assert np.abs(maps_of(name, calibrated=False).probs - expected).max() > 1e-3

    return check
