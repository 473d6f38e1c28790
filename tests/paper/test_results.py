"""Runs of a grid are found by their names, trained alike, selected for tables, and scored."""

import json
import shutil
from copy import deepcopy
from dataclasses import replace
from functools import reduce
from itertools import product
from operator import getitem, or_
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from monai.metrics import DiceMetric

from nacl_monai.menus import fragments
from nacl_monai.metrics import expected_dice, hausdorff_distance, structure_masks
from nacl_monai.paper import EXHIBITS, read_results
from nacl_monai.paper.grid import Method, Setup, after_training, grid_of, main_grid, read_name
from nacl_monai.paper.reproduce import command_line
from nacl_monai.paper.results import CONVENTIONS, as_authors, first_runs
from nacl_monai.paper.tables import COLUMNS, methods_to_markdown, to_markdown
from nacl_monai.paper.trainings import (
    SHARED,
    TRIAL,
    check_trained_alike,
    config_of,
    remarks,
    resolved,
    unlike_name,
)
from tests.conftest import refused
from tests.evaluated_runs import rename_cases, write_experiment
from tests.same import same_bits, same_values


def names(results):
    return [f"{folder.parent.name}/{folder.name}" for folder in results.folders.values()]


def test_calibrated_evaluation_is_a_method_of_its_own(calibrated_grid):
    """It is found below its run, has the run's seed, and is in no table of plain methods."""
    results = read_results([calibrated_grid])
    folders = {
        (experiment.method.name, experiment.seed): folder
        for experiment, folder in results.folders.items()
        if experiment.method.after
    }

    assert len(folders) == 9
    folder = calibrated_grid / "acdc/unet_nacl_seed1/calibrated/temperature_all"
    assert folders["nacl+temperature_all", 1] == folder
    assert not any(entry.method.after for entry in results.select(main_grid()).folders)


def test_calibrated_cases_stand_beside_the_plain_ones(calibrated_grid):
    """Every loss as trained first; seeds that not all have are left out, and so are their ensembles."""
    results = read_results([calibrated_grid]).select(after_training(), datasets=["acdc"])

    assert results.cases("acdc")["method"].unique().tolist() == [
        f"{loss}{after}"
        for loss in ("dice_ce", "svls", "nacl")
        for after in ("", "+temperature_all", "+temperature_union")
    ]
    assert results.seeds == [0]


def test_ensemble_has_no_seed_of_its_own(calibrated_grid):
    """The seeds that all other methods have are counted; it is of them all."""
    ours = read_results([calibrated_grid]).select(after_training(), losses=["nacl"])
    assert ours.select(after_training(), datasets=["acdc"]).seeds == [0, 1]
    seeds = ours.cases("acdc").groupby("method")["seed"].unique().map(list).to_dict()

    assert seeds.pop("nacl+ensemble") == [0]
    plain_and_behind = ("nacl", "nacl+temperature_all", "nacl+temperature_union")
    assert seeds == {name: [0, 1] for name in plain_and_behind}


@pytest.mark.parametrize("seeds", [[0], [0, 1, 2]])
def test_ensemble_of_other_trainings_than_those_shown_is_left_out(calibrated_grid, tmp_path, seeds):
    """With more it would be steadier than its neighbors; with fewer it is not "of all trainings"."""
    root = Path(shutil.copytree(calibrated_grid / "acdc", tmp_path / "acdc"))
    shutil.copytree(root / "unet_nacl_seed1", root / "unet_nacl_seed2")

    chosen = read_results([root]).select(after_training(), losses=["nacl"], seeds=seeds)

    assert chosen.seeds == seeds
    assert not any(method.joins_seeds for method in chosen.methods)


def test_ensemble_of_which_nobody_knows_the_trainings_is_refused(calibrated_grid, tmp_path):
    """In one line."""
    root = Path(shutil.copytree(calibrated_grid / "acdc", tmp_path / "acdc"))
    file = root / "unet_nacl_seed0/calibrated/ensemble/calibrator.json"
    for change in (lambda: file.write_text("{}"), file.unlink):
        change()
        line = refused(read_results([root]).select, after_training())
        assert line.startswith(f"{file}: does not name the trainings")


def test_every_run_at_any_depth_is_found(results):
    """Nothing whose name is not an experiment's is; the paper's datasets are first."""
    assert len(results.folders) == 14
    assert results.datasets == ["acdc", "hippocampus"]
    assert results.networks == ["attention_unet", "unet"]
    assert results.seeds == [0, 1]


