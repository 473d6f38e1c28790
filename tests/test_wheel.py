"""The wheel alone goes the whole way in an empty folder, with nothing of the project beside it."""

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from nacl_monai import read_audit
from nacl_monai import wheel as module
from nacl_monai.errors import InputError
from nacl_monai.wheel import shipped
from tests.conftest import ROOT
from tests.own_data import renamed_as_nnunet

PARTS = (
    "bundles",
    "demo",
    "nacl_monai",
    "workflow",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "requirements.txt",
    "setup.py",
)


def test_missing_part_is_one_line():
    """Where somebody removed it from the package."""
    with pytest.raises(InputError, match=r"shipped/workflow/gone: is missing; install the package"):
        shipped("workflow/gone")


@pytest.mark.parametrize("places", [["package/shipped/x", "x"], ["x"]])
def test_part_is_inside_of_the_package_or_beside_it(places, monkeypatch, tmp_path):
    """Inside first."""
    for place in places:
        (tmp_path / place).mkdir(parents=True)
    monkeypatch.setattr(module, "__file__", str(tmp_path / "package/wheel.py"))

    assert shipped("x") == tmp_path / places[0]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, since setuptools leaves its own folders behind."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copyfile
        copy(ROOT / part, source / part)
    args = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source]
    subprocess.run([sys.executable, "-m", "pip", *args], check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def programs(wheel, tmp_path_factory):
    """The programs of an environment that has the other packages, but not this project."""
    environment = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(environment, with_pip=False)
    # There may be no network, nor a pip in the new environment.
    args = ["install", "--quiet", "--no-deps", "--no-index", wheel]
    pip = [sys.executable, "-m", "pip", "--python", environment / "bin/python"]
    subprocess.run([*pip, *args], check=True)
    # Not by a .pth of its own, which would be followed to the project's.
    site = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    (site / "others.pth").write_text(
        f"import sys; sys.path.append({sysconfig.get_path('purelib')!r})\n"
    )
    return environment / "bin"


@pytest.fixture
def run(programs, tmp_path):
    """Runs the command in an empty folder; returns what it printed."""
    empty = tmp_path / "empty"
    empty.mkdir()

    def run(*args):
        command = [programs / "nacl-monai", *args]
        done = subprocess.run(command, cwd=empty, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.folder = empty
    return run


@pytest.mark.nightly
def test_wheel_carries_bundles_demo_workflow_and_licenses(wheel):
    """Every file of them; the images of the demo have a license of their own."""
    archive = zipfile.ZipFile(wheel)
    files = [
        file
        for folder in ("bundles", "demo", "workflow")
        for file in (ROOT / folder).rglob("*")
        if file.is_file()
    ]
    shipped = {
        name.removeprefix("nacl_monai/shipped/")
        for name in archive.namelist()
        if name.startswith("nacl_monai/shipped/")
    }
    metadata = next(name for name in archive.namelist() if name.endswith("/METADATA"))

    assert shipped == {file.relative_to(ROOT).as_posix() for file in (*files, ROOT / "LICENSE")}
    assert (
        "License-Expression: Apache-2.0 AND BSD-2-Clause AND CC-BY-SA-4.0"
        in archive.read(metadata).decode()
    )
    assert metadata.replace("METADATA", "licenses/demo/README.md") in archive.namelist()
    niivue = "nacl_monai/reports/niivue/LICENSE"
    assert {niivue, metadata.replace("METADATA", f"licenses/{niivue}")} <= {*archive.namelist()}
    assert (
        archive.read(niivue.replace("LICENSE", "niivue.umd.js"))
        == (ROOT / "nacl_monai/reports/niivue/niivue.umd.js").read_bytes()
    )


@pytest.mark.nightly
def test_demo_of_the_wheel_ends_with_the_table_and_pictures(run):
    """In an empty folder, with one epoch; its numbers mean nothing."""
    printed = run("demo", "--max_epochs", "1")

    assert re.search(r"^ +CE\+DSC +CE\+DSC, temperature +NACL$", printed, re.MULTILINE)
    for row in ("DSC ↑", "ECE near the prediction ↓", "5% contour, misses"):
        assert re.search(rf"^{re.escape(row)}.*(\*?0\.\d+.*){{3}}$", printed, re.MULTILINE)
    demo = run.folder / "runs/demo/hippocampus"
    assert {file.name for file in demo.glob("comparison/*.png")} == {"maps.png", "reliability.png"}
    assert (demo / "promise/contours.png").is_file()


@pytest.mark.nightly
def test_quick_demo_of_the_wheel_mends_a_trained_network(run):
    """Without a training: calibrated probabilities are nearer to the truth, and a promise is made."""
    run("demo", "--quick")

    quick = run.folder / "runs/demo/quick"
    before, after = (
        read_audit(quick / name / "bins.npz") for name in ("audit", "audit_calibrated")
    )
    assert after.ece("near") < before.ece("near") / 2
    assert (quick / "audit/page.html").is_file()
    assert (quick / "promise/promise.json").is_file()


@pytest.mark.nightly
def test_own_data_go_the_whole_way_by_the_wheel(run, programs, decathlon_phantom, tmp_path):
    """From a folder of images to an export."""
    data = renamed_as_nnunet(decathlon_phantom, tmp_path / "data")
    where = [programs / "python", "-c", "import nacl_monai; print(nacl_monai.__path__[0])"]
    package = subprocess.run(where, cwd=run.folder, capture_output=True, text=True).stdout.strip()
    assert Path(package).is_relative_to(programs.parent)

    assert "wrote bundles/mine" in run("new", "mine", data)
    assert "10 sound cases" in run("check", "mine", data, "--preprocess")
    assert f"{package}/shipped/bundles/common/model.yaml" in run(
        *("train", "mine", data, "--loss", "nacl", "--max_epochs", "1")
    )
    assert "2 cases, mean over cases" in run("evaluate", "mine", data)
    run("infer", "mine", data / "imagesTr/hippocampus_000_0000.nii.gz")
    assert "wrote dist/mine_unet_nacl.zip" in run("export", "mine")
    licensed = run.folder / "dist/mine_unet_nacl/LICENSE"
    assert licensed.read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.nightly
@pytest.mark.skipif(find_spec("snakemake") is None, reason="needs the extra 'reproduce'")
def test_grid_is_planned_by_the_wheel_in_an_empty_folder(run, programs):
    """With the workflow that it carries; all that is written belongs there, the commands are its own."""
    printed = run("reproduce", "table4", "--profile", "smoke", "--dry-run", "--printshellcmds")

    trained = re.findall(r"^ *(\S*)/nacl-monai train (\w+) \S+ --run (\S+)", printed, re.MULTILINE)
    assert {(run.folder / folder).resolve() for folder, _, _ in trained} == {programs.resolve()}
    assert {dataset for _, dataset, _ in trained} == {"acdc"}
    assert all(place.startswith("runs/smoke/") for _, _, place in trained)
    assert not (run.folder / "runs").exists()


def resolved(wheel, python, *requirements, constraints=None):
    """The versions that are chosen for a Python, which need not be here: name → version."""
    uv = shutil.which("uv", path=Path(sys.executable).parent)
    if uv is None:
        pytest.skip("needs uv")
    args = ["pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python-version", python]
    args += [] if constraints is None else ["--constraint", constraints]
    asked = "\n".join([f"nacl-monai @ {wheel.as_uri()}", *requirements])
    done = subprocess.run([uv, *args, "-"], input=asked, capture_output=True, text=True)
    if re.search("Failed to fetch|error sending request|dns error", done.stderr):
        pytest.skip("needs a package index")
    assert done.returncode == 0, done.stderr
    return dict(re.findall(r"^([\w.-]+)==(\S+)", done.stdout, re.MULTILINE))


@pytest.mark.nightly
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("beside", ["nnunetv2>=2.8", "totalsegmentator", "monai[all]"])
def test_wheel_fits_beside_other_tools(wheel, python, beside):
    """The resolver finds versions of everything for every Python; nothing is installed."""
    versions = resolved(wheel, python, beside)

    assert re.match(r"[\w]+", beside)[0] in versions
    assert {"monai", "torch"} <= set(versions)


@pytest.mark.nightly
def test_constraints_are_a_solution(wheel):
    """On the Python of the container; pip freezes no setuptools, and torch asks for its NVIDIA's."""
    file = ROOT / "constraints.txt"
    versions = resolved(wheel, "3.11", constraints=file)
    written = dict(re.findall(r"^([\w.-]+)==(\S+)", file.read_text(), re.MULTILINE))
    written = {name.lower().replace("_", "-"): version for name, version in written.items()}

    chosen = {name: version for name, version in versions.items() if name in written}
    assert chosen == {name: written[name] for name in chosen}
    assert {"monai", "torch", "numpy"} <= set(chosen)
    further = [name for name in versions if name not in written]
    assert [name for name in further if not re.match("nvidia|cuda|triton|setuptools$", name)] == []
