"""The package ``scripts`` of a bundle: the code that its inference calls, copied out of this package.

Nothing of it is imported here, since MONAI takes seconds.
"""

from __future__ import annotations

import re
from pathlib import Path

from nacl_monai import inference
from nacl_monai.files import write_text

#: The package of a bundle in which the code travels that its inference calls.
SCRIPTS = "scripts"
# They need no other module of this package; `inference` is a package, whose modules import each other.
_MODULES = (
    "nacl_monai.bundles.command_line",
    "nacl_monai.bundles.overrides",
    "nacl_monai.training.definitions",
    "nacl_monai.training.hints",
    "nacl_monai.bundles.error_lines",
    "nacl_monai.errors",
    "nacl_monai.words",
)


def write_scripts(folder: str | Path) -> None:
    """Writes the package ``scripts``, which inference needs, into ``folder`` of a bundle."""
    scripts = Path(folder) / SCRIPTS
    for file in Path(inference.__path__[0]).glob("*.py"):
        write_text(scripts / _stem(inference.__name__) / file.name, scripted(_text(file)))
    write_text(scripts / "__init__.py", '"""What the configurations of this bundle call."""\n')
    for name in _MODULES:
        file = Path(__file__).parents[2] / f"{name.replace('.', '/')}.py"
        write_text(scripts / f"{_stem(name)}.py", scripted(_text(file)))


def scripted(text: str) -> str:
    """``text`` with the names of modules in a bundle in place of those in this package."""
    for name in (inference.__name__, *_MODULES):
        text = re.sub(rf"\b{re.escape(name)}\b", f"{SCRIPTS}.{_stem(name)}", text)
    return text


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def _stem(name: str) -> str:
    return name.rpartition(".")[2]