def test_datasets_are_in_the_paper_s_order_then_by_name(grid_copy):
    """Runs of the same dataset stay together."""
    runs = ("unet_dice_ce_seed0", "unet_nacl_seed0")
    for dataset in ("beta", "kits", "alpha"):
        for run in reversed(runs):
            source = grid_copy / "hippocampus/unet_nacl_seed0"
            copy = shutil.copytree(source, grid_copy / dataset / run)
            (copy / "evaluation" / "summary.json").write_text(json.dumps({"dataset": dataset}))
    results = read_results([grid_copy])

    assert results.datasets == ["acdc", "kits", "alpha", "beta", "hippocampus"]
    expected = [f"{dataset}/{run}" for dataset in results.datasets[1:] for run in runs]
    assert names(results)[-8:] == expected


def test_cases_say_what_their_run_was(grid, results):
    """The rows of every cases.csv, behind method, network, fraction, fold (0 without any) and seed."""
    cases = results.cases("acdc")

    assert len(cases) == 12 * 6
    assert list(cases)[:7] == ["method", "network", "fraction", "fold", "seed", "case", "patient"]
    assert cases["fold"].unique().tolist() == [0]
    half = cases[cases["fraction"] == 0.5]
    assert half["method"].unique().tolist() == ["nacl"]
    file = grid / "acdc" / "unet_nacl_train_fraction=0.5_seed0" / "evaluation" / "cases.csv"
    assert half["dice"].tolist() == pytest.approx(pd.read_csv(file)["dice"].tolist())
    assert half["patient"].tolist() == ["p0", "p1", "p1", "p2", "p2", "p3"]


def test_main_tables_have_nothing_of_the_ablations(results):
    """Neither another network nor a part of the training patients; methods are in the grid's order."""
    assert names(results.select(main_grid())) == [
        "acdc/unet_dice_ce_seed0",
        "hippocampus/unet_dice_ce_seed0",
        "acdc/unet_svls_seed0",
        "acdc/unet_nacl_seed0",
        "hippocampus/unet_nacl_seed0",
    ]


def test_only_common_seeds_count(grid_copy):
    """Seeds that only some methods have are left out; without a common one, all count."""
    results = read_results([grid_copy])

    assert results.select(main_grid(), datasets=["acdc"]).seeds == [0]
    assert results.select(main_grid(), losses=["nacl", "dice_ce"]).seeds == [0, 1]
    shutil.move(grid_copy / "acdc/unet_svls_seed0", grid_copy / "acdc/unet_svls_seed2")
    assert read_results([grid_copy]).select(main_grid(), datasets=["acdc"]).seeds == [0, 1, 2]


def test_seeds_of_one_dataset_do_not_narrow_another(results):
    """Both methods have two seeds of ACDC, and one of the hippocampus."""
    chosen = results.select(grid_of(("dice_ce", "nacl")))

    assert sum(name.startswith("acdc") for name in names(chosen)) == 4
    assert sum(name.startswith("hippocampus") for name in names(chosen)) == 2


def test_first_run_of_a_method_has_the_first_seed_network_and_fraction(results):
    """Pictures of single runs show the UNet on all patients, under the labels of the methods."""
    runs = first_runs(results, "acdc")

    assert {run.name: run.folder.name for run in runs if "(" not in run.name} == {
        "CE+DSC": "unet_dice_ce_seed0",
        "SVLS": "unet_svls_seed0",
        "NACL": "unet_nacl_seed0",
    }
    assert {run.folder.parent.name for run in runs} == {"acdc"}


def test_folder_without_runs_is_one_line(tmp_path):
    """It says what is expected there."""
    line = refused(read_results, [tmp_path])
    assert "no evaluated run below; expected <network>_<loss>_seed<n>/evaluation/cases.csv" in line


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        *(("{}", "is not as it was written, its 'dataset' cannot be"), ("", "is damaged")),
        ('{"dataset": "ac', "is damaged"),
    ],
    ids=["none", "empty", "torn"],
)
def test_evaluation_that_does_not_name_its_dataset_is_refused(grid_copy, content, fault):
    """Only its summary says what data a run is of; without the run, a mean would be of fewer seeds."""
    file = grid_copy / "acdc/unet_svls_seed0/evaluation/summary.json"
    file.write_text(content)

    assert refused(read_results, [grid_copy]).startswith(f"{file}: {fault}; ")


