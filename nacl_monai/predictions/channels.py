"""The meaning of the channels of probabilities: exclusive classes, or structures that overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from nacl_monai.data.formats import IGNORE, label_values, read_ignored
from nacl_monai.errors import InputError, SettingError
from nacl_monai.files import read_object
from nacl_monai.inference.maps import names_in
from nacl_monai.metrics.curves import curves_definition
from nacl_monai.predictions.options import SIGMOID, SOFTMAX
from nacl_monai.runs import check_class_names
from nacl_monai.words import counted

_ANOTHER = "give another with --dataset"


@dataclass(frozen=True)
class Channels:
    """Names of the channels in their order, and the values of label maps that belong to each.

    Attributes:
        activation: "softmax", of which one class is right, or "sigmoid", whose structures may overlap.
        values: Name → label values; for a softmax, background first.
        ignore: The label value of unlabeled voxels, or None.
        source: The source of this, for messages.
        scored: Names and label values of the structures that Dice is of; by default every class but the
            background.
        painted: The value with which a segmentation shows each structure that may overlap, later ones
            over earlier ones; empty if unknown.
    """

    activation: str
    values: Mapping[str, tuple[int, ...]]
    ignore: int | None = None
    source: str = ""
    scored: Mapping[str, tuple[int, ...]] | None = None
    painted: tuple[int, ...] = ()

    @classmethod
    def counted(cls, definition: Mapping[str, Any], source: str) -> Channels:
        """The channels in the definition of a promise's sums.

        Args:
            definition: From `definition`.
            source: The source of this, for messages.
        """
        values = {name: tuple(labels) for name, labels in definition["channels"].items()}
        activation, scored = definition["activation"], None
        if activation != SIGMOID:
            of_channels = [*values.values()]
            scored = {
                name: tuple(value for channel in channels for value in of_channels[channel])
                for name, channels in definition["structures"].items()
            }
        return cls(activation, values, definition["ignored"], source, scored)

    def definition(
        self,
        tool: str,
        calibrator: Sequence[str] = (),
        ensemble: Sequence[Any] = (),
        **identity: str | None,
    ) -> dict[str, Any]:
        """The definition of a promise's sums over these channels; see `curves_definition`."""
        return curves_definition(
            self.values,
            self.structures,
            self.activation,
            tool,
            calibrator,
            self.ignore,
            ensemble,
            **identity,
        )

    @property
    def overlapping(self) -> bool:
        """Whether each channel is a structure of its own."""
        return self.activation == SIGMOID

    @property
    def names(self) -> list[str]:
        """The names of the channels."""
        return list(self.values)

    def alike(self, other: Channels) -> bool:
        """Whether the channels of another mean the same, in the same order."""
        ours, theirs = ((side.activation, *side.values.items()) for side in (self, other))
        return ours == theirs

    @property
    def label_values(self) -> set[int]:
        """The label values of all channels."""
        return set[int]().union(*self.values.values())

    @property
    def structures(self) -> dict[str, tuple[int, ...]]:
        """The channels of each structure that Dice is of."""
        if self.scored is None:
            first = 0 if self.overlapping else 1
            return {name: (channel,) for channel, name in enumerate(self.names) if channel >= first}
        channel_of = {value: k for k, values in enumerate(self.values.values()) for value in values}
        return {
            name: tuple(channel_of[value] for value in values)
            for name, values in self.scored.items()
        }

    @property
    def label_names(self) -> dict[int, str]:
        """The name of every value of a label map; one of several structures has all their names.

        Example:
            >>> Channels("sigmoid", {"whole": (1, 2), "tail": (2,)}, ignore=3).label_names
            {0: 'background', 1: 'whole', 2: 'whole + tail', 3: 'ignore'}
        """
        names = {
            value: " + ".join(name for name, values in self.values.items() if value in values)
            for value in sorted({0} | self.label_values)
        }
        names[0] = names[0] or "background"
        return names if self.ignore is None else {**names, self.ignore: "ignore"}

    def describe(self) -> str:
        """The printed text: "3 classes by softmax (dataset.json)"."""
        number = len(self.values)
        classes = f"{number} {'class' if number == 1 else 'classes'}"
        several = counted(number, "overlapping structure") if self.overlapping else classes
        return f"{several} by {self.activation} ({self.source})"


def read_dataset_json(file: Path, activation: str | None = None) -> Channels:
    """Reads an nnU-Net ``dataset.json``: classes, or regions where a label is a list of several values.

    The Decathlon's form of ``labels``, from value to name, is read as well.

    Args:
        file: The file.
        activation: What the user says; must not contradict the file.

    Raises:
        InputError: If the file is damaged or names no labels, or exclusive classes lack the
            background.
        SettingError: If the activation contradicts it.
    """
    values, ignored = _labels(file)
    if _are_structures(file, values, activation):
        structures = {name: labels for name, labels in values.items() if labels != (0,)}
        order: Any = read_object(file, _ANOTHER).get("regions_class_order")
        known = isinstance(order, list) and all(type(value) is int for value in order)
        painted = tuple(order) if known and len(order) == len(structures) else ()
        return Channels(SIGMOID, structures, ignored, str(file), painted=painted)
    ordered = dict(sorted(values.items(), key=itemgetter(1)))
    if next(iter(ordered.values()), None) != (0,):
        raise InputError(
            f"{file}: labels: the smallest value must be 0, the background; correct it, or give another "
            "with --dataset"
        )
    return Channels(SOFTMAX, ordered, ignored, str(file))


