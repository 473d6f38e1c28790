"""Reading a pickle that may hold numbers, text and containers, and nothing that runs."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from nacl_monai.errors import InputError

# What NumPy's numbers and arrays are made by; everything else that a pickle might call is refused.
_HARMLESS = {
    ("collections", "OrderedDict"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *(
        (f"numpy.{core}.multiarray", name)
        for core in ("core", "_core")
        for name in ("scalar", "_reconstruct")
    ),
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def read_plain(file: Path) -> dict[str, Any]:
    """The dictionary in a pickle of numbers, text, lists, tuples, dictionaries and arrays of numbers.

    Raises:
        InputError: If it holds or asks for anything else, or is damaged.
    """
    try:
        with file.open("rb") as stream:
            content = _Reader(stream).load()
    except (pickle.UnpicklingError, EOFError, OSError, ValueError, TypeError) as error:
        cause = " ".join(str(error).split())
        raise InputError(
            f"{file}: is not a plain record of an image's geometry ({cause}) and is not loaded; predict "
            "the case again"
        ) from error
    except (AttributeError, ImportError, IndexError, KeyError, MemoryError) as error:
        raise InputError(f"{file}: is damaged; predict the case again") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: is not a record of an image's geometry; predict the case again")
    return content