def test_folder_of_another_name_is_left_out(grid_copy):
    """It is not an experiment, whatever is in it."""
    run = grid_copy / "acdc" / "unet_svls_seed0"
    run.rename(run.with_name("best"))

    found = names(read_results([grid_copy]))

    assert "acdc/unet_nacl_seed0" in found
    assert not {"acdc/unet_svls_seed0", "acdc/best"} & set(found)


def test_runs_behind_links_are_found(grid_copy, tmp_path):
    """Links to a folder and to single runs, as where a disk is full; a link upward ends, too."""
    expected = names(read_results([grid_copy]))
    moved = tmp_path / "large_disk"
    moved.mkdir()
    run = grid_copy / "acdc" / "unet_nacl_seed0"
    shutil.move(run, moved / "run")
    run.symlink_to(moved / "run")
    shutil.move(grid_copy, moved / "all")
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "runs").symlink_to(moved / "all")
    (moved / "all/acdc/again").symlink_to(linked)

    assert names(read_results([linked])) == expected


def test_run_in_two_places_is_refused(grid_copy):
    """It would count twice."""
    run = grid_copy / "acdc" / "unet_nacl_seed0"
    shutil.copytree(run, grid_copy / "old" / run.name)

    assert "the same run as" in refused(read_results, [grid_copy])


@pytest.mark.parametrize("copied", [shutil.copytree, lambda run, to: to.symlink_to(run)])
def test_run_under_the_name_of_another_training_is_refused(grid_copy, copied):
    """A copy of a seed is not a second training, nor is a renamed run of its new loss."""
    run, second = (grid_copy / f"acdc/unet_svls_seed{seed}" for seed in (0, 1))
    config = {"loss": "@losses::svls", "losses": {"svls": {"sigma": 2.0}}, "seed": 0}
    (run / "config.json").write_text(json.dumps(config))
    assert "acdc/unet_svls_seed0" in names(read_results([grid_copy]))
    copied(run, second)

    message = f"{second}: was trained otherwise than its name says, seed (1, now 0)"
    assert refused(read_results, [grid_copy]).startswith(message)


def test_runs_that_were_trained_unlike_are_not_shown_together(grid_copy):
    """In no table or figure; apart they are, and so is whatever was trained alike."""
    nacl, svls = (grid_copy / f"acdc/unet_{loss}_seed0" for loss in ("nacl", "svls"))
    for run, rate in ((nacl, 0.001), (svls, 0.01)):
        (run / "config.json").write_text(json.dumps({"learning_rate": rate, "max_epochs": 5}))
    results = read_results([grid_copy])

    for exhibit in ("table1", "figure5"):
        line = refused(EXHIBITS[exhibit].select, results)
        assert line.startswith(f"{svls}: was trained otherwise than {nacl}, ")
    assert results.select(main_grid(), losses=["nacl", "dice_ce"]).folders
    assert results.select(main_grid(), datasets=["hippocampus"]).folders


STRUCTURES = {"a": [1], "b": [2]}


CASES = Path("cases.csv")


def evaluated(prediction, label):
    """The columns of one case as an evaluation writes them, rounded as in a file."""
    prediction, label = (
        torch.tensor(values)[None, None, :, None, None] for values in (prediction, label)
    )
    probs = 0.94 * torch.nn.functional.one_hot(prediction[:, 0], 3).movedim(-1, 1) + 0.02
    masks = [structure_masks(volume, STRUCTURES, dim=1) for volume in (prediction, label)]
    row = {
        "dice": DiceMetric(reduction="none")(*masks)[0],
        "hd95": hausdorff_distance(*masks)[0],
        "expected_dice": expected_dice(probs, STRUCTURES)[0],
    }
    columns = {
        f"{metric}_{name}": round(values[k].item(), 6)
        for metric, values in row.items()
        for k, name in enumerate(STRUCTURES)
    }
    return columns | {metric: values.nanmean().item() for metric, values in row.items()}


VOLUMES = {
    "both": ([0, 1, 2, 2], [0, 1, 2, 0]),
    "missed": ([0, 0, 2, 2], [0, 1, 2, 2]),
    "elsewhere": ([1, 0, 2, 2], [0, 1, 2, 2]),
    "absent": ([0, 0, 2, 2], [0, 0, 2, 2]),
    "absent but predicted": ([0, 1, 2, 2], [0, 0, 2, 2]),
    "nothing at all": ([0, 0, 0, 0], [0, 0, 0, 0]),
}


