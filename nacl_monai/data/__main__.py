"""Writes a bundle for data of one's own, and checks data: ``nacl-monai new`` and ``check``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from nacl_monai.cli import Parser
from nacl_monai.data.cases import distance
from nacl_monai.errors import InputError, SettingError, print_error, print_line


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code, 1 where the data have faults."""
    options = _parser().parse_args(_with_values(sys.argv[1:] if argv is None else argv))
    try:
        faults = options.run(options)
    except InputError as error:
        print_error(error)
        return error.exit_code
    for fault in faults:
        print_line("fault", fault)
    return 1 if faults else 0


def _with_values(argv: Sequence[str]) -> list[str]:
    """The words of a command, in which a value may begin with a hyphen, as an option does."""
    joined: list[str] = []
    for word in argv:
        if joined and joined[-1] in {"--spacing", "--patient-pattern"}:
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _check(options: argparse.Namespace) -> Sequence[InputError]:
    from nacl_monai.data.check import check_dataset, settings_lines

    names = ("bundles", "subset", "affine_tolerance", "preprocess")
    values = {word: getattr(options, word) for word in names}
    summary = check_dataset(options.dataset, options.directory, **values)
    print(summary.table())
    print(settings_lines(options.dataset, options.bundles))
    if not summary.faults:
        print(f"next: nacl-monai train {options.dataset} {quote(options.directory)}{_at(options)}")
    return summary.faults


def _new(options: argparse.Namespace) -> Sequence[InputError]:
    from nacl_monai.data.new_bundle import as_comment, new_bundle
    from nacl_monai.data.survey import Statements

    folders = [folder for folder in (options.directory, options.dataset_dir) if folder]
    if len(folders) != 1:
        raise SettingError("--dataset_dir: name the folder of the data, once")
    names = ("patient_pattern", "patients", "modality", "window", "spacing")
    of_data = Statements(**{word: getattr(options, word) for word in names})
    found = new_bundle(options.name, folders[0], options.bundles, options.template, of_data)
    if found.folder is not None:
        for choice in found.choices:
            print(as_comment(choice.why).replace("# ", "- ", 1).replace("\n#", "\n "))
        print(f"wrote {found.folder}")
        at = _at(options)
        print(f"next: nacl-monai check {options.name} {quote(folders[0])}{at} --preprocess")
    return found.faults


def _at(options: argparse.Namespace) -> str:
    """The words of the bundles' folder, if it is not the usual one."""
    own = options.bundles is not None and Path(options.bundles) != Path("bundles")
    return f" --bundles {quote(str(options.bundles))}" if own else ""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="nacl-monai", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_check(commands.add_parser("check", help="verify data, reading them as a training does"))
    _add_new(commands.add_parser("new", help="write a bundle for data of your own"))
    return parser


def _add_check(check: argparse.ArgumentParser) -> None:
    check.set_defaults(run=_check)
    add = check.add_argument
    add("dataset")
    add("directory", help="the unpacked download, as for dataset_dir")
    add("--subset", action="store_true", help="accept fewer cases than are official")
    lost = "preprocess and crop every case too, and say how many voxels of each class are lost"
    add("--preprocess", action="store_true", help=lost)
    apart = "how far apart image and label may put a voxel (default: as the bundle says)"
    add("--affine_tolerance", type=distance, metavar="MM", help=apart)
    add("--bundles", metavar="DIR", help="folder of the bundles (default: bundles)")


def _add_new(new: argparse.ArgumentParser) -> None:
    new.set_defaults(run=_new)
    add = new.add_argument
    add("name", help="of the dataset, and of its folder in --bundles")
    add("directory", nargs="?", help="the data; or --dataset_dir DIR")
    add("--dataset_dir", metavar="DIR", help=argparse.SUPPRESS)
    add("--bundles", metavar="DIR", type=Path, default=Path("bundles"))
    template = "template (default: bundles/folder)"
    add("--from", dest="template", metavar="DIR", type=Path, help=template)
    group = r"whose one group is the patient in a case's name: '(patient\d+)_'"
    add("--patient-pattern", metavar="REGEX", help=group)
    table = "table with the columns case and patient"
    add("--patients", metavar="CSV", type=Path, help=table)
    add("--modality", help="where the data do not say it: CT, MRI, …")
    ends = ("LOW", "HIGH")
    add("--window", nargs=2, type=float, metavar=ends, help="become 0 and 1 (CT)")
    sizes = "median (default), none, or sizes: 0.8,0.8,3 (-1: stays as it is)"
    add("--spacing", default="median", metavar="MM", help=sizes)


if __name__ == "__main__":
    sys.exit(main())
