# What all rules ask: where things are, which experiments are wanted, and how a command is called.

import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from nacl_monai.menus import dataset_names
from nacl_monai.paper.exhibits import EXHIBITS
from nacl_monai.paper.grid import AFTERWARDS, MAIN_LOSSES, PAPER_NETWORKS, read_name
from nacl_monai.paper.page import REPORT_PAGE
from nacl_monai.posthoc import ENSEMBLE
from nacl_monai.runs import RunFolder
from snakemake.settings.types import DeploymentMethod

# A container has its own; the folder of this project may have blanks in its name.
CONTAINED = DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method
BIN = "" if CONTAINED else f"{os.path.relpath(Path(sys.executable).parent)}/"
NACL = f"{BIN}nacl-monai"
# The environment hands a path over as it is; --config reads it as YAML.
RUNS, REPORT, DATA = (
    os.environ.get(f"NACL_{key.upper()}", str(config[key])) for key in ("runs", "report", "data_dir")
)
PHANTOMS = "phantom_cases" in config
# `{exhibit}` and, in a run's folder, `{dataset}` and `{run}` are wildcards.
MANIFEST = f"{REPORT}/{{exhibit}}.json"
RUN = f"{RUNS}/{{dataset}}/{{run}}"


def words(key):
    """A list of the configuration, even if the command line gave it as words."""
    value = config[key]
    return [str(word) for word in value] if isinstance(value, list) else str(value).split()


DATASETS, LOSSES, NETWORKS = words("datasets"), words("losses"), words("networks")
SEEDS = [int(seed) for seed in words("seeds")]
# What some table or figure shows, in their order.
SHOWN_LOSSES = list(dict.fromkeys(method.loss for one in EXHIBITS.values() for method in one.grid().methods))
for key, chosen, known in (
    ("datasets", DATASETS, dataset_names()),
    ("losses", LOSSES, SHOWN_LOSSES),
    ("networks", NETWORKS, PAPER_NETWORKS),
):
    if unknown := [name for name in chosen if name not in known]:
        sys.exit(f"error: {key}: there is no {unknown[0]}; choose from: {', '.join(known)}")


def evaluation_of(run):
    """The last file that an evaluation writes into a run's folder."""
    return str(RunFolder(Path(run)).evaluation.record)


def manifest_of(exhibit):
    """The last file that is written of a table or figure."""
    return MANIFEST.format(exhibit=exhibit)


def evaluations_of(exhibit):
    """The evaluations of the experiments that a table or figure is made of."""
    experiments = EXHIBITS[exhibit].grid().experiments(
        datasets=DATASETS, losses=LOSSES, networks=NETWORKS, seeds=SEEDS
    )
    return [
        evaluation_of(experiment.folder(Path(run_of(experiment))).path) for experiment in experiments
    ]


def run_of(experiment):
    """The folder of an experiment's training."""
    return RUN.format(dataset=experiment.dataset, run=experiment.name)


# A table or figure may be narrowed so far that nothing is left of it.
WANTED = [exhibit for exhibit in EXHIBITS if evaluations_of(exhibit)]
# Others are made when they are asked for.
REPRODUCED = [exhibit for exhibit in WANTED if not EXHIBITS[exhibit].own_runs]


def reproduced(_):
    """What `reproduce` makes, and the page shows."""
    if not REPRODUCED:
        sys.exit(f"error: no table or figure of the paper shows what was chosen; choose from: {', '.join(MAIN_LOSSES)}")
    return [manifest_of(exhibit) for exhibit in REPRODUCED]


def data_dir(dataset):
    return config.get("data_dirs", {}).get(dataset, f"{DATA}/{dataset}")


def data_of(wildcards):
    """The folder of a dataset; its age says nothing about the age of its files."""
    folder = data_dir(wildcards.dataset)
    if not PHANTOMS and not Path(folder).is_dir():
        sys.exit(
            f"error: {folder}: no such folder; set DATA_DIR, or data_dirs in {CONFIG}, "
            f"or leave {wildcards.dataset} out with DATASETS"
        )
    return ancient(folder)


def arguments(wildcards):
    """Overrides behind every command."""
    tracked = f"--tracking {config['tracking']}" if config["tracking"] else ""
    of_dataset = config["arguments_of"].get(wildcards.dataset, "")
    return " ".join(words for words in (config["arguments"], of_dataset, tracked) if words)


def evaluation(wildcards):
    """The words behind `nacl-monai evaluate` and the data: it finds the run's own split and settings."""
    setup = read_name(wildcards.dataset, wildcards.run).setup
    dims = " --dims 3" if setup.dims == 3 else ""
    run = RUN.format(dataset=wildcards.dataset, run=wildcards.run)
    return f"--run {shlex.quote(run)} --network {setup.entry}{dims} {arguments(wildcards)}".rstrip()


def training(wildcards):
    """The words behind `nacl-monai train` and the data."""
    experiment = read_name(wildcards.dataset, wildcards.run)
    chosen = f"--loss {experiment.method.loss} --seed {experiment.seed}"
    given = [evaluation(wildcards), chosen, config["train_arguments"], *experiment.overrides]
    if config["pretrained"] and experiment.setup.network == "transunet":
        given.append(f"--pretrained {shlex.quote(config['pretrained'])}")
    return " ".join(words for words in given if words)