def test_scores_are_those_of_the_authors_rule():
    """From label and prediction, for every way in which a structure can be absent."""
    table = pd.DataFrame({name: evaluated(*pair) for name, pair in VOLUMES.items()}).T
    scored = as_authors(table, CASES)

    for name, (prediction, label) in VOLUMES.items():
        for structure, (value,) in STRUCTURES.items():
            columns = [f"dice_{structure}", f"hd95_{structure}"]
            measured = table.loc[name, columns].tolist() if value in prediction else [0, 0]
            expected = measured if value in label else [1, 0]
            assert scored.loc[name, columns].tolist() == expected, (name, structure)
    assert scored.loc["missed", ["dice", "hd95"]].tolist() == [0.5, 0]
    assert scored.loc["nothing at all", ["dice", "hd95"]].tolist() == [1, 0]
    same_bits(scored["expected_dice"], table["expected_dice"], "the column is not touched")


def test_earlier_evaluation_is_scored_where_nothing_is_in_doubt():
    """Without an expected DSC, a DSC of 0 may be a miss or a hit elsewhere: refused by name."""
    table = pd.DataFrame({"dice_a": [0.5, np.nan], "hd95_a": [2.0, np.nan]}, index=["x", "y"])
    assert as_authors(table, CASES)["dice"].tolist() == [0.5, 1]

    line = refused(as_authors, table.assign(dice_a=[0.0, np.nan]), CASES)
    assert line.startswith("cases.csv: dice_a of case 'x' is 0, and no expected")


def test_difference_is_printed_where_conventions_agree(grid):
    """ECE always, DSC by the authors' conventions alone, CECE never; the paper's number always."""
    shown = {}
    for name in CONVENTIONS:
        results = read_results([grid], name)
        for exhibit in (EXHIBITS["table1"], EXHIBITS["table2"]):
            table = exhibit.content.summary(exhibit.select(results, datasets=["acdc"]))
            assert table[table["paper"].notna()]["metric"].nunique() == 2
            shown[name] = shown.get(name, set()) | set(table[table["difference"].notna()]["metric"])
        command = command_line("table1", [grid], "out", {"conventions": name})
        assert ("--conventions authors" in command) == (name == "authors")

    assert shown == {"project": {"ece_foreground"}, "authors": {"ece_foreground", "dice", "hd95"}}


RECORD = {
    "dims": 3,
    "size": [48, 64],
    "patch": "@inner::size",
    "inner": {"size": [8, 8, 8], "_desc_": {"label": "Inner"}},
    "window": "$[None, None, @size, @patch][@dims]",
    "batch": "$[None, None, 16, 2][@dims]",
}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("@patch", [8, 8, 8]),
        ("@window", [8, 8, 8]),
        ("@batch", 2),
        (["@size", 5, None], [[48, 64], 5, None]),
        ({"a": "@inner", "_desc_": "of a"}, {"a": {"size": [8, 8, 8]}}),
        ("@missing", "@missing"),
        ("$len(@size)", "$len(@size)"),
        ("plain", "plain"),
    ],
)
def test_references_are_followed_and_expressions_kept(value, expected):
    """At any depth; what a record lacks stays a reference."""
    assert resolved(value, RECORD) == expected


def test_configuration_is_that_of_the_training_and_may_be_missing(tmp_path):
    """A calibrator's folder is within its run; a damaged file is refused."""
    assert config_of(tmp_path) == {}
    file, calibrated = tmp_path / "config.json", tmp_path / "calibrated" / "temperature_all"
    calibrated.mkdir(parents=True)
    file.write_text('{"seed": 4}')
    assert config_of(tmp_path) == config_of(calibrated) == {"seed": 4}
    file.write_text('{"seed": ')
    assert refused(config_of, tmp_path).startswith(f"{file}: is damaged")


