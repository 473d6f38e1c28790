"""``python -m studies.promises.cohort curves DATA RUN …``: do 20 new patients resemble who calibrated?

``curves`` segments the patients whom a training has not seen, as their images are and changed as in
`studies.shift`, and writes what promises are made from.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from monai.transforms import Compose

from nacl_monai.cli import write_files
from nacl_monai.metrics.curves import curves_of_case, definition_of, joined_curves
from nacl_monai.progress import progress_bar
from nacl_monai.runs import RunFolder
from studies.runs import evaluation_of
from studies.shift.__main__ import CLEAN, DEGREES
from studies.shift.corruptions import CHANGES, Corrupt


def curves(
    data: Path, runs: Sequence[Path], sets: Sequence[str], degrees: Sequence[int], output: Path
) -> Iterator[Path]:
    """Writes ``RUN/KIND_DEGREE.npz`` for each change, of all patients but those of other sets."""
    for folder in runs:
        config = evaluation_of(RunFolder(folder), data, "test", data)  # nothing is cached
        structures = config["structures"]
        network = config.get_parsed_content("trained_network").eval()
        inferer, (first, *others) = map(config.get_parsed_content, ("inferer", "reading"))
        split = config.get_parsed_content("split")
        known = {case["case"] for name in {*split} - {*sets} for case in split[name]}
        cases = [case for case in config.get_parsed_content("cases") if case["case"] not in known]
        patients = [case.get("patient", case["case"]) for case in cases]
        channels = {name: [k] for k, name in enumerate(config["classes"])}
        definition = definition_of(channels, structures, "softmax", "study", known_by="table")
        changes = [CLEAN, *((kind, degree) for kind in CHANGES for degree in degrees)]
        for kind, degree in progress_bar(changes, description=folder.name, unit="change"):
            read, found = Compose([first, Corrupt(kind, degree), *others]), []
            for case in cases:
                changed = read(dict(case))
                with torch.no_grad():
                    logits = inferer(changed["image"].as_tensor()[None], network)[0]
                label = changed["label"].as_tensor()[0]
                masks = [torch.isin(label, torch.tensor(of)) for of in structures.values()]
                size = changed["label"].pixdim.tolist()
                found.append(
                    curves_of_case(
                        logits.softmax(0), masks, None, structures, size, overlapping=False
                    )
                )
            names = [case["case"] for case in cases]
            whole = joined_curves(names, found, patients, definition)
            yield whole.write(output / folder.name / f"{kind or 'clean'}_{degree}.npz")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the study; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.promises.cohort", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("curves")
    one.add_argument("data", type=Path, metavar="DATA", help="the dataset's folder")
    one.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of runs")
    one.add_argument("--sets", nargs="+", default=["val", "test"], help="whose patients may be in")
    one.add_argument("--degrees", nargs="+", type=int, choices=DEGREES, default=DEGREES)
    one.add_argument("--output", type=Path, default=Path("cohort"), help="default: cohort")
    one.set_defaults(run=curves)
    words = vars(parser.parse_args(argv))
    run = words.pop("run")
    del words["command"]
    return write_files(lambda: run(**words))


if __name__ == "__main__":
    sys.exit(main())