def _labels(file: Path) -> tuple[dict[str, tuple[int, ...]], int | None]:
    """Name → label values, and the value to ignore, if there is one."""
    labels = read_object(file, _ANOTHER).get("labels")
    if not isinstance(labels, dict) or not labels:
        raise InputError(f"{file}: names no labels; give another with --dataset")
    found = label_values(file, labels).items()
    values = {name: tuple(several) for name, several in found if name != IGNORE}
    return values, read_ignored(file, labels)


def _are_structures(
    file: Path, values: Mapping[str, Sequence[int]], activation: str | None
) -> bool:
    """Whether labels are structures that may overlap: the user says so, or one has several values."""
    regions = any(len(labels) > 1 for labels in values.values())
    if regions and activation == SOFTMAX:
        raise SettingError(
            f"--activation: is softmax, but the labels of {file} are regions that overlap; leave it out"
        )
    return regions or activation == SIGMOID


def numbered(channels: int, activation: str | None, table: Path) -> Channels:
    """The channels where no ``dataset.json`` says what they are: label value k is channel k.

    Args:
        channels: How many there are.
        activation: What the user says.
        table: ``labels.txt``, as inference writes it beside its maps; it names them, if it is there.

    Raises:
        SettingError: If they are structures, whose labels cannot be known.
    """
    if activation == SIGMOID:
        raise SettingError(
            "--structures: is needed, since nothing says which labels the channels of a sigmoid stand "
            "for; write --structures NAME=1,2 NAME=2, one for each, or give --dataset dataset.json"
        )
    source = "the number of channels; name them with --dataset dataset.json"
    values = {name: (k,) for k, name in enumerate(numbered_names(channels))}
    if table.is_file():
        text = table.read_text(encoding="utf-8", errors="replace")
        named = {name: (k,) for k, name in names_in(text).items()}
        if sorted(named.values()) == [*values.values()]:
            source, values = str(table), named
    return Channels(SOFTMAX, values, source=source)


def numbered_names(channels: int) -> list[str]:
    """The names of unnamed classes."""
    return ["background", *(f"class_{k}" for k in range(1, channels))]


def with_structures(
    channels: Channels | None, assignments: Sequence[str], activation: str | None
) -> Channels:
    """Channels with the structures that a command names, ``NAME=1,2``.

    With a sigmoid, these are its channels; with a softmax, Dice is measured of them.

    Args:
        channels: From the dataset, if there is one.
        assignments: ``NAME=1,2``, from the command.
        activation: What the user says.

    Raises:
        SettingError: If one is not a structure, holds a value that no class has, or has the name of
            another; or if the channels are other regions in the dataset.
    """
    structures = dict(map(_structure, assignments))
    check_class_names(structures, "--structures")
    if len(structures) < len(assignments):
        raise SettingError("--structures: two have one name; give each a name of its own")
    ignore = channels.ignore if channels else None
    known = {0} | channels.label_values if channels else set[int]().union(*structures.values())
    for name, values in structures.items():
        unknown = sorted(set(values) - known)
        if unknown:
            raise SettingError(
                f"--structures {name}: {unknown[0]} is not a label value; choose from {sorted(known)}"
            )
    if activation == SIGMOID or (channels and channels.overlapping):
        _check_order(structures, channels)
        return Channels(SIGMOID, structures, ignore, "--structures")
    if channels is None:
        raise SettingError(
            "--structures: are unions of classes; say which with --dataset dataset.json, or that the "
            "channels are the structures, with --activation sigmoid"
        )
    return Channels(SOFTMAX, channels.values, ignore, channels.source, structures)


def _check_order(structures: Mapping[str, Sequence[int]], channels: Channels | None) -> None:
    """Refuses what contradicts the order of the channels in a dataset, whose names may be others.

    A dataset that knows no regions says the order where its labels are those of the structures.
    """
    if channels is None:
        return
    asked, known = ([*map(set, side.values())] for side in (structures, channels.values))
    same_sets = sorted(map(sorted, asked)) == sorted(map(sorted, known))
    has_regions = max(map(len, known)) > 1
    if asked != known and (same_sets or has_regions):
        assignments = (
            f"{name}={','.join(map(str, labels))}" for name, labels in channels.values.items()
        )
        raise SettingError(
            f"--structures: contradict {channels.source}, whose channels are {' '.join(assignments)} in "
            "this order; write them so, or leave it out"
        )


def _structure(word: str) -> tuple[str, tuple[int, ...]]:
    name, _, values = word.partition("=")
    if not name or not all(map(str.isdecimal, values.split(","))):
        raise SettingError(
            f"--structures: {word!r} is not a structure; write NAME=1,2 with its label values"
        )
    return name, tuple(sorted(set(map(int, values.split(",")))))