TRAINED = {
    "loss": "@losses::nacl",
    "losses": {"nacl": {"_target_": "nacl_monai.losses.NACLLoss", "penalty_weight": 0.1}},
    "network_def": "@networks::unet",
    "dims": 2,
    "train_fraction": 1.0,
    "seed": 0,
}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("unet_nacl_seed0", {}),
        ("unet_nacl_seed0", {"fold": 0}),
        ("unet_nacl_fold=2_seed0", {"fold": 2}),
        ("unet3d_nacl_seed0", {"dims": 3}),
        ("unet_nacl_penalty_weight=0.3_seed0", {"losses": {"nacl": {"penalty_weight": 0.3}}}),
        ("unet_nacl_max_epochs=5_seed0", {"max_epochs": 5}),
        ("unet_nacl_width_mm=2_seed0", {"losses": {"nacl": {"width_mm": 2}}}),
        ("unet_nacl_seed0", {"losses": {"nacl": {"ignore_index": "@ignore_index"}}}),
        ("unet_nacl_seed0", {"losses": {"svls": {"class_weights": [1, 2]}}}),
    ],
)
def test_name_that_says_what_was_trained_is_like_it(name, changes):
    """Whatever else the configuration holds, or lacks."""
    experiment = read_name("acdc", name)

    assert unlike_name(experiment, TRAINED | changes) == []
    assert unlike_name(experiment, changes) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "@losses::dice_ce"}, "loss (nacl, now dice_ce)"),
        ({"network_def": "@networks::dynunet"}, "network (unet, now dynunet)"),
        ({"dims": 3}, "network (unet, now unet3d)"),
        ({"seed": 1}, "seed (0, now 1)"),
        ({"fold": 2}, "fold (0, now 2)"),
        ({"train_fraction": 0.5}, "train_fraction (1.0, now 0.5)"),
        ({"losses": {"nacl": {"penalty_weight": 0.3}}}, "penalty_weight (0.1, now 0.3)"),
        ({"losses": {"nacl": {"class_weights": [1, 2]}}}, "class_weights (not set, now [1, 2])"),
        ({"losses": {"nacl": {"ignore_index": 3}}}, "ignore_index (not set, now 3)"),
    ],
)
def test_training_that_its_name_does_not_say_is_unlike_it(changes, message):
    """A setting that was given behind the command has no place in the name that it chooses."""
    assert unlike_name(read_name("acdc", "unet_nacl_seed0"), TRAINED | changes) == [message]


CONFIG = {
    "dims": 2,
    "seed": 0,
    "max_epochs": 10,
    "learning_rate": 0.001,
    "batch_size": "$[None, None, 16, 2][@dims]",
    "precision": "auto",
    "spatial_size": [48, 64],
    "patch": [48, 64, 48],
    "window": "$[None, None, @spatial_size, @patch][@dims]",
    "slice_transforms": [],
    "flip_axes": [0],
    "augmentations": {
        "none": [],
        "light": {"_target_": "random", "flip_axes": "@flip_axes", "degrees": 10.0},
    },
    "augmentation": "@augmentations::none",
    "networks": {
        "unet": {
            "_desc_": {"label": "UNet"},
            "_target_": "UNet",
            "spatial_dims": "@dims",
            "channels": [16, 32],
        },
        "dynunet": {"_target_": "DynUNet", "filters": [8, 16]},
    },
    "network_def": "@networks::unet",
    "pretrained": False,
    "loss_function": {"loss": "@loss", "weights": None},
    "train": {
        "optimizer": {"_target_": "torch.optim.Adam", "lr": "@learning_rate"},
        "lr_scheduler": {"_target_": "StepLR", "step_size": 5, "gamma": 0.1},
    },
}


@pytest.fixture
def record(tmp_path):
    """Writes the configuration of a training; returns what names it."""

    def write(name, config, dataset="acdc"):
        folder = tmp_path / dataset / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config))
        return {read_name(dataset, name): folder}

    return write


@pytest.fixture
def run(record):
    """Writes the record of a training that differs in some keys; returns what names it."""

    def write(name, changes=None, without=()):
        config = deepcopy(CONFIG)
        for key, value in (changes or {}).items():
            *above, last = key.split("::")
            reduce(getitem, above, config)[last] = value
        return record(name, {key: value for key, value in config.items() if key not in without})

    return write


def refusal(*runs):
    return refused(check_trained_alike, reduce(or_, runs))


LIGHT = {"augmentation": "@augmentations::light"}


DYNUNET = {"network_def": "@networks::dynunet"}


PATCHES = {"dims": 3, "learning_rate": 0.01}


OPTIMIZER = "train::optimizer::"


