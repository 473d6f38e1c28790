"""``python -m studies.paper collect|claims RUNS … --output PLACE``: what the committed results need.

``python -m studies.paper results DATASET`` makes anew what ``docs/results/DATASET`` shows.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from nacl_monai.cli import write_files
from nacl_monai.evaluations.tables import csv_text
from nacl_monai.files import write_text
from nacl_monai.paper.__main__ import main as paper
from nacl_monai.paper.exhibits import MAIN
from nacl_monai.paper.results import read_results
from studies.paper.claims import claims_to_markdown, judge_claims
from studies.paper.evidence import write_evidence
from studies.paper.treatments import treatments_to_text
from studies.paper.verdicts import verdict


def write_claims(roots: Sequence[str | Path], output: str | Path) -> list[Path]:
    """Writes what runs say of the paper's claims and of losses treated alike, in three sentences, too.

    Args:
        roots: Folders or archives of runs.
        output: The folder for ``verdicts.md``, and for ``claims`` and ``same_treatment``, ``.md`` and
            ``.csv``.

    Raises:
        InputError: If there is no run of the main tables, or if one cannot be read.
    """
    results = read_results(roots)
    main = MAIN.select(results)
    sentences = [verdict(MAIN.select(main, datasets=[name]), name) for name in main.datasets]
    judged = judge_claims(results)
    treatments, tests = treatments_to_text(results)
    return [
        write_text(Path(output) / "verdicts.md", "\n\n".join(sentences) + "\n"),
        write_text(Path(output) / "claims.md", claims_to_markdown(judged)),
        write_text(Path(output) / "claims.csv", csv_text(judged)),
        write_text(Path(output) / "same_treatment.md", treatments),
        write_text(Path(output) / "same_treatment.csv", tests),
    ]


def write_results(dataset: str, runs: Path | None, options: Sequence[str]) -> list[Path]:
    """Makes anew the tables and figures that the page of a dataset shows, from its archive.

    Args:
        dataset: A folder of ``docs/results``.
        runs: Runs whose small files join the archive first.
        options: Options of ``nacl-monai paper all``.

    Raises:
        SystemExit: If that fails.
    """
    shown, build = Path("docs/results", dataset), Path("build/results", dataset)
    archive = shown / "runs.tar.xz"
    if runs is not None:
        write_evidence([*([archive] if archive.is_file() else []), runs], archive)
    if code := paper(["all", str(archive), "--output", str(build), *options]):
        sys.exit(code)
    write_claims([archive], build)
    pairs = [(file, shown / file.name) for file in build.glob("*.*") if file.is_file()]
    return [Path(shutil.copy(file, place)) for file, place in pairs if place.is_file()]


WRITERS = {"collect": write_evidence, "claims": write_claims}


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.paper", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in WRITERS:
        command = commands.add_parser(name)
        command.add_argument(
            "runs", nargs="+", type=Path, metavar="RUNS", help="folders or archives"
        )
        command.add_argument("--output", type=Path, required=True, help="an archive, or a folder")
    results = commands.add_parser("results", allow_abbrev=False)
    results.add_argument("dataset", help="a folder of docs/results")
    results.add_argument("--runs", type=Path, help="runs whose small files are added first")
    options, more = parser.parse_known_args(argv)
    if options.command == "results":
        return write_files(lambda: write_results(options.dataset, options.runs, more))
    if more:
        parser.error(f"{' '.join(more)}: is no option")
    return write_files(lambda: WRITERS[options.command](options.runs, options.output))


if __name__ == "__main__":
    sys.exit(main())
