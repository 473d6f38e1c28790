"""Classes and structures, from the labels that a dataset describes or holds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

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
    labels = description.labels
    if labels is None:
        labels = {f"class_{value}": [value] for value in sorted(found.holders) if value != 0}
    else:
        _compare(description, labels, found, report_fault)
    labels = {_word(name): values for name, values in labels.items()}
    values = sorted({value for of in labels.values() for value in of})
    single = {of[0]: name for name, of in labels.items() if len(of) == 1}
    classes = ["background", *(single.get(value, f"value_{value}") for value in values)]
    _check_names(description, labels, classes)
    values_of = ", ".join(
        f"{name} {value}" for name, value in zip(classes, [0, *values], strict=True)
    )
    named = "" if description.labels else "; nobody names them, so write their names here"
    overlap = sum(map(len, labels.values())) > len(values)
    return [
        Choice(
            f"The classes and their values on disk: {values_of}{named}",
            {"classes": classes, "label_values": [[0], *([value] for value in values)]},
        ),
        Choice(
            f"DSC and HD95 are of {', '.join(labels)}{', which overlap' if overlap else ''}",
            {
                "structures": {
                    name: [values.index(v) + 1 for v in of] for name, of in labels.items()
                }
            },
        ),
    ]


def _compare(
    description: Description,
    labels: Mapping[str, Sequence[int]],
    found: Survey,
    report_fault: ReportFault,
) -> None:
    known = {value for values in labels.values() for value in values}
    for value in sorted(found.holders.keys() - known - {0}):
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


def _check_names(
    description: Description, labels: Mapping[str, Sequence[int]], classes: Sequence[str]
) -> None:
    written = [_word(name) for name in description.labels or labels]
    for names in (written, classes):
        for name, times in Counter(names).items():
            if times > 1 or not name:
                raise InputError(
                    f"{description.source}: labels: {times} are called {name!r}; give each a name "
                    "of its own, of letters and digits"
                )


def _word(name: str) -> str:
    """A label's name as the column of a table may be called."""
    return re.sub(r"\W+", "_", name).strip("_")
