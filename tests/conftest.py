"""Datasets that many tests read: phantoms and, where they are at hand, real volumes.

What takes seconds to import, as phantoms and MONAI do, is imported where it is used.
"""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from nacl_monai.errors import InputError

pytest_plugins = ["tests.evaluated_runs"]

# How long an example takes says nothing about the code, but about what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
# A mutant is tested many times in one process, always with the same examples.
settings.register_profile(
    "mutants",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.differing_executors],
)

# What `make test ARGS=…` was given is not meant for the makes that the tests start.
for name in ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "ARGS"):
    os.environ.pop(name, None)

ROOT = Path(__file__).parents[1]
HIPPOCAMPUS = Path(
    os.environ.get("HIPPOCAMPUS_DIR", ROOT.parent / "shared" / "data" / "Task04_Hippocampus")
)


def flip_headers(file):
    """Writes a ZIP archive again and again, with one other bit flipped in a header of its first part."""
    content = file.read_bytes()
    for start in (0, content.index(b"PK\x01\x02")):
        for bit in range(8 * start, 8 * (start + 46)):
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            file.write_bytes(changed)
            yield


@pytest.fixture(autouse=True)
def _packages_of_networks(request):
    """A network whose package is not installed is not tested."""
    if "swin_unetr" in request.node.name:
        pytest.importorskip("einops")


@pytest.fixture(autouse=True)
def _mutants_are_not_scripted(request, monkeypatch):
    """TorchScript cannot read what mutmut puts around a function."""
    if request.config.getoption("hypothesis_profile", None) == "mutants":
        monkeypatch.setattr("torch.jit.script", lambda *_: pytest.skip("is scripted"))


@pytest.fixture(scope="session")
def phantom_of(tmp_path_factory):
    """Dataset's name → folder of its small phantom, written when first asked for; read only."""
    from nacl_monai.phantoms import PHANTOMS

    @cache
    def write(name):
        cases = {"hippocampus": 10, "mrbrains": 7}.get(name, 6)
        return PHANTOMS[name].write(tmp_path_factory.mktemp("phantoms") / name, cases=cases)

    return write


@pytest.fixture(scope="session")
def acdc_phantom(phantom_of):
    """Six patients in ACDC's official layout; read only."""
    return phantom_of("acdc")


@pytest.fixture
def acdc_copy(acdc_phantom, tmp_path):
    """The same, for a test that spoils it."""
    return Path(shutil.copytree(acdc_phantom, tmp_path / "acdc"))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB, where the tests may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="session")
def hippocampus_dir():
    """The 260 real volumes of the Decathlon's hippocampus task."""
    if not HIPPOCAMPUS.is_dir():
        pytest.skip("Task04_Hippocampus is not here; set HIPPOCAMPUS_DIR to test with it")
    return HIPPOCAMPUS


def nightly_but(kept, values):
    """Parameters of which all but these are the tenth of their kind, and tested nightly alone."""
    return [
        pytest.param(
            *(value if isinstance(value, tuple) else (value,)),
            marks=() if value in kept else pytest.mark.nightly,
        )
        for value in values
    ]


def refused(function, *arguments, **options):
    """The one line with which a call is refused."""
    with pytest.raises(InputError) as caught:
        function(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def save_nifti(voxels, path, affine=None):
    """Writes ``voxels`` as NIfTI with ``affine`` (default: the identity)."""
    import nibabel
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4) if affine is None else affine), path)


def forget_modules(*names):
    """What is imported by these names next is read anew; monkeypatch would bring the old ones back."""
    for name in [name for name in sys.modules if name.partition(".")[0] in names]:
        del sys.modules[name]


def change(file, function):
    """Rewrites the NIfTI ``file`` with ``function`` applied to its voxels."""
    import nibabel

    stored = nibabel.load(file)
    save_nifti(function(stored.get_fdata(dtype="float32")), Path(file), stored.affine)


def put(value):
    """A function for `change`: one voxel becomes ``value``."""

    def function(voxels):
        voxels[3, 4, 2] = value
        return voxels

    return function


@pytest.fixture(scope="session")
def decathlon_phantom(phantom_of):
    """Ten patients in the Decathlon's layout, with macOS's ._ files; read only."""
    return phantom_of("hippocampus")
