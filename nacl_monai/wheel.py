"""The files in a wheel beside the modules: the bundles, the MRI of the demo, the workflow.

They are inside the package in a wheel, and beside it in the project; ``setup.py`` copies them.
"""

from __future__ import annotations

from pathlib import Path

from nacl_monai.errors import InputError


def shipped(part: str) -> Path:
    """Returns where a file or folder of the project is, once the package is installed.

    Args:
        part: Its path in the project.

    Raises:
        InputError: If it is nowhere.

    Example:
        >>> shipped("bundles/common").name
        'common'
    """
    package = Path(__file__).parent
    places = (package / "shipped" / part, package.parent / part)
    for place in places:
        if place.exists():
            return place
    raise InputError(f"{places[0]}: is missing; install the package again")
