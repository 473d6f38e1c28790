"""JSON records that travel, such as ``promise.json``: a checksum, and what each key may hold.

The checksum is the SHA-256 of all other keys; it shows an edit. It is no signature, since whoever makes
a file can make its checksum. So a table says of each key what it may hold, and names that become parts
of files' names lead nowhere else. The reader and the JSON schema of a file are made from one table.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Condition:
    """What a value may be.

    Attributes:
        passes: Whether a value, as JSON holds it, is such.
        schema: As much of it as a JSON schema can say; it never refuses what passes.
    """

    passes: Callable[[Any], bool]
    schema: Mapping[str, Any]

    def __call__(self, value: Any) -> bool:
        """Whether it passes."""
        return self.passes(value)

    def __or__(self, other: Condition) -> Condition:
        schema = {"anyOf": [self.schema, other.schema]}
        return Condition(lambda value: self(value) or other(value), schema)

    def where(self, passes: Callable[[Any], bool]) -> Condition:
        """The same, but for what a rule refuses that no schema can say."""
        return Condition(lambda value: self(value) and passes(value), self.schema)


def own_checksum(record: Mapping[str, Any], key: str = CHECKSUM) -> str:
    """The SHA-256 of all keys but that of the checksum, as JSON with sorted keys."""
    rest = {name: value for name, value in record.items() if name != key}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def sealed_text(record: Mapping[str, Any], **form: Any) -> str:
    """A record with its checksum as JSON, in a form that `json.dumps` knows."""
    plain = json.loads(json.dumps(record))
    return json.dumps({**plain, CHECKSUM: own_checksum(plain)}, **form) + "\n"


def fault_in(
    record: Mapping[str, Any], table: Mapping[str, Condition], seal: str = CHECKSUM
) -> str:
    """The sign that a record is not as it was written; empty without one.

    Args:
        record: With a checksum if the table asks for it.
        table: What each key may hold; it may lack those that may be None.
        seal: The key of the checksum.

    Example:
        >>> fault_in({"level": 2, "known_by": "case"}, {"level": number(0, 1)})
        "its 'level' cannot be"
    """
    try:
        if fault := _fault_of_seal(record, table.get(seal, anything), seal):
            return fault
        wrong = next((key for key, may_be in table.items() if not may_be(record.get(key))), None)
    except RecursionError:
        return "it is nested too deeply"
    if (record.get("known_by") == BY_PATTERN) == (record.get("patient_pattern") is None):
        wrong = wrong or "patient_pattern"
    return f"its {wrong!r} cannot be" if wrong else ""


def _fault_of_seal(record: Mapping[str, Any], may_be: Condition, seal: str) -> str:
    if record.get(seal) is None:
        return "" if may_be(None) else "it has no checksum"
    return "" if record[seal] == own_checksum(record, seal) else "its checksum differs"


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


def schema_of(table: Mapping[str, Condition], needed: Collection[str] = ()) -> dict[str, Any]:
    """The JSON schema of a record as a table says: which keys it must have, and what each may hold.

    Args:
        table: As `fault_in` takes it.
        needed: More keys that must be there, though they may hold null.
    """
    required = [key for key, check in table.items() if key in needed or not check(None)]
    schemas = {key: check.schema for key, check in table.items()}
    return {"type": "object", "properties": schemas, "required": required}


def _is_pattern(value: str) -> bool:
    try:
        return re.compile(value).groups == 1
    except (re.error, OverflowError):
        return False


#: Any value.
anything = Condition(lambda _: True, {})
#: A text, such as a page has.
string = Condition(lambda value: isinstance(value, str), {"type": "string"})
#: A text that UTF-8 knows, and that changes no screen.
text = string.where(str.isprintable)
#: A text that may be a part of a file's name.
name = text.where(lambda value: not fault_of_name(value))
#: A regular expression with one group.
pattern = text.where(_is_pattern)
#: True or false.
boolean = Condition(lambda value: type(value) is bool, {"type": "boolean"})


def _finite(**limits: float) -> dict[str, float]:
    """The limits that a schema has."""
    return {key: limit for key, limit in limits.items() if math.isfinite(limit)}


def number(low: float = -math.inf, high: float = math.inf) -> Condition:
    """A finite number from ``low`` to ``high``, and no truth value."""
    least, most = max(low, -sys.float_info.max), min(high, sys.float_info.max)
    return Condition(
        lambda value: type(value) in (int, float) and least <= value <= most,
        {"type": "number", **_finite(minimum=low, maximum=high)},
    )


def whole(low: int = 0) -> Condition:
    """An integer that 64 bits hold."""
    return Condition(
        lambda value: type(value) is int and low <= value < 2**63,
        {"type": "integer", "minimum": low},
    )


def any_of(*values: Any) -> Condition:
    """One of some values."""
    return Condition(lambda value: type(value) is not bool and value in values, {"enum": [*values]})


def maybe(check: Condition) -> Condition:
    """None, or what a check lets pass."""
    return any_of(None) | check


def each(check: Condition, least: int = 0, most: float = math.inf) -> Condition:
    """A list, each part of which passes."""

    def passes(value: Any) -> bool:
        return isinstance(value, list) and least <= len(value) <= most and all(map(check, value))

    limits = _finite(minItems=least, maxItems=most)
    return Condition(passes, {"type": "array", "items": check.schema, **limits})


def mapped(check: Condition, key: Condition = text) -> Condition:
    """A mapping, each value of which passes, and each key."""

    def passes(value: Any) -> bool:
        return isinstance(value, dict) and all(map(key, value)) and all(map(check, value.values()))

    return Condition(passes, {"type": "object", "additionalProperties": check.schema})


def keyed(table: Mapping[str, Condition], needed: Collection[str] = ()) -> Condition:
    """A record as a table says; some keys must be there though they may hold None."""

    def passes(value: Any) -> bool:
        return isinstance(value, dict) and value.keys() >= {*needed} and not fault_in(value, table)

    return Condition(passes, schema_of(table, needed))


def _are_numbers(value: Any) -> bool:
    return number()(value) or (isinstance(value, list) and all(map(_are_numbers, value)))


#: A finite number, or a list of such, however deep.
numbers = Condition(_are_numbers, {"type": ["number", "array"]})
#: A number between 0 and 1, neither of these.
share = number(0, 1).where(lambda value: value not in (0, 1))
#: The size of a voxel along one to three axes.
SIZES = each(number(sys.float_info.min), 1, 3)
#: The least and the largest size of a voxel along each axis.
sizes = each(SIZES, 2, 2).where(lambda value: len(value[0]) == len(value[1]))


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
    "ensemble": maybe(each(text | whole(1), 2, 2)),
    **dict.fromkeys(IDENTITY, maybe(text)),
    "patient_pattern": maybe(pattern),
    "prediction_name": maybe(pattern),
    "shard": maybe(text.where(lambda value: bool(_SHARD.fullmatch(value)))),
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


def _has_channels(value: Mapping[str, Any]) -> bool:
    """Whether each structure is of channels that there are."""
    channels = {k for ks in value["structures"].values() for k in ks}
    return channels <= {*range(len(value["channels"]))}


#: The definition of what promises count, as in ``promise.json`` and ``promise.npz``.
definition = keyed(_COUNTED, IDENTITY).where(_has_channels)
#: That of islands, which says how large they are at least.
definition_of_islands = keyed(_COUNTED | {"minimum_mm3": number(0)}, IDENTITY).where(_has_channels)


_MEASURE: dict[str, Condition] = {
    "name": name,
    "formula": text,
    "phases": maybe(text),
    "level": share,
    "below": number(),
    "above": number(),
    "patients": whole(1),
    "undefined": whole(),
    "asymmetric": boolean,
}


def _has_values(value: Mapping[str, Any]) -> bool:
    """Whether a promise of a contour has a threshold for each margin, that of a number one value."""
    values = value["values"]
    if value["kind"] in CONTOURS:
        return len(values) == len(MARGINS) and 0 <= min(values) <= max(values) <= 2
    return len(values) == 1 and (value["kind"] == DICE or values[0] >= 0)


#: What ``promise.json`` holds.
PROMISE: dict[str, Condition] = {
    "apply": maybe(text),
    "definition": definition,
    "kept": each(keyed(_KEPT, ["size"]).where(_has_values), 1),
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
    "measures": maybe(each(keyed(_MEASURE, ["phases"]))),
    "cohort": mapped(mapped(each(number(), 1))),
    "images": maybe(mapped(mapped(each(number(), 1)))),
    "absent": mapped(each(number(0), 2, 2).where(lambda value: value[1] <= value[0])),
    CHECKSUM: text,
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
    if fault := fault_in(record, PROMISE):
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
