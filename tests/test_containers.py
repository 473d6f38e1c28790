"""Docker and Apptainer get the same: base, files, installation, environment."""

import os
import re
import shlex
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

from nacl_monai.audits.__main__ import _parser as audit_parser
from tests.conftest import ROOT

HOME = "/opt/nacl_monai"


def docker():
    """The instructions of the Dockerfile: (name, words)."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def apptainer():
    """The header of apptainer.def, and its sections: name → lines."""
    text = (ROOT / "apptainer.def").read_text(encoding="utf-8")
    lines = [line.strip() for line in text.splitlines() if line and not line.startswith("#")]
    sections, name = {"": []}, ""
    for line in lines:
        if line.startswith("%"):
            name = line[1:]
            sections[name] = []
        else:
            sections[name].append(line)
    return sections


def instructions(name):
    return [text for instruction, text in docker() if instruction == name]


def copied_by_docker():
    """Source → place."""
    copied = {}
    for text in instructions("COPY"):
        *sources, place = text.split()
        for source in sources:
            path = Path(HOME, place, source) if place.endswith("/") else Path(HOME, place)
            copied[source] = path.as_posix()
    return copied


def installation():
    """The lines that install, as they are in both."""
    return [line for line in instructions("RUN") if "pip" in line]


def test_base_is_the_same_and_of_the_python_that_the_versions_are_of():
    """No tag that moves to another Python."""
    (base,) = instructions("FROM")

    assert apptainer()[""] == ["Bootstrap: docker", f"From: {base}"]
    tested = re.search(r"on Python (3\.\d+)", (ROOT / "constraints.txt").read_text())[1]
    assert base.startswith(f"python:{tested}-")


def test_files_are_the_same_and_are_there():
    """What Docker is not to see would be missing in its image."""
    copied = copied_by_docker()

    assert copied == dict(line.split() for line in apptainer()["files"])
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{name}" for name in copied} == {line for line in ignored if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)


def test_installation_is_the_same_and_pinned():
    """By constraints.txt."""
    assert apptainer()["post"] == [f"cd {HOME}", *installation()]
    assert all("--constraint constraints.txt" in line for line in installation())


def test_environment_and_command_are_the_same():
    """Whatever follows the image's name is a word of nacl-monai."""
    assert [f"export {text}" for text in instructions("ENV")] == apptainer()["environment"]
    assert instructions("ENTRYPOINT") == ['["nacl-monai"]']
    assert apptainer()["runscript"] == ['exec nacl-monai "$@"']


def test_user_has_no_rights():
    """It is made before it is taken, and nothing is run by root behind it."""
    names = [name for name, _ in docker()]
    (user,) = instructions("USER")

    assert f"useradd --create-home {user}" in instructions("RUN")
    assert user not in ("root", "0")
    assert "RUN" not in names[names.index("USER") :]


def test_documented_line_audits_the_mounted_folder():
    """It is a command that the audit understands, in the folder that is mounted."""
    page = (ROOT / "docs/containers.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = re.findall(r"^docker run .* nacl-monai audit .*$", page, re.MULTILINE)
    args = shlex.split(line)
    options, command = args[: args.index("nacl-monai")], args[args.index("nacl-monai") + 1 :]

    assert options[options.index("--volume") + 1] == "$PWD:/work"
    assert options[options.index("--workdir") + 1] == "/work"
    understood = audit_parser().parse_args(command)
    assert [folder.is_absolute() for folder in understood.folders] == [False, False]


@pytest.mark.nightly
def test_installation_gives_the_command(tmp_path):
    """In a fresh environment, from the files of the image alone; other packages are those at hand."""
    source = tmp_path / "source"
    source.mkdir()
    for name in copied_by_docker():
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, source / name)
    venv.create(tmp_path / "venv", with_pip=False)
    programs = tmp_path / "venv/bin"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")}))
    (site / "others.pth").write_text(
        f"import sys; sys.path.append({sysconfig.get_path('purelib')!r})\n"
    )
    at_hand = {"PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    environment = {**os.environ, **at_hand, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    for line in installation():
        subprocess.run(line, shell=True, cwd=source, env=environment, check=True)

    found = subprocess.run(
        [
            programs / "nacl-monai",
            "check",
            "hippocampus",
            source / "demo/Task04_Hippocampus",
            "--subset",
        ],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert "72 sound cases" in found.stdout, found.stderr
