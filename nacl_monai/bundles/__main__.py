"""``nacl-monai train | evaluate | infer | folds | run | export``: bundles by their names.

The first three give the words of ``python -m monai.bundle run …``: the fragments, the entries of menus,
and the folder of the run. Everything else is a word of the configuration, ``--key value``. MONAI takes a
misspelled one for a new key. The configurations of this project refuse it by themselves; these commands
refuse it for any other, too.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from nacl_monai.cli import Parser, attempted, print_next, print_written
from nacl_monai.cli import main as command
from nacl_monai.errors import InputError, SettingError, print_error
from nacl_monai.files import read_object
from nacl_monai.menus import fragments, read_dataset, read_keys
from nacl_monai.predictions.options import ANONYMOUS
from nacl_monai.runs import RECORD_REMEDY, RunFolder, RunName, fold_folder, short_name
from nacl_monai.words import top_level

NETWORK, LOSS, SEED = "unet", "nacl", 0
_DEFAULTS = {"network_def": f"@networks::{NETWORK}", "loss": f"@losses::{LOSS}"}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options, overrides = parser().parse_known_args(arguments)
    if options.command == "export":
        files, code = attempted(lambda: _export(options, overrides))
        print_written(files or [])
        for bundle in files[:1] if files else ():
            config = ["--config_file", str(bundle / "configs/inference.json")]
            run_arguments = ["--bundle_root", str(bundle), "--images", "IMAGES"]
            print(
                f"next: python -m monai.bundle run inference {shlex.join([*config, *run_arguments])}"
            )
        return code
    try:
        if options.command == "folds":
            return _run_folds(options, overrides)
        if options.command == "run":
            return _run(arguments[1:])
        run_arguments, processes = (
            _WORDS[options.command](options, overrides),
            vars(options).get("processes", 1),
        )
        print(shown(run_arguments, processes), flush=True)
        code = _run(run_arguments, processes)
        if code == 0:
            _print_next(options, run_arguments)
        return code
    except InputError as error:
        print_error(error)
        return error.exit_code


def _print_next(options: argparse.Namespace, run_arguments: Sequence[str]) -> None:
    """Says what a training found, and which command follows this one."""
    from nacl_monai.bundles.command_line import keys_and_values

    if options.command == "infer":
        print_next("audit", keys_and_values(run_arguments[1:])["output_dir"], "LABELS")
    elif options.command == "evaluate":
        print_next("page", run_folder(options))
    else:
        record = RunFolder(run_folder(options)).record
        found = read_object(record, RECORD_REMEDY) if record.is_file() else {}
        if found.get("best_epoch"):
            print(f"best epoch {found['best_epoch']}: validation metric {found['best_metric']:.4f}")
        chosen = _given(options, "network", "loss", "dims", "fold", "run", "bundles")
        seed = [] if options.seed == SEED else ["--seed", options.seed]
        print_next("evaluate", options.dataset, options.directory, *chosen, *seed)


def _run(arguments: Sequence[str], processes: int = 1) -> int:
    """Runs a configuration strictly; returns the exit code.

    Raises:
        InputError: If MONAI would misunderstand an argument.
    """
    import fire
    import monai.bundle

    from nacl_monai.bundles.command_line import check_run
    from nacl_monai.bundles.error_lines import one_line_errors

    one_line_errors()
    check_run(arguments)
    if processes > 1:
        return _start(arguments, processes)
    fire.Fire({"run": monai.bundle.run}, command=["run", *arguments], name="nacl-monai")
    return 0


def _start(arguments: Sequence[str], processes: int = 1) -> int:
    """Runs a configuration in processes of its own, one per GPU; returns the exit code."""
    launcher = [] if processes == 1 else ["torch.distributed.run", *_shares(processes), "-m"]
    started = [sys.executable, "-m", *launcher, "nacl_monai", "run", *arguments]
    return subprocess.run(started, check=False).returncode


def _shares(processes: int) -> list[str]:
    return ["--standalone", "--nproc_per_node", str(processes)]


def _run_folds(options: argparse.Namespace, overrides: Sequence[str]) -> int:
    """Trains and evaluates every fold, and tabulates all; returns the exit code.

    A fold that is evaluated is still held to its training, which refuses other settings or data than its
    own. An evaluation gets the overrides whose keys its configuration has.

    Raises:
        InputError: If there is no such dataset, or if it has no folds.
    """
    count = read_dataset(options.dataset, options.bundles).get("folds")
    if not isinstance(count, int):
        raise SettingError(
            f"{options.dataset}: has no folds; choose one that does, such as mrbrains"
        )
    files = fragments(options.dataset, "evaluate", options.bundles)
    of_evaluation = [*_of_keys(overrides, {key for file in files for key in read_keys(file)})]
    whole = run_folder(options)
    for fold in options.folds or range(count):
        options.fold, options.run = fold, fold_folder(whole, fold)
        code = _start(train_words(options, overrides), options.processes)
        if code == 0 and not RunFolder(options.run).evaluation.record.is_file():
            code = _start(evaluate_words(options, of_evaluation), options.processes)
        if code:
            return code
    return command(["compare", str(whole), "--output", str(whole)])


def _of_keys(arguments: Sequence[str], keys: Collection[str]) -> Iterator[str]:
    """The options among the arguments, with their values, that set one of ``keys`` or a part of it."""
    left = iter(arguments)
    for word in left:
        key, equals, _ = word.partition("=")
        value = [] if equals else islice(left, 1)
        pair = [word, *value]
        if top_level(key.lstrip("-").replace("#", "::")) in keys:
            yield from pair


def parser() -> argparse.ArgumentParser:
    """Declares the options of every command; unknown ones belong to the configuration."""
    root = Parser(prog="nacl-monai", description=__doc__)
    commands = root.add_subparsers(required=True, metavar="COMMAND", dest="command")
    commands.add_parser(
        "run",
        help="run a configuration, as monai.bundle does, but strictly",
        usage="nacl-monai run RUN_ID --config_file FILES [--KEY VALUE …]",
        description="Every --KEY must be one of the configuration, or an argument of monai.bundle run.",
    )
    more = "Every further --KEY VALUE is one of the configuration, such as --max_epochs 50."
    for word, place, purpose, help_ in (
        ("train", "directory", "of the data", "train, or go on"),
        ("evaluate", "directory", "of the data", "evaluate a run on its test cases"),
        ("folds", "directory", "of the data", "train, evaluate and tabulate every fold"),
        ("infer", "images", "a file, a folder or a pattern", "segment images"),
    ):
        verb = commands.add_parser(word, help=help_, epilog=more)
        verb.register("action", None, _Once)
        verb.add_argument("dataset", help="a folder of the bundles, such as one of your own")
        verb.add_argument(place, help=purpose)
        _add_choices(verb)
        if word == "folds":
            verb.add_argument("--folds", type=_folds, metavar="K", help='only these: "0 1"')
            verb.set_defaults(fold=None)
        else:
            verb.add_argument("--fold", type=int, metavar="K", help="of a cross-validation, from 0")
        if word != "infer":
            number = "one per GPU; default: 1"
            verb.add_argument("--processes", type=_processes, default=1, metavar="N", help=number)
    more = "Overrides that a run without config.json was trained with follow as --key value."
    packing = "pack a finished run into a stock MONAI bundle"
    _add_export(commands.add_parser("export", help=packing, epilog=more))
    return root


def _processes(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text}: is no number of processes; write 1 or more")
    return int(text)


def _folds(text: str) -> list[int]:
    return [int(word) for word in text.split()]


def _add_choices(verb: argparse.ArgumentParser) -> None:
    add = verb.add_argument
    add("--network", metavar="NAME", help=f"or my_package.MyNet; default: {NETWORK}")
    add("--loss", metavar="NAME", help=f"or my_package.MyLoss; default: {LOSS}")
    add("--seed", type=int, default=SEED, metavar="N", help=f"default: {SEED}")
    add("--dims", type=int, metavar="N", help="3: of patches; default: 2, of slices")
    folder = "its folder (default: runs/DATASET/NETWORK[3d]_LOSS[_fold=K]_seedN)"
    add("--run", type=Path, metavar="DIR", help=folder)
    add("--bundles", metavar="DIR", help="of your own (default: bundles)")


def _add_export(export: argparse.ArgumentParser) -> None:
    add = export.add_argument
    add("dataset", help="one of the folders in bundles/")
    add(
        "--network", help="of the run, by its menu or its class (default: that of --run, else unet)"
    )
    add("--loss", help="the same (default: that of --run, else nacl)")
    add("--dims", type=int, metavar="N", help="3: of patches (the same, else 2)")
    add("--seed", type=int, metavar="N", help="the same (default: any)")
    add("--run", type=Path, metavar="DIR", help="default: the newest finished one")
    add("--runs", type=Path, metavar="DIR", default=Path("runs"))
    add("--bundles", type=Path, metavar="DIR", help="default: bundles")
    add(
        "--trust",
        action="store_true",
        help="execute code of the run's config.json that no bundle has",
    )
    add("--calibrator", metavar="NAME", help="put it behind the network: signed_distance_all")
    add("--promise", type=Path, metavar="FILE", help="promise.json, which inference then keeps")
    add(
        "--anonymous",
        type=Path,
        metavar="SALT",
        help=f"{ANONYMOUS}; those of the split and the promise",
    )
    add("--onnx", action="store_true", help="write models/model.onnx as well")
    add("--output", type=Path, metavar="DIR", help="default: dist/NAME")


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
        seen = vars(namespace).setdefault("given", set())
        if self.dest in seen:
            parser.error(f"{option_string}: is given twice; leave one out")
        seen.add(self.dest)
        setattr(namespace, self.dest, values)


def train_words(options: argparse.Namespace, overrides: Sequence[str]) -> list[str]:
    """The arguments of a training, after ``run``.

    Args:
        options: As the parser declares them for ``train``.
        overrides: Further options, which set keys of the configuration.

    Raises:
        InputError: If there is no such dataset.
    """
    return [
        *("training", *_config(options, "train"), *("--dataset_dir", _text(options.directory))),
        *("--output_dir", _text(run_folder(options)), "--seed", str(options.seed)),
        *("--network_def", chosen("networks", options.network or NETWORK)),
        *("--loss", chosen("losses", options.loss or LOSS)),
        *(*_given(options, "dims", "fold"), *overrides),
    ]


def evaluate_words(options: argparse.Namespace, overrides: Sequence[str]) -> list[str]:
    """The arguments of an evaluation, after ``run``; see `train_words`.

    Raises:
        InputError: If there is no such dataset.
    """
    return [
        *("evaluating", *_config(options, "evaluate")),
        *("--dataset_dir", _text(options.directory), "--output_dir", _text(run_folder(options))),
        *(*_network(options), *_given(options, "dims", "fold"), *overrides),
    ]


def infer_words(options: argparse.Namespace, overrides: Sequence[str]) -> list[str]:
    """The arguments of an inference, after ``run``; see `train_words`.

    Raises:
        InputError: If there is no such dataset.
    """
    run = run_folder(options)
    places = ("--checkpoint", RunFolder(run).model, "--output_dir", run / "predictions")
    return [
        *("inference", *_config(options, "inference"), "--images", _text(options.images)),
        *(*_network(options), *_given(options, "dims")),
        *replaced([*map(_text, places)], overrides),
    ]


def replaced(usual: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """The usual options except those that are overridden, and then the overrides: none appears twice.

    Example:
        >>> replaced(["--max_epochs", "10", "--seed", "0"], ["--max_epochs=2"])
        ['--seed', '0', '--max_epochs=2']
    """
    keys = {word.partition("=")[0] for word in overrides}
    pairs = zip(usual[::2], usual[1::2], strict=True)
    return [*(word for pair in pairs if pair[0] not in keys for word in pair), *overrides]


_WORDS = {"train": train_words, "evaluate": evaluate_words, "infer": infer_words}


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


def shown(arguments: Sequence[str], processes: int = 1) -> str:
    """The stock command that does the same, for a shell.

    Example:
        >>> print(shown(["training", "--config_file", "['a.yaml']", "--dataset_dir", "/my data"]))
        python -m monai.bundle run training --config_file "['a.yaml']" --dataset_dir '/my data'
    """
    program = ["python"] if processes == 1 else ["torchrun", *_shares(processes)]
    return " ".join(map(_quoted, [*program, "-m", "monai.bundle", "run", *arguments]))


def _quoted(word: str) -> str:
    """A list of files is easier to read between double quotes, as long as nothing in it means more."""
    return f'"{word}"' if re.fullmatch(r"\[[^\"$`\\!]*\]", word) else shlex.quote(word)


def _config(options: argparse.Namespace, kind: str) -> list[str]:
    read_dataset(options.dataset, options.bundles)  # a slip in one's own file is one line
    files = fragments(options.dataset, kind, options.bundles)
    return ["--config_file", str([str(file) for file in files])]


def _text(value: object) -> str:
    """The word that MONAI reads as this text: a folder may be called 2024, or a,b.

    Raises:
        InputError: If MONAI would run it as code.
    """
    from fire.parser import DefaultParseValue

    from nacl_monai.errors import FOLDER_REMEDY, check_no_code

    text = str(value)
    check_no_code(text, [text], FOLDER_REMEDY)
    return text if DefaultParseValue(text) == text else repr(text)


def _network(options: argparse.Namespace) -> list[str]:
    """A run's own record says the network, unless it is asked for."""
    return [] if options.network is None else ["--network_def", chosen("networks", options.network)]


