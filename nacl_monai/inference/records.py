"""JSON records that travel, such as ``promise.json``: a checksum, and what each key may hold.

The checksum is the SHA-256 of all other keys; it shows an edit. It is no signature, since whoever makes
a file can make its checksum. So a table says of each key what it may hold, and names that become parts
of files' names lead nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

Condition = Callable[[Any], bool]
CHECKSUM = "checksum"
#: Distances to the predicted structure in mm; the last holds every voxel.
MARGINS = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0, math.inf)
#: Within how many mm of a prediction a voxel is near it by default.
MARGIN = 3.0
#: How patients were known: as the dataset's cases say, by a table, by a pattern of names; not at all, so
#: that each case counts as one; or as each being a patient's only case.
WAYS = BY_DATASET, BY_TABLE, BY_PATTERN, BY_CASE, ONE_EACH = (
    "dataset",
    "table",
    "pattern",
    "case",
    "cases",
)
EACH, MEAN, MOST = CONTROLS = ("each", "mean", "most")
THRESHOLD, MARGIN_ONLY, WITHIN = FAMILIES = ("threshold", "margin", "within")
OUTER, INNER = CONTOURS = ("outer", "inner")
VOLUME, DICE = NUMBERS = ("volume", "dice")
#: What is promised of every structure.
KINDS = (*CONTOURS, *NUMBERS)
#: The statistics by which a case is recognized under every name.
FINGERPRINT = ("expected Dice", "volume")
#: Whose predictions they are, which part of them, and how their patients are known.
IDENTITY = ("weights", "split", "run", "shard", "known_by", "patient_pattern")
# Windows keeps these names for devices, whatever their ending and case.
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])\s*(\..*)?", re.IGNORECASE)

# Two names and what is written between and around them are one name of a file, at most 255 bytes.
_LONGEST = 110
# Which part of a study, by the checksum of all its names.
_SHARD = re.compile(r"[1-9]\d*/[1-9]\d*( of [0-9a-f]+)?")


def own_checksum(record: Mapping[str, Any]) -> str:
    """The SHA-256 of all keys but ``checksum``, as JSON with sorted keys."""
    rest = {key: value for key, value in record.items() if key != CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def fault_in(record: Mapping[str, Any], table: Mapping[str, Condition]) -> str:
    """The sign that a record is not as it was written; empty without one.

    Args:
        record: With or without a checksum, as earlier versions wrote it.
        table: What each key may hold; it may lack those that may be None.

    Example:
        >>> fault_in({"level": 2, "known_by": "case"}, {"level": number(0, 1)})
        "its 'level' cannot be"
    """
    try:
        if CHECKSUM in record and record[CHECKSUM] != own_checksum(record):
            return "its checksum differs"
        wrong = next((key for key, may_be in table.items() if not may_be(record.get(key))), None)
    except RecursionError:
        return "it is nested too deeply"
    if (record.get("known_by") == BY_PATTERN) == (record.get("patient_pattern") is None):
        wrong = wrong or "patient_pattern"
    return f"its {wrong!r} cannot be" if wrong else ""


def fault_of_name(name: str) -> str:
    """The reason why no file can have the name of a case or a structure; empty without one.

    Example:
        >>> fault_of_name("left ventricle"), fault_of_name("x/../label"), fault_of_name("nul")
        ('', 'leads to another folder', 'is a device of Windows')
    """
    if name in ("", ".", "..") or re.search(r"[/\\]", name):
        return "leads to another folder"
    if not name.isprintable():
        return "has an invisible character"
    if name != name.strip():
        return "begins or ends with a blank"
    if len(name.encode()) > _LONGEST:
        return f"has more than {_LONGEST} bytes"
    return "is a device of Windows" if _DEVICES.fullmatch(name) else ""


def patient_of(case: str, pattern: str | None) -> str | None:
    """The patient whom a pattern's group finds in the name of a case; None where it fits nothing."""
    match = None if pattern is None else re.search(pattern, case)
    return match[1] if match else None


def alias(case: str, expression: str | None) -> list[str]:
    """The name that a case had by another ``--prediction-name``, where that fits."""
    match = None if expression is None else re.fullmatch(expression, case)
    return [match[1]] if match and match[1] is not None else []


def text(value: Any) -> bool:
    """A text that UTF-8 knows, and that changes no screen."""
    return isinstance(value, str) and value.isprintable()


def name(value: Any) -> bool:
    """A text that may be a part of a file's name."""
    return text(value) and not fault_of_name(value)


def pattern(value: Any) -> bool:
    """A regular expression with one group."""
    try:
        return text(value) and re.compile(value).groups == 1
    except (re.error, OverflowError):
        return False


def numbers(value: Any) -> bool:
    """A finite number, or a list of such, however deep."""
    return each(numbers)(value) or number()(value)


def number(low: float = -math.inf, high: float = math.inf) -> Condition:
    """A finite number from ``low`` to ``high``, and no truth value."""
    low, high = max(low, -sys.float_info.max), min(high, sys.float_info.max)
    return lambda value: type(value) in (int, float) and low <= value <= high


def share(value: Any) -> bool:
    """A number between 0 and 1, neither of these."""
    return number(0, 1)(value) and value not in (0, 1)


def whole(low: int = 0) -> Condition:
    """An integer that 64 bits hold."""
    return lambda value: type(value) is int and low <= value < 2**63


def any_of(*values: Any) -> Condition:
    """One of some values."""
    return lambda value: type(value) is not bool and value in values


def maybe(check: Condition) -> Condition:
    """None, or what a check lets pass."""
    return lambda value: value is None or check(value)


