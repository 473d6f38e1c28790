"""Every table and figure by name, from whatever runs are there, or from nothing by Snakemake."""

import json
import multiprocessing
import os
import re
import shutil
import sys
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nacl_monai.cli import main
from nacl_monai.errors import InputError
from nacl_monai.paper import EXHIBITS, write_all, write_exhibit
from nacl_monai.paper import reproduce_command as command
from nacl_monai.paper.reproduce_command import copy_workflow, workflow_folder
from tests.conftest import ROOT, nightly_but, refused
from tests.paper.test_exhibits import NAMES
from tests.test_makefile import AWKWARD

FIGURES = [name for name in EXHIBITS if name.startswith("figure")]


#: Every exhibit but those of calibrators and of what the paper lacks: the grid has no such runs.
MADE = [name for name, exhibit in EXHIBITS.items() if name != "posthoc" and not exhibit.own_runs]


@pytest.mark.parametrize("name", MADE)
def test_manifest_names_files_that_are_there(reproduced, name):
    """It says which files an exhibit has, and how they were made."""
    manifest = json.loads((reproduced / f"{name}.json").read_text())
    suffixes = {file.rpartition(".")[2] for file in manifest["files"]}

    assert suffixes >= ({"png", "svg"} if name.startswith("figure") else {"md", "csv"})
    assert all((reproduced / file).stat().st_size for file in manifest["files"])
    assert f"nacl-monai paper {name} " in manifest["command"]
    assert (manifest["exhibit"], manifest["title"]) == (name, EXHIBITS[name].title)


def test_calibrators_are_tabulated_where_one_was_fitted(calibrated_grid, reproduced, tmp_path):
    """Beside the trainings that they follow; elsewhere the plain ones are not a table of their own."""
    write_exhibit("posthoc", [calibrated_grid], tmp_path)
    rows = pd.read_csv(tmp_path / "posthoc.csv")

    assert rows["dataset"].unique().tolist() == ["acdc"]
    assert rows["method"].unique().tolist() == [
        f"{loss}{after}"
        for loss in ("dice_ce", "nacl")
        for after in ("", "+temperature_all", "+temperature_union")
    ]
    assert not (reproduced / "posthoc.json").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("painted")
@pytest.mark.parametrize("name", nightly_but(("figure2", "figure5", "figure9"), FIGURES))
def test_figures_are_not_blank(grid, tmp_path, name):
    """Something is drawn, at README width at least."""
    pictures = [path for path in write_exhibit(name, [grid], tmp_path) if path.suffix == ".png"]

    assert pictures
    for path in pictures:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L"))
        assert pixels.shape[1] >= 500
        assert (pixels < 128).mean() > 0.002


def test_same_runs_give_the_same_bytes(grid, reproduced, tmp_path):
    """Tables and figures hold no dates."""
    for name in ("table2", "figure2"):
        for path in write_exhibit(name, [grid], tmp_path):
            if path.suffix != ".json":
                assert path.read_bytes() == (reproduced / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    ("name", "columns"),
    [("table2", ["ece_foreground", "cece_foreground"]), ("figure10", ["ece_union", "cece_union"])],
)
def test_nacl_is_tested_by_what_is_shown(reproduced, name, columns):
    """Against each other method, as `compare_methods` does."""
    tests = pd.read_csv(reproduced / f"{name}_tests.csv").set_index("dataset").loc["acdc"]

    assert list(zip(tests["metric"], tests["method"], strict=True)) == [
        (column, method) for column in columns for method in ("dice_ce", "svls")
    ]


@pytest.mark.slow
def test_all_is_what_has_runs(grid, tmp_path):
    """A dataset with the main runs alone has no ablation, not of other runs either; other files stay."""
    write_exhibit("table3", [grid], tmp_path)
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "table4.json").write_text("{")  # an earlier one, damaged
    files = write_all([grid / "hippocampus"], tmp_path)

    names = {path.stem for path in files if path.suffix == ".json"}
    main = {"table1", "table2", *(f"figure{k}" for k in (1, 2, 4, 5, 10, 11))}
    assert names & set(NAMES) == main
    assert {*tmp_path.iterdir()} == {*files, tmp_path / "README.md"}


def test_ablations_alone_are_refused_before_anything_is_written(grid, tmp_path):
    """Everything is shown beside the main tables."""
    for name in ("unet_nacl_penalty=l2_seed0", "unet_nacl_prior=gaussian_seed0"):
        shutil.copytree(grid / "acdc" / name, tmp_path / "runs" / name)

    line = refused(write_all, [tmp_path / "runs"], tmp_path / "out")
    assert line.startswith("table1: none of its runs exists")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_all_leaves_out_a_figure_of_errors_that_no_run_has(grid_copy, tmp_path):
    """Tables leave out their columns."""
    for file in (grid_copy / "hippocampus").rglob("cases.csv"):
        table = pd.read_csv(file, dtype={"case": str})
        table.drop(columns=["ece_union", "cece_union"]).to_csv(file, index=False)
    files = write_all([grid_copy / "hippocampus"], tmp_path / "out")

    assert {"table2.md", "figure2.csv"} <= {file.name for file in files}
    assert not list((tmp_path / "out").glob("figure10*"))


