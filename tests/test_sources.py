"""Modules are found without being imported, and the user's own are told from installed ones."""

import sys
from pathlib import Path

import monai.networks.nets.unet
import pytest

from nacl_monai.sources import imported_names, is_users, source_file, source_files


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Writes modules of the user's, which would end the process if they were imported."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(**files):
        for name, text in files.items():
            file = (tmp_path / name.replace("__in__", "/")).with_suffix(".py")
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"{text}\nraise SystemExit('imported')\n")
        return tmp_path

    return write


def test_file_of_a_module_is_found_without_import(mine):
    """Nor that of the package it is in."""
    folder = mine(package__in____init__="", package__in__nets="", single="")

    assert source_file("single") == str(folder / "single.py")
    assert source_file("package.nets") == str(folder / "package/nets.py")
    assert source_file("package") == str(folder / "package/__init__.py")
    assert not {"single", "package", "package.nets"} & sys.modules.keys()


@pytest.mark.parametrize(
    "name", ["", ".", "..a", "missing", "missing.a", "single.Net", "package.Net", "sys", "a b"]
)
def test_what_is_no_module_in_python_has_no_file(mine, name):
    """A class, a module in C, or nothing at all."""
    mine(single="", package__in____init__="")

    assert source_file(name) is None
    assert not is_users(name)


def test_installed_modules_and_those_of_this_package_are_not_the_user_s(mine):
    """Their versions tell what they are."""
    mine(single="", package__in____init__="", package__in__nets="")

    assert all(map(is_users, ("single", "package", "package.nets")))
    assert not any(map(is_users, ("json", "monai.networks.nets.unet", "nacl_monai.sources")))


def test_imports_of_the_user_s_modules_are_followed_and_of_no_others(mine):
    """Each file once, whoever imports it, with its module's name."""
    folder = mine(
        net="import numpy\nfrom parts import Block\nimport shared",
        parts="import shared, net\nclass Block: pass",
        shared="def later():\n    from deep.inner import value",
        deep__in____init__="",
        deep__in__inner="from . import beside",
        deep__in__beside="value = 1",
        stranger="",
    )
    names = {"net", "parts", "shared", "deep", "deep.inner", "deep.beside"}
    found = source_files(["net"])

    assert {*found.values()} == names
    assert found[str(folder / "deep/beside.py")] == "deep.beside"
    unet = str(Path(monai.networks.nets.unet.__file__))
    assert source_files(["monai.networks.nets.unet"]) == {unet: "monai.networks.nets.unet"}


def test_imports_of_any_form_are_named_and_relative_ones_by_their_package():
    """Without a package, relative ones are left out."""
    source = "import a.b as c, d\ndef f():\n    from e import g\nfrom . import h\nfrom ..i import j"
    names = {"a.b", "d", "e", "e.g"}

    assert imported_names(source) == names
    of_package = {"p.q", "p.q.h", "p.i", "p.i.j"}
    assert imported_names(source.encode(), "p.q") == names | of_package