def each(check: Condition, least: int = 0, most: float = math.inf) -> Condition:
    """A list, each part of which passes."""

    def passes(value: Any) -> bool:
        return isinstance(value, list) and least <= len(value) <= most and all(map(check, value))

    return passes


def mapped(check: Condition, key: Condition = text) -> Condition:
    """A mapping, each value of which passes, and each key."""

    def passes(value: Any) -> bool:
        return isinstance(value, dict) and all(map(key, value)) and all(map(check, value.values()))

    return passes


def keyed(table: Mapping[str, Condition]) -> Condition:
    """A record as a table says."""
    return lambda value: isinstance(value, dict) and not fault_in(value, table)


#: The size of a voxel along one to three axes.
SIZES = each(number(sys.float_info.min), 1, 3)


def sizes(value: Any) -> bool:
    """The least and the largest size of a voxel along each axis."""
    return each(SIZES, 2, 2)(value) and len(value[0]) == len(value[1])


_COUNTED: dict[str, Condition] = {
    "logits": each(number(), 3, 3),
    "margins": each(any_of(*MARGINS[:-1], "all"), len(MARGINS), len(MARGINS)),
    "channels": mapped(each(whole(-(2**62)))),
    "structures": mapped(each(whole(), 1), key=name),
    "activation": any_of("softmax", "sigmoid"),
    "tool": text,
    "calibrator": each(text, 0, 2),
    "ignored": maybe(whole(-(2**62))),
    "anonymous": maybe(text),
    "ensemble": maybe(each(lambda value: text(value) or whole(1)(value), 2, 2)),
    **dict.fromkeys(IDENTITY, maybe(text)),
    "patient_pattern": maybe(pattern),
    "prediction_name": maybe(pattern),
    "shard": maybe(lambda value: text(value) and bool(_SHARD.fullmatch(value))),
}
_KEPT: dict[str, Condition] = {
    "structure": name,
    "kind": any_of(*KINDS),
    "level": share,
    "miss": maybe(share),
    "family": any_of(*FAMILIES),
    "margin": any_of(*MARGINS[:-1], "all"),
    "values": each(number(-1), 1),
    "patients": whole(1),
    "lacking": whole(),
    **dict.fromkeys(("size", "size_low", "size_high"), maybe(number())),
}
_BESIDE = dict.fromkeys(("structure", "kind", "family"), text) | dict.fromkeys(
    ("risk", "low", "high"), maybe(number(0, 1))
)
_BESIDE |= dict.fromkeys(("size", "size_low", "size_high"), maybe(number()))
_BESIDE |= {"level": share, "miss": maybe(share)}


def definition(value: Any) -> bool:
    """The definition of what promises count, as in ``promise.json`` and ``promise.npz``."""
    if not keyed(_COUNTED)(value) or not value.keys() >= {*IDENTITY}:
        return False
    return {k for ks in value["structures"].values() for k in ks} <= {
        *range(len(value["channels"]))
    }


_MEASURE: dict[str, Condition] = {
    "name": name,
    "formula": text,
    "phases": maybe(text),
    "level": share,
    "below": number(),
    "above": number(),
    "patients": whole(1),
    "undefined": whole(),
    "asymmetric": lambda value: type(value) is bool,
}


def _promised(value: Any) -> bool:
    """One promise: a contour has a threshold for each margin, a number has one value."""
    if not keyed(_KEPT)(value):
        return False
    values = value["values"]
    if value["kind"] in CONTOURS:
        return len(values) == len(MARGINS) and 0 <= min(values) <= max(values) <= 2
    return len(values) == 1 and (value["kind"] == DICE or values[0] >= 0)


_PROMISE: dict[str, Condition] = {
    "definition": definition,
    "kept": each(_promised, 1),
    "control": any_of(*CONTROLS),
    "confidence": share,
    "patients": each(text, 1),
    "cases": each(name, 1),
    "spacing": sizes,
    "known_by": any_of(*WAYS),
    "patient_pattern": maybe(pattern),
    "beside": each(keyed(_BESIDE)),
    "sums": maybe(text),
    "group": maybe(text),
    "measures": maybe(each(keyed(_MEASURE))),
    "cohort": mapped(mapped(each(number(), 1))),
    "images": maybe(mapped(mapped(each(number(), 1)))),
    "absent": mapped(lambda value: each(number(0), 2, 2)(value) and value[1] <= value[0]),
}


def of_least(kept: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The promises of the smallest level, of contours that may miss the least."""
    level = min(promise["level"] for promise in kept)
    least = min(promise.get("miss") or 1 for promise in kept)
    return [
        promise
        for promise in kept
        if promise["level"] == level and promise.get("miss") in (None, least)
    ]


def fault_in_promise(record: Mapping[str, Any]) -> str:
    """`fault_in` for ``promise.json``."""
    if CHECKSUM not in record:
        return "it has no checksum"
    if fault := fault_in(record, _PROMISE):
        return fault
    structures = record["definition"]["structures"].keys()
    promised = {kept["structure"] for kept in record["kept"]}
    if not promised <= structures == record["absent"].keys():
        return "its structures differ"
    for key, names in (("cohort", "patients"), ("images", "cases")):
        if not _is_table(record.get(key) or {}, structures, len(record[names])):
            return f"its {key!r} cannot be"
    return ""


def _is_table(table: Mapping[str, Any], structures: Collection[str], length: int) -> bool:
    """Whether a table, if any, has the same statistics of each structure, and a value of all."""
    rows = [*table.values()]
    return not rows or (
        table.keys() == structures
        and all(row.keys() == rows[0].keys() >= {*FINGERPRINT} for row in rows)
        and {len(values) for row in rows for values in row.values()} == {length}
    )
