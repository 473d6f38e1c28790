"""The workflow: each table and figure asks for its experiments, locally or on SLURM."""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from nacl_monai.menus import dataset_names
from nacl_monai.paper.exhibits import EXHIBITS
from tests.forked import run_snakemake
from tests.test_makefile import AWKWARD

ROOT = Path(__file__).parents[2]
HERE = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
SNAKEMAKE = shutil.which("snakemake", path=HERE)

pytestmark = [
    pytest.mark.skipif(SNAKEMAKE is None, reason="needs the extra 'reproduce'"),
    pytest.mark.slow,
]


def snakemake(*args, cwd=ROOT):
    """Runs Snakemake; returns what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = run_snakemake(["--snakefile", "workflow/Snakefile", *args], cwd, environment)
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def dry_run(tmp_path, *args, profile="local", **config):
    """What would be done from nothing."""
    places = {"runs": tmp_path / "runs", "report": tmp_path / "report", "data_dir": tmp_path}
    config = places | config
    for name in dataset_names():
        (tmp_path / name).mkdir(exist_ok=True)
    settings = [f"{key}={value}" for key, value in config.items()]
    profile = ["--workflow-profile", f"workflow/profiles/{profile}"]
    return snakemake(*profile, "--dry-run", "--printshellcmds", *args, "--config", *settings)


def trained(printed):
    """Folders that are trained and evaluated, as (dataset, run)."""
    return sorted(
        re.findall(r"output: \S*/runs/(\w+)/([^/\s]+)/evaluation/evaluation\.json", printed)
    )


def evaluate(tmp_path, *runs):
    """Leaves what tells that runs of ACDC are evaluated."""
    for run in runs:
        record = tmp_path / "runs/acdc" / run / "evaluation/evaluation.json"
        record.parent.mkdir(parents=True)
        record.touch()


def expected(exhibit, **narrowed):
    experiments = EXHIBITS[exhibit].grid().experiments(**narrowed)
    return sorted({(experiment.dataset, experiment.name) for experiment in experiments})


@pytest.mark.nightly
@pytest.mark.parametrize("exhibit", EXHIBITS)
def test_exhibit_trains_its_experiments_once_and_then_renders(tmp_path, exhibit):
    """Each table and figure is a target of the workflow."""
    printed = dry_run(tmp_path, exhibit)

    assert trained(printed) == expected(exhibit)
    assert f"nacl-monai paper {exhibit} {tmp_path}/runs" in printed


@pytest.mark.nightly
def test_smoke_profile_makes_every_table_and_figure(tmp_path):
    """All experiments of the profile, trained and evaluated; `.ci/run` makes table 1."""
    folders = {
        "runs": tmp_path / "runs",
        "report": tmp_path / "report",
        "data_dir": tmp_path / "data",
    }
    config = [f"{key}={folder}" for key, folder in folders.items()]
    config.append(f"arguments=--cache_dir {tmp_path}/cache")
    snakemake("--workflow-profile", "workflow/profiles/smoke", "--config", *config)

    names = {file.stem for file in folders["report"].glob("[!.]*.json")}
    assert names == {name for name, exhibit in EXHIBITS.items() if not exhibit.own_runs}
    assert (folders["report"] / "report.html").is_file()
    runs = {folder.parent.name for folder in folders["runs"].glob("acdc/*/evaluation")}
    assert len(runs) == 24
    assert {run.split("_seed")[0] for run in runs} >= {"attention_unet_svls", "unet_dice_ce"}


def test_datasets_losses_and_seeds_narrow_an_exhibit(tmp_path):
    """They are words; every experiment is a `nacl-monai train` with its words, one of patches, too."""
    narrowed = {"datasets": "acdc hippocampus", "losses": "nacl", "seeds": "0 1"}
    printed = dry_run(tmp_path, "table3", "three_d", **narrowed)

    chosen = {"datasets": ["acdc", "hippocampus"], "losses": ["nacl"], "seeds": (0, 1)}
    assert trained(printed) == sorted(expected("table3", **chosen) + expected("three_d", **chosen))
    assert (
        "/hippocampus/unet3d_nacl_seed1 --network unet --dims 3 --loss nacl --seed 1\n" in printed
    )
    assert "/hippocampus/unet3d_nacl_seed1 --network unet --dims 3\n" in printed
    assert (
        f"nacl-monai train acdc {tmp_path}/acdc "
        f"--run {tmp_path}/runs/acdc/unet_nacl_prior=gaussian_seed1 --network unet "
        "--loss nacl --seed 1 --losses::nacl::prior gaussian\n"
    ) in printed
    assert "--datasets acdc hippocampus --losses nacl --seeds 0 1" in printed


def test_exhibits_share_their_experiments(tmp_path):
    """All tables and figures together train each experiment once, and nothing that the paper lacks."""
    printed = dry_run(tmp_path, "reproduce", datasets="acdc")

    everything = {
        experiment
        for name, exhibit in EXHIBITS.items()
        if not exhibit.own_runs
        for experiment in expected(name, datasets=["acdc"])
    }
    assert trained(printed) == sorted(everything)


def test_temperatures_follow_the_experiments(tmp_path):
    """Each is fitted and evaluated behind its training, for the tables that show it."""
    printed = dry_run(tmp_path, "after_training", datasets="acdc", losses="nacl", seeds="0 1")

    assert trained(printed) == expected("table1", datasets=["acdc"], losses=["nacl"], seeds=(0, 1))
    for seed in (0, 1):
        for name in ("temperature_all", "temperature_union"):
            run = f"{tmp_path}/runs/acdc/unet_nacl_seed{seed}"
            line = f"nacl-monai calibrate {run} --dataset_dir {tmp_path}/acdc --calibrator {name}\n"
            assert line in printed


def test_pretrained_weights_are_for_transunet_alone(tmp_path):
    """Its trainings begin with them; no evaluation asks for them."""
    networks = {"networks": "unet transunet", "losses": "nacl", "datasets": "acdc"}
    printed = dry_run(tmp_path, "figure8", pretrained="my weights.npz", **networks)

    lines = [
        line for line in printed.splitlines() if "--pretrained" in line and "nacl-monai" in line
    ]
    assert len(lines) == 1
    assert re.search(r"train .*--network transunet .*--pretrained 'my weights.npz'", lines[0])


def test_ensemble_follows_the_trainings_of_all_seeds(tmp_path):
    """It is made in the folder of the first seed, after the evaluation of the last."""
    printed = dry_run(tmp_path, "after_training", datasets="acdc", losses="nacl", seeds="0 1")

    assert printed.count("--calibrator ensemble") == 1
    rule = re.search(r"input: ([^\n]*)\n\s*output: \S*/calibrated/ensemble/", printed)[1]
    assert re.findall(r"unet_nacl_seed\d+", rule) == ["unet_nacl_seed0", "unet_nacl_seed1"]
    assert re.search(r"calibrate \S*/unet_nacl_seed0 .*--calibrator ensemble", printed)
    alone = dry_run(tmp_path, "after_training", datasets="acdc", losses="nacl")
    assert "--calibrator ensemble" not in alone


@pytest.mark.parametrize(
    ("seeds", "expected"), [("0 1", ["unet_nacl_seed0"]), ("0 1 2", []), ("0", [])]
)
def test_ensemble_is_made_where_all_seeds_were_trained(tmp_path, seeds, expected):
    """With what is there; a seed that is missing is not trained for it."""
    evaluate(tmp_path, "unet_nacl_seed0", "unet_nacl_seed1", "unet_svls_seed0")
    printed = dry_run(tmp_path, "calibrations", seeds=seeds)

    assert re.findall(r"calibrate \S*/acdc/(\S+) .*--calibrator ensemble", printed) == expected
    assert trained(printed) == []


def test_every_evaluated_run_is_calibrated_without_training(tmp_path):
    """Ablations too; a calibrator that is evaluated already is left alone."""
    evaluate(tmp_path, "unet_nacl_seed0", "unet_nacl_penalty=l2_seed3")
    evaluate(tmp_path, "unet_nacl_seed0/calibrated/temperature_all")
    printed = dry_run(tmp_path, "calibrations")

    assert trained(printed) == []
    fitted = re.findall(r"calibrate \S*/acdc/(\S+) .*--calibrator (\w+)", printed)
    assert sorted(fitted) == [
        ("unet_nacl_penalty=l2_seed3", "temperature_all"),
        ("unet_nacl_penalty=l2_seed3", "temperature_union"),
        ("unet_nacl_seed0", "temperature_union"),
    ]


def test_store_of_tracked_runs_is_made_before_any_of_them(tmp_path):
    """Trainings and evaluations are tracked."""
    printed = dry_run(tmp_path, "table4", "--forcerun", "store", datasets="acdc", tracking="mlflow")

    experiment = re.search(r"rule experiment:.*?(?=\nrule |\Z)", printed, flags=re.DOTALL)[0]
    assert len(re.findall(r"--tracking mlflow", experiment)) >= 2
    assert "runs/mlflow.db" in re.search(r"input: (.*)", experiment)[1]
    assert "output: runs/mlflow.db" in printed


def test_training_on_a_cluster_asks_for_a_gpu(tmp_path):
    """Rendering does not. Snakemake 9.0 to 9.5 print <TBD> for a value that they know."""
    if "slurm" not in snakemake("--help"):
        pytest.skip("needs snakemake-executor-plugin-slurm")
    printed = dry_run(tmp_path, "table4", profile="slurm", datasets="acdc")

    experiment = re.search(r"rule experiment:.*?resources: ([^\n]*)", printed, flags=re.DOTALL)[1]
    assert re.search(r"gres=(gpu:1|<TBD>)", experiment)
    assert re.search(r"slurm_partition=(gpu|<TBD>)", experiment)
    render = re.search(r"rule render:.*?resources: ([^\n]*)", printed, flags=re.DOTALL)[1]
    assert "gres" not in render


def test_training_on_a_cluster_goes_on_after_a_failure():
    """It is tried again, and taken back into the queue where its machine is taken away."""
    profile = yaml.safe_load((ROOT / "workflow/profiles/slurm/config.yaml").read_text())

    assert profile["retries"] > 0
    assert profile["slurm-requeue"] is True


def test_experiments_share_a_gpu_where_its_slots_are_said(tmp_path):
    """Each takes one; rendering none."""
    printed = dry_run(tmp_path, "table4", "--resources", "gpu_slots=2", datasets="acdc")

    slots = re.findall(
        r"rule (\w+):(?:(?!\nrule ).)*?resources: [^\n]*gpu_slots=1", printed, re.DOTALL
    )
    assert set(slots) == {"experiment"}


def test_container_has_its_own_command(tmp_path, monkeypatch):
    """With --software-deployment-method apptainer; without, the command of this environment."""
    for name in ("apptainer", "singularity"):  # of which a dry run asks the version alone
        (tmp_path / name).write_text(f"#!/bin/sh\necho {name} version 3.8.0\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    options = ["table4", "--software-deployment-method", "apptainer"]
    contained, plain = (
        dry_run(tmp_path, *arguments, datasets="acdc") for arguments in (options, options[:1])
    )

    assert re.findall(r"^ *(\S*)nacl-monai train", contained, re.MULTILINE)[0] == ""
    assert re.findall(r"^ *(\S*)nacl-monai train", plain, re.MULTILINE)[0] != ""


@pytest.mark.parametrize(
    ("target", "config", "line"),
    [
        ("table1", {"seed": 1}, "Additional properties are not allowed ('seed' was unexpected)"),
        ("table1", {"seeds": "0,1"}, "seeds: '0,1' "),
        ("table1", {"tracking": "wandb"}, "tracking: 'wandb' is not one of ['', 'mlflow']"),
        ("table1", {"threads": 0}, "threads: 0 is less than the minimum of 1"),
        ("table1", {"losses": "nalc"}, "losses: there is no nalc; choose from: "),
        ("table1", {"datasets": "acd"}, "datasets: there is no acd; choose from: "),
        ("table1", {"networks": "ent"}, "networks: there is no ent; choose from: "),
        ("table1", {"datasets": "acdc", "losses": "ml1ace"},
         "table1: shows none of the datasets, losses and networks that were chosen"),
        ("reproduce", {"datasets": "acdc", "losses": "ml1ace"},
         "no table or figure of the paper shows what was chosen; choose from: "),
        ("report", {"datasets": "acdc", "data_dir": "nowhere"},
         "nowhere/acdc: no such folder; set DATA_DIR"),
    ],
)  # fmt: skip
def test_what_nothing_can_be_made_of_is_one_line(tmp_path, target, config, line):
    """Keys and values by the schema, misspelled names, choices that nothing shows, missing data."""
    with pytest.raises(AssertionError) as refused:
        dry_run(tmp_path, target, **config)
    printed = str(refused.value)
    assert f"error: {line}" in printed
    assert "Exception" not in printed
    assert "Traceback" not in printed.partition("Building DAG")[2]


def test_schema_knows_every_key_of_the_configuration():
    """And no other but that of phantoms."""
    schema, config, smoke = (
        yaml.safe_load((ROOT / "workflow" / file).read_text())
        for file in ("schemas/config.schema.yaml", "config.yaml", "smoke.yaml")
    )

    assert set(schema["required"]) == set(config)
    assert set(schema["properties"]) == set(config) | set(smoke)


def test_paths_are_one_word_of_every_command(tmp_path, monkeypatch):
    """Blanks, quotes, dollars and backquotes in the folders of data and runs are kept."""
    folder = tmp_path / AWKWARD
    (folder / "acdc").mkdir(parents=True)
    monkeypatch.setenv("NACL_DATA_DIR", str(folder))
    monkeypatch.setenv("NACL_RUNS", str(folder / "runs"))
    printed = dry_run(tmp_path, "table4", datasets="acdc", seeds=0)

    commands = [
        line.split("nacl-monai", 1)[1]
        for line in printed.splitlines()
        if "nacl-monai train" in line
    ]
    assert commands
    for command in commands:
        args = shlex.split(command)
        assert args[:3] == ["train", "acdc", f"{folder}/acdc"]
        assert args[args.index("--run") + 1].startswith(f"{folder}/runs/acdc/")
    rendering = next(line for line in printed.splitlines() if "nacl-monai paper table4" in line)
    assert f"{folder}/runs" in shlex.split(rendering)


@pytest.mark.nightly
def test_second_call_trains_nothing(tmp_path):
    """The first goes from nothing to a table on phantoms, in two jobs at once."""
    config = {
        "runs": tmp_path / "runs",
        "report": tmp_path / "report",
        "data_dir": tmp_path / "data",
        "datasets": "acdc",
        "losses": "nacl dice_ce",
        "arguments": f"--cache_dir {tmp_path}/cache",
    }
    args = ["--workflow-profile", "workflow/profiles/smoke", "--cores", 2, "table2", "--config"]
    args += [f"{key}={value}" for key, value in config.items()]
    printed = snakemake(*args)

    assert printed.count("rule experiment:") == 2
    table = (tmp_path / "report" / "table2.md").read_text(encoding="utf-8")
    assert "CE+DSC | NACL" in table
    assert "Nothing to be done" in snakemake(*args)
