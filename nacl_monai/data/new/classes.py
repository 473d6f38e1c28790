"""Classes and structures, from the labels that a dataset describes or holds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from nacl_monai.data.cases import ReportFault
from nacl_monai.data.formats import Description
from nacl_monai.data.new.choice import Choice
from nacl_monai.data.new.survey import Survey
from nacl_monai.errors import InputError


def choose_classes(
    description: Description, found: Survey, report_fault: ReportFault
) -> list[Choice]:
    """A class for each value on disk, and a structure for each label.

    A region, which is a label of several values, is a structure of several classes. A value without a
    label of its own makes a class all the same, called ``value_N``.

    Args:
        description: Names the labels; if it does not, each value is a label.
        found: The values on disk.
        report_fault: Called where one of the two has what the other lacks.

    Raises:
        InputError: If two classes would have one name.
    """
    described = description.labels
    if described is not None:
        _compare(description, described, found, report_fault)
    labels = named_labels(description, found)
    values = sorted({*chain(*labels.values())})
    classes = _class_names(labels, values)
    _check_names(description.source, classes)
    values_of = ", ".join(map("{} {}".format, classes, [0, *values]))
    named = "" if described else "; nobody names them, so write their names here"
    overlap = ", which overlap" if len([*chain(*labels.values())]) > len(values) else ""
    return [
        Choice(
            f"The classes and their values on disk: {values_of}{named}",
            {"classes": classes, "label_values": [[value] for value in (0, *values)]},
        ),
        Choice(
            f"DSC and HD95 are of {', '.join(labels)}{overlap}",
            {"structures": {name: _indices(of, values) for name, of in labels.items()}},
        ),
        *_ignored(description.ignored),
    ]


def _ignored(value: int | None) -> list[Choice]:
    if value is None:
        return []
    why = f"Voxels of the value {value} are not labeled: no loss, metric or calibrator counts them"
    return [Choice(why, {"ignore_index": value})]


def named_labels(description: Description, found: Survey) -> dict[str, list[int]]:
    """The values of each label, under a name that the column of a table may have.

    Raises:
        InputError: If two names become one, or there is no label.
    """
    labels = description.labels
    if labels is None:
        values = sorted(found.holders.keys() - {0})
        if not values:
            raise InputError(
                f"{description.source.parent}: no label holds anything but 0; put label maps there"
            )
        return {f"class_{value}": [value] for value in values}
    words = [re.sub(r"\W+", "_", name).strip("_") for name in labels]
    _check_names(description.source, words)
    return dict(zip(words, labels.values(), strict=True))


def _class_names(labels: Mapping[str, Sequence[int]], values: Sequence[int]) -> list[str]:
    """A class is called as the label that has its value alone."""
    single = {of[0]: name for name, of in labels.items() if len(of) == 1}
    return ["background", *(single.get(value, f"value_{value}") for value in values)]


def _indices(values: Sequence[int], known: Sequence[int]) -> list[int]:
    """The classes of values; that of the background is 0."""
    return [known.index(value) + 1 for value in values]


def _compare(
    description: Description,
    labels: Mapping[str, Sequence[int]],
    found: Survey,
    report_fault: ReportFault,
) -> None:
    known = {*chain(*labels.values())}
    for value in sorted(found.holders.keys() - known - {0, description.ignored}):
        report_fault(
            InputError(
                f"{found.first_holder[value]}: holds the label value {value}, which "
                f"{description.source} lacks; correct one of both"
            )
        )
    for value in sorted(known - found.holders.keys()):
        report_fault(
            InputError(
                f"{description.source}: labels: no case holds the value {value}, of which nothing could "
                "be learned; take it out"
            )
        )


def _check_names(source: Path, names: Sequence[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1 or not name:
            raise InputError(
                f"{source}: labels: {times} are called {name!r}; give each a name of its own, of "
                "letters and digits"
            )
