"""What cases are called that bring no name: by the files of their images, or by numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from nacl_monai.data.cases import names_by_path


def case_names(files: Sequence[str]) -> list[str]:
    """A name for each case, no two alike.

    A file gives its name without ending; if that is not enough to tell files apart, the folders above
    precede it. Cases of one file, such as its slices, are numbered, and so are those of none, by
    their position.

    Args:
        files: The images' files, in the order of the cases; "" where nobody knows.

    Example:
        >>> case_names(["a/t1.nii.gz", "b/t1.nii.gz", ""])
        ['a_t1', 'b_t1', '2']
        >>> case_names(["p1.nii.gz", "p1.nii.gz"])
        ['p1_0', 'p1_1']
    """
    width = len(str(len(files) - 1))
    names = [name or f"{k:0{width}}" for k, name in enumerate(names_by_path(files))]
    while len(set(names)) < len(names):
        names = _numbered(names)
    return names


def _numbered(names: Sequence[str]) -> list[str]:
    """Those that are there several times with a number behind them."""
    times, seen = Counter(names), Counter[str]()
    numbered = []
    for name in names:
        numbered.append(f"{name}_{seen[name]}" if times[name] > 1 else name)
        seen[name] += 1
    return numbered
