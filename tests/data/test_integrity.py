"""A cached file that is damaged is noticed, and so is a change of the code that made it."""

import hashlib
import importlib
import inspect
import sys
from pathlib import Path

import pytest
from monai.transforms import Flip

from nacl_monai.data.volumes import append_checksum, is_whole, source_hash, transforms_hash
from nacl_monai.errors import InputError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(bytes(range(256)) * 5000)
    append_checksum(path)
    return path


def test_whole_file_is_whole(file, capsys):
    """Whatever its length; nothing is said."""
    short = file.with_name("b.npy")
    short.write_bytes(b"")
    append_checksum(short)

    assert is_whole(file)
    assert is_whole(short)
    assert capsys.readouterr().err == ""


def test_missing_file_is_no_damaged_one(tmp_path, capsys):
    """It is made without a word."""
    assert not is_whole(tmp_path / "a.npy")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("position", [0, 1_100_000, -9, -8, -1])
def test_changed_byte_is_noticed(file, capsys, position):
    """In the first or a later part, and in the checksum itself; one line names the file."""
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)

    assert not is_whole(file)
    assert capsys.readouterr().err == f"warning: {file}: is damaged, and made anew\n"


@pytest.mark.parametrize("size", [0, 3, 8, 1000, 1_280_007])
def test_missing_end_is_noticed(file, size):
    """Down to an empty file."""
    file.write_bytes(file.read_bytes()[:size])

    assert not is_whole(file)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of a user's own, with a class and a function; call it for its next version."""
    monkeypatch.syspath_prepend(tmp_path)
    versions = iter(range(9))

    def write():
        text = f"class Own:\n    pass\n\ndef scale(x):\n    return {next(versions)} * x\n"
        (tmp_path / "users_own.py").write_text(text)
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, "users_own", raising=False)
        return importlib.import_module("users_own")

    return write


class Holder:
    """Holds a function, as MONAI's `Lambdad` does."""

    def __init__(self, func):
        self.func = func


@pytest.mark.parametrize("make", [lambda own: [own.Own()], lambda own: [Holder(own.scale)]])
def test_source_of_a_users_module_counts(module, make):
    """That of a user's class, and that of a function that another class calls."""
    hashes = [source_hash(make(module())) for _ in range(2)]

    assert hashes[0] != hashes[1]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A user's package of these sources: its transform, after it is imported anew."""

    def write(**sources):
        folder = tmp_path / "users_package"
        folder.mkdir(exist_ok=True)
        for name, text in {"__init__": "", **sources}.items():
            (folder / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()
        for name in [name for name in sys.modules if name.startswith("users_package")]:
            monkeypatch.delitem(sys.modules, name)
        return importlib.import_module("users_package.steps").Step()

    return write


@pytest.mark.parametrize(
    "line",
    [
        "from users_package.helper import FACTOR",
        "from .helper import FACTOR",
        "from . import helper",
        "import users_package.helper",
        "def late():\n    from users_package import helper",
        "from .between import something",
    ],
)
def test_source_of_what_a_users_module_imports_counts(package, line):
    """However it is imported, and by whatever is between; what nobody imports does not count."""
    step = f"import numpy as np\n{line}\n\n\nclass Step:\n    pass\n"
    between = "from users_package.helper import FACTOR as something\nimport users_package.steps\n"
    sources = {"steps": step, "between": between, "helper": "FACTOR = 1\n", "other": "A = 1\n"}
    first = source_hash([package(**sources)])

    assert source_hash([package(**sources)]) == first
    assert source_hash([package(**{**sources, "other": "A = 2\n"})]) == first
    assert source_hash([package(**{**sources, "helper": "FACTOR = 2\n"})]) != first


def test_imports_of_installed_packages_are_not_followed():
    """MONAI's version tells what its modules import: only the module of the class itself is hashed."""
    file = Path(inspect.getsourcefile(Flip))

    assert source_hash(Flip) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_parameters_do_not_count():
    """They are in the pickled transforms; without a class or a function there is no source."""
    assert source_hash([1, "a"]) == source_hash([2])
    assert source_hash([Holder(len)]) == source_hash([Holder(abs)])


def test_step_without_a_name_is_refused():
    """Nobody could tell by a lambda whether a volume is of this one or of another."""
    with pytest.raises(
        InputError, match=r"^preprocessing: .*; name a function instead of a lambda$"
    ):
        transforms_hash([Holder(lambda image: 2 * image)])

    assert transforms_hash([Holder(len)]) != transforms_hash([Holder(abs)])