#: What the record of another training has otherwise, and what is said of it.
UNLIKE = [
    ({"learning_rate": 0.01}, "learning_rate (0.001, now 0.01)"),
    ({"batch_size": 8}, "batch_size (16, now 8)"),
    ({"batch_size": "$[None, None, 8, 2][@dims]"}, "batch_size (16, now 8)"),
    ({"precision": "float32"}, "precision (auto, now float32)"),
    ({"window": [32, 32]}, "window::0 (48, now 32)"),
    ({"slice_transforms": [{"_target_": "Flip"}]}, "slice_transforms::0::_target_ (not set, now"),
    (LIGHT, "augmentation::_target_ (not set, now random)"),
    ({f"{OPTIMIZER}_target_": "SGD"}, f"{OPTIMIZER}_target_ (torch.optim.Adam, now"),
    ({f"{OPTIMIZER}weight_decay": 0.1}, f"{OPTIMIZER}weight_decay (not set, now 0.1)"),
    ({f"{OPTIMIZER}lr": 0.1}, f"{OPTIMIZER}lr (0.001, now 0.1)"),
    ({"train::lr_scheduler::gamma": 0.5}, "train::lr_scheduler::gamma (0.1, now 0.5)"),
    ({"loss_function::weights": [2, 1]}, "loss_function::weights::0 (not set, now 2)"),
    ({"networks::unet::channels": [8, 16]}, "networks::unet::channels::0 (16, now 8)"),
    ({"networks::unet::channels": [16]}, "networks::unet::channels::1 (32, now not set)"),
    ({"networks::unet::dropout": 0.2}, "networks::unet::dropout (not set, now 0.2)"),
    ({"pretrained": "/data/weights.pt"}, "pretrained (False, now weights.pt)"),
    # What names say, what decides nothing, another number of epochs, the same in other words.
    ({"seed": 1, "loss": "@losses::dice_ce", "train_fraction": 0.5}, ""),
    ({"max_epochs": 40, "train::lr_scheduler::step_size": {"max_epochs": "@max_epochs"}}, ""),
    ({"batch_size": 16, "networks::unet::spatial_dims": 2, "window": [48, 64]}, ""),
    ({"networks::dynunet::filters": [4], "networks::unet::_desc_": {"label": "U-Net"}}, ""),
    ({"augmentations::light::degrees": 30.0, "flip_axes": [], "patch": [32, 32, 32]}, ""),
    ({"num_workers": 4}, ""),
]


def mine(width):
    return {"network_def": {"_target_": "my.MyNet", "width": width}}


def weights(file):
    return {"pretrained": file}