@pytest.mark.parametrize(
    ("option", "names", "message"),
    [
        ("losses", ["nacl", "dicee"], "there is no dicee; choose from: dice_ce, nacl, svls"),
        ("datasets", ["adcd"], "there is no adcd; choose from: acdc, hippocampus"),
    ],
)
def test_misspelled_name_is_refused_with_those_that_there_are(
    grid, tmp_path, option, names, message
):
    """Else the table would be of the others alone."""
    output = tmp_path / "out"
    line = refused(partial(write_exhibit, **{option: names}), "table1", [grid], output)
    assert line == f"{option}: {message}"
    assert not output.exists()


def test_name_of_the_menu_without_runs_is_none_yet(grid, tmp_path):
    """What is trained of it so far is shown."""
    write_exhibit("table2", [grid], tmp_path, losses=["nacl", "ecp"], datasets=["acdc", "flare"])

    assert pd.read_csv(tmp_path / "table2.csv")["method"].unique().tolist() == ["nacl"]


def test_datasets_losses_and_seeds_narrow_an_exhibit(grid, tmp_path, capsys):
    """The manifest keeps the words."""
    args = ["--datasets", "acdc", "--losses", "nacl", "dice_ce", "--seeds", "0"]

    assert main(["paper", "table2", str(grid), "--output", str(tmp_path / "out"), *args]) == 0

    table = pd.read_csv(tmp_path / "out/table2.csv")
    assert (set(table["dataset"]), set(table["method"])) == ({"acdc"}, {"nacl", "dice_ce"})
    assert set(table["seeds"]) == {1}
    assert " ".join(args) in json.loads((tmp_path / "out/table2.json").read_text())["command"]
    assert capsys.readouterr().out.count("wrote ") == 9


def test_help_lists_every_exhibit_with_its_title(capsys, monkeypatch):
    """And the commands that write several."""
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit):
        main(["paper", "--help"])
    text = " ".join(capsys.readouterr().out.split())

    for name, exhibit in EXHIBITS.items():
        assert f"{name}: {exhibit.title}" in text
    for name in ("all", "report"):
        assert f" {name} " in text


@pytest.fixture
def commands(monkeypatch):
    """The words of each call of Snakemake, which need not be installed."""
    calls = []
    package, cli = ModuleType("snakemake"), ModuleType("snakemake.cli")
    cli.main = calls.append
    monkeypatch.setattr(command, "find_spec", lambda name: ModuleSpec(name, None))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    for name, module in (("snakemake", package), ("snakemake.cli", cli)):
        monkeypatch.setitem(sys.modules, name, module)
    return calls


def test_other_words_are_snakemakes_in_their_order(commands):
    """Lists may be words of one, as make has them."""
    args = ["table1", "figure2", "--cores", "4", "--seeds", "0", "1", "--losses", "nacl svls"]
    assert main(["reproduce", *args, "-n"]) == 0

    (called,) = commands
    assert called[:5] == ["table1", "figure2", "--cores", "4", "-n"]
    assert called[called.index("--config") + 1 :] == ["losses=nacl svls", "seeds=0 1"]


@pytest.mark.usefixtures("commands")
def test_what_trainings_take_is_said_before_they_begin(capsys):
    """Hours and memory as the datasets' own lines have them; phantoms take minutes."""
    assert main(["reproduce", "table1", "--runs", "mine", "-n"]) == 0
    printed = capsys.readouterr().err
    for dataset in ("hippocampus", "acdc"):
        text = (ROOT / f"bundles/{dataset}/configs/dataset.yaml").read_text(encoding="utf-8")
        hours, memory = re.search(r"100 epochs: ([\d.]+) hours on a CPU, (\d+) MiB", text).groups()
        assert f" {hours} " in printed
        assert 0.5 <= int(memory) / 1024 <= 1
    assert printed.endswith("trainings are in mine, tables and figures in runs/report.\n")

    assert main(["reproduce", "table1", "--profile", "smoke"]) == 0
    assert capsys.readouterr().err == ""


def test_configuration_of_the_user_is_not_lost(commands):
    """Beside what narrows the grid, as often as it is given, by either name."""
    args = ["table1", "--config", "threads=2", "--seeds", "1", "-R", "experiment"]
    assert main(["reproduce", *args, "-C", "train_arguments=--max_epochs 5"]) == 0

    (called,) = commands
    config = ["seeds=1", "threads=2", "train_arguments=--max_epochs 5"]
    assert called[called.index("--config") + 1 :] == config
    assert called.count("--config") == called.count("--forcerun") == 1
    assert called[called.index("--forcerun") + 1 :][:2] == ["render", "experiment"]


def test_folders_go_by_the_environment(commands):
    """Snakemake reads what is given to it as YAML, in which a path may mean something else."""
    assert main(["reproduce", "--data_dir", f"/{AWKWARD}", "--runs", AWKWARD]) == 0

    assert (os.environ["NACL_DATA_DIR"], os.environ["NACL_RUNS"]) == (f"/{AWKWARD}", AWKWARD)
    assert "--config" not in commands[0]


