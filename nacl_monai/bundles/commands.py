"""``nacl-monai train | evaluate | infer``: the words of ``monai.bundle run`` by the names of bundles.

They say what make says, without make: which fragments, which entry of a menu, and the folder of the run.
Everything else is a word of the configuration, ``--key value``, and is checked as such.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nacl_monai.errors import SettingError
from nacl_monai.menus import fragments, read_dataset
from nacl_monai.runs import RunFolder, RunName, short_name

NETWORK, LOSS, SEED = "unet", "nacl", 0


def train_words(options: argparse.Namespace, others: Sequence[str]) -> list[str]:
    """The words of a training, behind ``run``.

    Args:
        options: As `add_words` declares them for ``train``.
        others: Further words, which set keys of the configuration.

    Raises:
        InputError: If there is no such dataset.
    """
    return [
        *("training", *_config(options, "train"), *_data(options)),
        *("--output_dir", _text(run_folder(options)), "--seed", str(options.seed)),
        *("--network_def", chosen("networks", options.network or NETWORK)),
        *("--loss", chosen("losses", options.loss or LOSS), *_dims(options), *_fold(options)),
        *others,
    ]


def evaluate_words(options: argparse.Namespace, others: Sequence[str]) -> list[str]:
    """The words of an evaluation, behind ``run``; see `train_words`.

    Raises:
        InputError: If there is no such dataset.
    """
    return [
        *("evaluating", *_config(options, "evaluate"), *_data(options)),
        *("--output_dir", _text(run_folder(options)), *_network(options), *_dims(options)),
        *(*_fold(options), *others),
    ]


def infer_words(options: argparse.Namespace, others: Sequence[str]) -> list[str]:
    """The words of an inference, behind ``run``; see `train_words`.

    Raises:
        InputError: If there is no such dataset.
    """
    run = run_folder(options)
    places = ("--checkpoint", RunFolder(run).model, "--output_dir", run / "predictions")
    return [
        *("inference", *_config(options, "inference"), "--images", _text(options.images)),
        *(*_network(options), *_dims(options), *replaced([*map(_text, places)], others)),
    ]


def replaced(usual: Sequence[str], given: Sequence[str]) -> list[str]:
    """The usual words but for those that are given, and the given ones: none may be there twice.

    Example:
        >>> replaced(["--max_epochs", "10", "--seed", "0"], ["--max_epochs=2"])
        ['--seed', '0', '--max_epochs=2']
    """
    keys = {word.partition("=")[0] for word in given}
    pairs = zip(usual[::2], usual[1::2], strict=True)
    return [*(word for pair in pairs if pair[0] not in keys for word in pair), *given]


def add_words(command: argparse.ArgumentParser, place: str, purpose: str) -> None:
    """Declares the options of a command.

    Args:
        command: Its parser.
        place: What follows the dataset: ``directory`` or ``images``.
        purpose: What that is.
    """
    command.register("action", None, _Once)
    command.add_argument("dataset", help="a folder of the bundles, such as one of your own")
    command.add_argument(place, help=purpose)
    command.add_argument(
        "--network", metavar="NAME", help=f"or my_package.MyNet; default: {NETWORK}"
    )
    command.add_argument("--loss", metavar="NAME", help=f"or my_package.MyLoss; default: {LOSS}")
    command.add_argument("--seed", type=int, default=SEED, metavar="N", help=f"default: {SEED}")
    command.add_argument(
        "--dims", type=int, metavar="N", help="3: of patches; default: 2, of slices"
    )
    command.add_argument("--fold", type=int, metavar="K", help="of a cross-validation, from 0")
    command.add_argument(
        "--run",
        type=Path,
        metavar="DIR",
        help="its folder (default: runs/DATASET/NETWORK[3d]_LOSS[_fold=K]_seedN)",
    )
    command.add_argument("--bundles", metavar="DIR", help="of your own (default: bundles)")


class _Once(argparse.Action):
    """Keeps a value, and refuses a second one, of which argparse would keep the last."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Refuses a second value."""
        given = vars(namespace).setdefault("given", set())
        if self.dest in given:
            parser.error(f"{option_string}: is given twice; leave one out")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


def run_folder(options: argparse.Namespace) -> Path:
    """The folder of a run: the given one, or the one that is named after what is chosen.

    Raises:
        SettingError: If a network or loss is neither an entry of a menu nor a class, and no folder is
            given.
    """
    return options.run if isinstance(options.run, Path) else _named_folder(options)


def _named_folder(options: argparse.Namespace) -> Path:
    network, loss = options.network or NETWORK, options.loss or LOSS
    for option, name in (("network", network), ("loss", loss)):
        if not _is_name(name):
            raise SettingError(
                f"--{option} {name}: gives no name to the run; name its folder: --run DIR"
            )
    settings = () if options.fold is None else (("fold", str(options.fold)),)
    of_dims = short_name(network, options.dims)
    name = RunName(of_dims, short_name(loss), settings, options.seed)
    return Path("runs", options.dataset, str(name))


def chosen(menu: str, name: str) -> str:
    """An entry of a menu, or a class, by its name; anything else is left as it is.

    Example:
        >>> chosen("losses", "nacl"), chosen("losses", "@losses::nacl")
        ('@losses::nacl', '@losses::nacl')
        >>> chosen("networks", "my_package.MyNet")
        "{'_target_': 'my_package.MyNet'}"
    """
    if not _is_name(name):
        return name
    return str({"_target_": name}) if "." in name else f"@{menu}::{name}"


def _is_name(name: str) -> bool:
    """Whether it is the name of a menu's entry, or of a class with its module."""
    return all(map(str.isidentifier, name.split(".")))


def shown(words: Sequence[str]) -> str:
    """The stock command that does the same, for a shell.

    Example:
        >>> print(shown(["training", "--config_file", "['a.yaml']", "--dataset_dir", "/my data"]))
        python -m monai.bundle run training --config_file "['a.yaml']" --dataset_dir '/my data'
    """
    return " ".join(map(_quoted, ["python", "-m", "monai.bundle", "run", *words]))


def _quoted(word: str) -> str:
    """A list of files is easier to read between double quotes, as long as nothing in it means more."""
    return f'"{word}"' if re.fullmatch(r"\[[^\"$`\\!]*\]", word) else shlex.quote(word)


def _config(options: argparse.Namespace, kind: str) -> list[str]:
    read_dataset(options.dataset, options.bundles)  # a slip in one's own file is one line
    files = fragments(options.dataset, kind, options.bundles)
    return ["--config_file", str([str(file) for file in files])]


def _data(options: argparse.Namespace) -> list[str]:
    return ["--dataset_dir", _text(options.directory)]


def _text(value: object) -> str:
    """The word that MONAI reads as this text: a folder may be called 2024, or a,b."""
    from fire.parser import DefaultParseValue  # noqa: PLC0415 - takes longer than `--help`

    text = str(value)
    return text if DefaultParseValue(text) == text else repr(text)


def _network(options: argparse.Namespace) -> list[str]:
    """A run's own record says the network, unless it is asked for."""
    return [] if options.network is None else ["--network_def", chosen("networks", options.network)]


def _dims(options: argparse.Namespace) -> list[str]:
    return [] if options.dims is None else ["--dims", str(options.dims)]


def _fold(options: argparse.Namespace) -> list[str]:
    return [] if options.fold is None else ["--fold", str(options.fold)]