def _given(options: argparse.Namespace, *keys: str) -> list[str]:
    values = {key: vars(options)[key] for key in keys}
    return [w for key, n in values.items() if n is not None for w in (f"--{key}", str(n))]


def _export(options: argparse.Namespace, arguments: Sequence[str]) -> list[Path]:
    """Exports the run that is named, or the newest of a network and a loss."""
    from nacl_monai.bundles.command_line import keys_and_values
    from nacl_monai.bundles.export import export_bundle, newest_run
    from nacl_monai.training.run_settings import read_trained_config

    overrides = keys_and_values(arguments)
    network = short_name(options.network or NETWORK, options.dims)
    names = (options.dataset, network, short_name(options.loss or LOSS))
    run = options.run or newest_run(options.runs, *names, options.seed)
    print(f"packing {run}", flush=True)
    config = RunFolder(run).config
    record = read_trained_config(config) if config.is_file() else _DEFAULTS
    choices = {
        **({} if config.is_file() else _DEFAULTS),
        **_choice("network_def", "networks", options.network, record),
        **_choice("loss", "losses", options.loss, record),
        **{key: value for key in ("dims", "seed") if (value := vars(options)[key]) is not None},
        **overrides,
    }
    output = options.output or Path("dist") / _name(options.dataset, {**record, **choices})
    return export_bundle(
        *(run, output, options.dataset, choices, options.bundles, options.trust),
        calibrator=options.calibrator,
        onnx=options.onnx,
        promise=options.promise,
        anonymous=options.anonymous,
    )


def _choice(key: str, menu: str, name: str | None, record: Mapping[str, Any]) -> dict[str, str]:
    """The override by which ``key`` is the entry ``name`` of a menu, or the class of that name."""
    if name is None:
        return {}
    if "." not in name:
        return {key: f"@{menu}::{name}"}
    is_definition = isinstance(record.get(key), dict)
    return {f"{key}::_target_" if is_definition else key: name}


def _name(dataset: str, settings: Mapping[str, Any]) -> str:
    """The name of a bundle: dataset, network and loss."""
    network, loss = ({**_DEFAULTS, **settings}[key] for key in _DEFAULTS)
    return f"{dataset}_{short_name(network, settings.get('dims', 2))}_{short_name(loss)}"


if __name__ == "__main__":
    sys.exit(main())