def test_missing_snakemake_is_one_line_with_the_extra(monkeypatch, capsys):
    """Before anything is done."""
    monkeypatch.setattr(command, "find_spec", lambda _: None)

    assert main(["reproduce", "table1"]) == 1
    line = "error: snakemake: is not installed; pip install 'snakemake>=9'"
    assert capsys.readouterr().err.startswith(line)


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    """A working directory with nothing in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_copy_takes_the_place_of_the_packages_workflow(empty, capsys):
    """With its rules and profiles, and it is never written over."""
    assert workflow_folder() == ROOT / "workflow"
    assert main(["reproduce", "--copy"]) == 0
    assert capsys.readouterr().out == "wrote workflow\n"
    assert workflow_folder() == Path("workflow")
    folders = (empty / "workflow", ROOT / "workflow")
    copied, own = ({file.relative_to(root) for file in root.rglob("*")} for root in folders)
    assert copied == own
    assert main(["reproduce", "--copy"]) == 1
    assert capsys.readouterr().err.startswith("error: workflow: is there already")


def test_workflow_of_another_project_is_left_alone(empty):
    """Whoever uses Snakemake has a folder of the same name."""
    (empty / "workflow/rules").mkdir(parents=True)
    (empty / "workflow/Snakefile").touch()

    assert workflow_folder() == ROOT / "workflow"


def test_copy_of_a_package_that_nobody_may_write_can_be_changed(empty, monkeypatch):
    """As on a cluster, where the package is installed for all."""
    installed = shutil.copytree(ROOT / "workflow", empty / "installed")
    for path in (*installed.rglob("*"), installed):
        path.chmod(path.stat().st_mode & ~0o222)
    monkeypatch.setattr("nacl_monai.paper.reproduce_command.shipped", lambda _: installed)

    copied = copy_workflow()

    assert all(path.stat().st_mode & 0o200 for path in (copied, *copied.rglob("*")))
    for path in (installed, *filter(Path.is_dir, installed.rglob("*"))):
        path.chmod(0o755)


def test_profile_is_found_by_its_name_or_is_a_folder(commands, empty, capsys):
    """A name is one of the workflow's before it is a folder's."""
    (empty / "slurm").mkdir()
    (empty / "mine").mkdir()
    for name, folder in (("slurm", ROOT / "workflow/profiles/slurm"), ("mine", empty / "mine")):
        assert main(["reproduce", "--profile", name]) == 0
        command = commands.pop()
        assert command[command.index("--workflow-profile") + 1] == str(folder.resolve())

    capsys.readouterr()
    assert main(["reproduce", "--profile", "slurn"]) == 2
    assert capsys.readouterr().err == (
        "error: --profile: there is no slurn; choose from: local, slurm, smoke, or name a folder\n"
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--data_dir", "a", "-C", "data_dir=b"], "data_dir: is set by --data_dir, too"),
        (["--datasets", "acdc", "-C", "datasets=kits"], "datasets: is set by --datasets, too"),
        (["-C", "threads=2", "seeds=1", "threads=3"], "threads: is set twice"),
    ],
)
def test_key_that_is_set_twice_is_refused(commands, capsys, args, message):
    """Neither is taken without a word."""
    assert main(["reproduce", "table1", *args]) == 2
    assert capsys.readouterr().err == f"error: --config {message}; leave one of them out\n"
    assert not commands


def visible(folder):
    """The bytes of every file in a folder, but for the record of who wrote it."""
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}


def test_command_replaces_its_own_files_at_once(grid, tmp_path, monkeypatch):
    """Those of other tables and of users stay, and all where it fails half-way."""
    output = tmp_path / "out"
    assert main(["paper", "table2", str(grid), "--output", str(output)]) == 0
    (output / "notes.txt").write_text("mine")
    before = visible(output)
    with monkeypatch.context() as patch:
        patch.setattr("nacl_monai.paper.reproduce._write_tests", fail)
        for name in ("table2", "table3", "all"):
            assert main(["paper", name, str(grid), "--output", str(output)]) == 1
            assert visible(output) == before
    args = ["--datasets", "acdc", "--losses", "nacl"]  # of which nothing is tested
    assert main(["paper", "table2", str(grid), "--output", str(output), *args]) == 0

    assert sorted(visible(output)) == ["notes.txt", "table2.csv", "table2.json", "table2.md"]
    assert f"--output {output} " in (output / "table2.json").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def fail(*_):
    raise InputError("x: is wrong; change it")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_several_tables_at_once_wait_for_each_other(grid, tmp_path):
    """As the workflow makes them."""
    names = ("table2", "table3", "table4")
    output = str(tmp_path / "out")
    context = multiprocessing.get_context("fork")

    def make(name):
        sys.exit(main(["paper", name, str(grid), "--output", output]))

    several = [context.Process(target=make, args=(name,)) for name in names]
    for process in several:
        process.start()
    for process in several:
        process.join()

    assert [process.exitcode for process in several] == [0, 0, 0]
    assert {path.stem for path in (tmp_path / "out").glob("*.json")} >= set(names)
