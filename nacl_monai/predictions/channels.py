"""What the channels of probabilities mean: exclusive classes, or structures that overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nacl_monai.errors import InputError, SettingError
from nacl_monai.files import read_object

SOFTMAX, SIGMOID = ACTIVATIONS = ("softmax", "sigmoid")


@dataclass(frozen=True)
class Channels:
    """Names of the channels in their order, and the values of label maps that belong to each.

    Attributes:
        activation: "softmax", of which one class is right, or "sigmoid", whose structures may overlap.
        values: Name → label values; of a softmax, background first.
        ignore: The label value of voxels that nobody has labeled, or None.
        source: What says so.
        scored: Names and label values of the structures that Dice is of; by default every class but the
            background.
    """

    activation: str
    values: Mapping[str, tuple[int, ...]]
    ignore: int | None = None
    source: str = ""
    scored: Mapping[str, tuple[int, ...]] | None = None

    @property
    def overlapping(self) -> bool:
        """Whether each channel is a structure of its own."""
        return self.activation == SIGMOID

    @property
    def names(self) -> list[str]:
        """The names of the channels."""
        return list(self.values)

    @property
    def structures(self) -> dict[str, tuple[int, ...]]:
        """The channels of each structure that Dice is of."""
        names = self.names
        if self.overlapping:
            return {name: (channel,) for channel, name in enumerate(names)}
        if self.scored is None:
            return {name: (channel,) for channel, name in enumerate(names) if channel}
        channel_of = {value: k for k, of in enumerate(self.values.values()) for value in of}
        return {
            name: tuple(channel_of[value] for value in values)
            for name, values in self.scored.items()
        }

    def describe(self) -> str:
        """What is printed: "3 classes by softmax (dataset.json)"."""
        kind = "overlapping structures" if self.overlapping else "classes"
        return f"{len(self.values)} {kind} by {self.activation} ({self.source})"


def read_dataset(file: Path, activation: str | None = None) -> Channels:
    """Reads an nnU-Net ``dataset.json``: classes, or regions where a label is a list of several values.

    The Decathlon's form of ``labels``, from value to name, is read as well.

    Args:
        file: The file.
        activation: What the user says; must not contradict the file.

    Raises:
        InputError: If the file is damaged or names no labels.
        SettingError: If the activation contradicts it.
    """
    labels = read_object(file, "give another with --dataset").get("labels")
    if not isinstance(labels, dict) or not labels:
        raise InputError(f"{file}: names no labels; give another with --dataset")
    try:
        if all(str(key).isdecimal() for key in labels):
            labels = {str(name): int(value) for value, name in labels.items()}
        ignore = labels.pop("ignore", None)
        values = {str(name): _values(value) for name, value in labels.items()}
        ignore = None if ignore is None else int(ignore)
    except (TypeError, ValueError) as error:
        raise InputError(f"{file}: holds labels that are no numbers; correct it") from error
    regions = any(len(value) > 1 for value in values.values())
    if regions and activation == SOFTMAX:
        raise SettingError(
            f"--activation: is softmax, but the labels of {file} are regions that overlap; leave it out"
        )
    if regions or activation == SIGMOID:
        structures = {name: value for name, value in values.items() if set(value) != {0}}
        return Channels(SIGMOID, structures, ignore, str(file))
    ordered = dict(sorted(values.items(), key=lambda item: item[1]))
    return Channels(SOFTMAX, ordered, ignore, str(file))


def _values(value: Any) -> tuple[int, ...]:
    return tuple(sorted({int(one) for one in (value if isinstance(value, list) else [value])}))


def numbered(channels: int, activation: str | None, names: Sequence[str] | None = None) -> Channels:
    """The channels where no file names them: label value k is channel k.

    Args:
        channels: How many there are.
        activation: What the user says.
        names: Of the classes, if known.

    Raises:
        SettingError: If they are structures, whose labels nobody can know.
    """
    if activation == SIGMOID:
        raise SettingError(
            "--structures: is needed, since nothing says which labels the channels of a sigmoid stand "
            "for; write --structures NAME=1,2 NAME=2, one for each, or give --dataset dataset.json"
        )
    named = names or ["background", *(f"class_{k}" for k in range(1, channels))]
    source = "the number of channels; name them with --dataset dataset.json"
    return Channels(SOFTMAX, {name: (k,) for k, name in enumerate(named)}, source=source)


def with_structures(
    channels: Channels | None, words: Sequence[str], activation: str | None
) -> Channels:
    """Channels with the structures that a command names, ``NAME=1,2``.

    Of a sigmoid these are its channels; of a softmax, what Dice is of.

    Args:
        channels: From the dataset, if there is one.
        words: Of the command.
        activation: What the user says.

    Raises:
        SettingError: If a word is no structure, or holds a value that no class has.
    """
    structures = dict(_structure(word) for word in words)
    ignore = channels.ignore if channels else None
    if activation == SIGMOID or (channels and channels.overlapping):
        return Channels(SIGMOID, structures, ignore, "--structures")
    if channels is None:
        raise SettingError(
            "--structures: are unions of classes; say which with --dataset dataset.json, or that the "
            "channels are the structures, with --activation sigmoid"
        )
    known = {value for values in channels.values.values() for value in values}
    for name, values in structures.items():
        unknown = sorted(set(values) - known)
        if unknown:
            raise SettingError(
                f"--structures {name}: {unknown[0]} is no label value; choose from {sorted(known)}"
            )
    return Channels(SOFTMAX, channels.values, ignore, channels.source, structures)


def _structure(word: str) -> tuple[str, tuple[int, ...]]:
    name, _, values = word.partition("=")
    try:
        return name, _values(values.split(","))
    except ValueError as error:
        raise SettingError(
            f"--structures: {word!r} is no structure; write NAME=1,2 with its label values"
        ) from error