#: The names of two networks, their records, and what is said of them.
PAIRS = [
    *(("unet", {}, "unet", changes, message) for changes, message in UNLIKE),
    ("unet", LIGHT, "unet", LIGHT | {"flip_axes": [1]}, "augmentation::flip_axes::0 (0, now 1)"),
    # The arguments and first weights of each network are its own.
    ("unet", {}, "dynunet", DYNUNET | weights("a/weights.pt"), ""),
    ("unet", {}, "dynunet", DYNUNET | {"learning_rate": 0.01}, "learning_rate (0.001, now 0.01)"),
    ("dynunet", DYNUNET, "dynunet", DYNUNET | {"networks::dynunet::filters": [4, 8]},
     "networks::dynunet::filters::0 (8, now 4)"),
    ("MyNet", mine(0), "MyNet", mine(1), "network_def::width (0, now 1)"),
    ("unet", weights("/a/weights.pt"), "unet", weights("/b/weights.pt"), ""),
    ("unet", weights("/a/weights.pt"), "unet", weights("/a/others.pt"),
     "pretrained (weights.pt, now others.pt)"),
    # Slices and patches are trained differently.
    ("unet", {}, "unet3d", PATCHES, ""),
    ("unet3d", PATCHES, "unet3d", PATCHES | {"patch": [32, 32, 32]}, "window::0 (48, now 32)"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes", "other", "other_changes", "message"), PAIRS)
def test_trainings_that_differ_in_what_no_name_says_are_refused(
    run, name, changes, other, other_changes, message
):
    """Both are named, with the first difference."""
    runs = run(f"{name}_nacl_seed0", changes), run(f"{other}_dice_ce_seed0", other_changes)
    if not message:
        check_trained_alike(reduce(or_, runs))
        return
    (first,), (second,) = (run.values() for run in runs)
    line = refusal(*runs)
    assert line.startswith(f"{second}: was trained otherwise than {first}, {message}")
    assert line.endswith("; train both alike, or show them apart")


@pytest.mark.parametrize("key", ["precision", "window", "batch_size", "augmentation", "train"])
def test_what_a_record_lacks_is_not_compared(run, key):
    """One of an earlier version may; without any record, nothing is."""
    check_trained_alike(run("unet_nacl_seed0") | run("unet_svls_seed0", without=[key]))
    check_trained_alike(run("unet_nacl_seed1", without=CONFIG) | run("unet_svls_seed1"))


def test_record_of_the_version_before_3d_is_compared(run):
    """It has the numbers themselves where later ones refer to the dimensions."""
    earlier = {"batch_size": 16, "networks::unet::spatial_dims": 2}
    lacking = ("dims", "window", "patch", "pretrained", "augmentation", "augmentations")
    first = run("unet_nacl_seed0", earlier, lacking)

    check_trained_alike(first | run("unet_svls_seed0"))
    other = run("unet_ecp_seed0", earlier | {"learning_rate": 0.01}, lacking)
    assert "learning_rate (0.001, now 0.01)" in refusal(first, other)


def test_earlier_version_between_two_runs_hides_no_difference(run):
    """The later two are compared, too."""
    runs = [
        run("unet_nacl_seed0", without=["precision"]),
        run("unet_svls_seed0", {"precision": "float32"}),
        run("unet_focal_seed0", {"precision": "bfloat16"}),
    ]

    assert "unet_focal_seed0: was trained otherwise than" in refusal(*runs)
    check_trained_alike(runs[0] | runs[1])


def test_datasets_are_not_compared(run):
    """Each may have a protocol of its own."""
    first, second = run("unet_nacl_seed0"), run("unet_nacl_seed1", {"learning_rate": 0.01})

    check_trained_alike(first | {replace(key, dataset="kits"): at for key, at in second.items()})


def test_no_expression_of_a_record_is_evaluated(run, tmp_path):
    """It may be somebody else's; it is compared as it is written."""
    code = f"$open({str(tmp_path / 'made')!r}, 'w')"
    first, second = (run(f"unet_nacl_seed{n}", {"precision": code}) for n in (0, 1))

    check_trained_alike(first | second)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("damage", [5, "@", [], None])
def test_record_of_odd_values_ends_in_no_traceback(run, damage):
    """It is compared as far as it goes."""
    odd = dict.fromkeys(("dims", "network_def", "networks", "train", "window"), damage)
    check_trained_alike(run("unet_nacl_seed0", without=odd) | run("unet_svls_seed0", odd))


def test_keys_are_those_of_today_s_configuration():
    """One that is called otherwise by now would be compared no more."""
    files = map(Path.read_text, fragments("acdc", "train"))
    config = reduce(or_, map(yaml.safe_load, files))

    for key in SHARED:
        reduce(getitem, key.split("::"), config)


@pytest.fixture
def folds(tmp_path):
    """Two seeds of two methods, cross-validated: each fold tests patients of its own."""
    root = tmp_path / "folds"
    for seed, loss, fold in product(range(2), ("dice_ce", "nacl"), range(2)):
        run = write_experiment(root, "mrbrains", f"unet_{loss}_fold={fold}_seed{seed}", 0.5)
        rename_cases(run, str(fold))
    return root / "mrbrains"


def test_folds_together_are_one_training(folds):
    """They test every patient once, in the fold that a column tells."""
    cases = read_results([folds]).cases("mrbrains")

    assert len(cases) == 2 * 2 * 2 * 7
    assert cases.groupby(["method", "seed"])["case"].nunique().tolist() == [14] * 4
    same_values(cases["fold"], cases["case"].str[0].astype(int))


def call_the_second_fold_the_third(folds):
    for run in list(folds.glob("*fold=1*")):
        run.rename(run.with_name(run.name.replace("fold=1", "fold=2")))


def share_a_patient(folds):
    for run in folds.glob("*fold=1*"):
        file = run / "evaluation/cases.csv"
        file.write_text(file.read_text().replace(",1p3,", ",0p3,"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folds: shutil.rmtree(folds / "unet_nacl_fold=1_seed0"), "seed0: its training has"),
        (lambda folds: shutil.rmtree(folds / "unet_nacl_fold=1_seed1"), "seed1: its training has"),
        (call_the_second_fold_the_third, "has the folds 0, 2, but there are 0, 1, 2"),
        # By its number, and by the default, which a name need not say.
        (lambda folds: shutil.copytree(folds / "unet_nacl_fold=0_seed0", folds / "unet_nacl_seed0"),
         "its training has the folds 0, 0, 1, but"),
        (share_a_patient, "patient '0p3' is tested in another fold, too"),
    ],
)  # fmt: skip
def test_folds_that_do_not_test_every_patient_once_are_refused(folds, change, message):
    """A mean would be over other patients than that of another method, or of networks that saw some."""
    change(folds)

    assert message in refused(read_results([folds]).cases, "mrbrains")


MENU = yaml.safe_load(Path("bundles/common/model.yaml").read_text(encoding="utf-8"))["networks"]


def changed(network, /, **settings):
    return {"networks": {**MENU, network: {**MENU[network], **settings}}}


def test_lengths_are_told_once_each_where_they_differ(record):
    """Shortest first; a record that has none says nothing."""
    lengths = {"nacl_seed0": 40, "svls_seed0": 40, "nacl_seed1": 9, "focal_seed0": 100}
    first, same, fewer, more = (
        record(f"unet_{name}", {"max_epochs": epochs}) for name, epochs in lengths.items()
    )
    none = record("unet_ecp_seed0", {})

    assert remarks({}) == remarks(first | same | none) == []
    assert remarks(first | same | fewer | none) == ["Trained for 9 or 40 epochs."]
    assert remarks(more | first | fewer) == ["Trained for 9, 40 or 100 epochs."]


def test_trial_says_so_in_each_table(record):
    """In its first heading, which stays with it wherever it is copied to; others do not."""
    one_epoch = record("unet_nacl_seed0", {"max_epochs": 1})
    more = record("unet_svls_seed0", {"max_epochs": 2})
    row = dict.fromkeys(COLUMNS, np.nan)
    row |= {"dataset": "acdc", "structure": "mean", "metric": "dice"}
    row |= {"method": "nacl", "mean": 0.9, "patients": 4, "seeds": 1, "paper": np.nan}
    summary = pd.DataFrame([row | {"difference": np.nan}])

    assert remarks(one_epoch) == [TRIAL]
    assert remarks(one_epoch | more) != [TRIAL]
    for write in (to_markdown, methods_to_markdown):
        heading = next(line for line in write(summary, [TRIAL]).splitlines() if line[:1] == "|")
        assert "trial: numbers mean nothing" in heading
        assert TRIAL in write(summary, [TRIAL])
        assert "trial" not in write(summary, ["Trained for 1 or 2 epochs."])


def test_means_over_different_seeds_are_told(record):
    """Where trainings have no common seed; an ensemble has several anyhow."""
    first, second = record("unet_nacl_seed0", {}), record("unet_svls_seed1", {})
    ensemble = {
        replace(key, setup=Setup(Method("nacl", after=("ensemble",)))): path
        for key, path in record("unet_nacl_seed2", {}).items()
    }
    unlike = "no seed in common."

    assert remarks(first | ensemble) == remarks(second | ensemble) == remarks(ensemble) == []
    assert remarks(first | second) == [f"The trainings have {unlike}"]
    assert remarks(first | second | record("unet_svls_seed0", {})) == []
    other = record("unet_nacl_seed0", {}, "hippocampus")
    assert remarks(first | second | other) == [f"The trainings on ACDC have {unlike}"]


WRITTEN = {"spatial_dims": 2, "in_channels": 1, "_desc_": {"label": "Mine"}}


FEATURES = {**MENU["basic_unet_plus_plus"]["network"], "features": [8, 8, 16, 32, 64, 8]}


@pytest.mark.parametrize(
    ("name", "config", "expected"),
    [
        ("transunet_nacl_seed0", changed("transunet", depth=4), ["TransUNet with depth 4."]),
        ("unet_nacl_seed0", changed("transunet", depth=4), []),  # another run's network
        ("mine_nacl_seed0", changed("unet", depth=4), []),  # one's own
        # A record of an earlier version lacks keys.
        ("unet_nacl_seed0", {}, []),
        ("unet_nacl_seed0", {"networks": 5}, []),
        ("unet_nacl_seed0", {"networks": {"unet": 5}}, []),
        ("basic_unet_plus_plus_nacl_seed0", changed("basic_unet_plus_plus", network=FEATURES),
         ["UNet++ with features [8, 8, 16, 32, 64, 8]."]),
        ("unet_nacl_seed0", changed("unet", _target_="mine.Net", dropout=0.1),
         ["UNet with _target_ mine.Net, dropout 0.1."]),
        ("unet3d_nacl_seed0", changed("unet", dropout=0.1), ["UNet (3-D) with dropout 0.1."]),
        # An earlier version wrote the value where there is a reference now.
        ("unet_nacl_seed0", {**changed("unet", **WRITTEN), "in_channels": 1}, []),
        ("unet_svls_seed0", {**changed("unet", **WRITTEN), "in_channels": 4},
         ["UNet with in_channels 1."]),
    ],
)  # fmt: skip
def test_network_that_is_not_as_in_the_menu_is_told_once(record, name, config, expected):
    """With what was changed; its dataset is named where there are several."""
    both = record(name, config) | record(name.replace("seed0", "seed1"), config)
    assert remarks(both) == expected
    runs = record(name, config, "kits") | record(name, {}, "flare")
    assert remarks(runs) == [text.replace(" with ", " (KiTS) with ", 1) for text in expected]
