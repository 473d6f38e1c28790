"""Runs of a grid are found by their names, selected for tables and figures, and scored."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from monai.metrics import DiceMetric

from nacl_monai.errors import InputError
from nacl_monai.metrics import expected_dice, hausdorff_distance, structure_masks
from nacl_monai.paper import EXHIBITS, read_results
from nacl_monai.paper.grid import after_training, grid_of, main_grid
from nacl_monai.paper.reproduce import command_line
from nacl_monai.paper.results import CONVENTIONS, as_authors, first_runs
from tests.evaluated_runs import rename_cases


def names(results):
    return [f"{folder.parent.name}/{folder.name}" for folder in results.folders.values()]


def test_calibrated_evaluation_is_a_method_of_its_own(calibrated_grid):
    """It is found below its run, has the run's seed, and is in no table of plain methods."""
    results = read_results([calibrated_grid])
    found = {
        (experiment.method.name, experiment.seed): folder.relative_to(calibrated_grid / "acdc")
        for experiment, folder in results.folders.items()
        if experiment.method.after
    }

    assert len(found) == 9
    assert str(found["nacl+temperature_all", 1]) == "unet_nacl_seed1/calibrated/temperature_all"
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
    assert seeds == {
        f"nacl{after}": [0, 1] for after in ("", "+temperature_all", "+temperature_union")
    }


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
        with pytest.raises(
            InputError, match=f"{re.escape(str(file))}: does not name the trainings"
        ):
            read_results([root]).select(after_training())


def test_every_run_at_any_depth_is_found(results):
    """Nothing whose name is not an experiment's is; the paper's datasets are first."""
    assert len(results.folders) == 14
    assert results.datasets == ["acdc", "hippocampus"]
    assert results.networks == ["attention_unet", "unet"]
    assert results.seeds == [0, 1]


def test_datasets_are_in_the_paper_s_order_then_by_name(grid_copy):
    """Runs of the same dataset stay together."""
    source = grid_copy / "hippocampus" / "unet_nacl_seed0"
    for dataset in ("beta", "kits", "alpha"):
        for run in ("unet_nacl_seed0", "unet_dice_ce_seed0"):
            copy = shutil.copytree(source, grid_copy / dataset / run)
            (copy / "evaluation" / "summary.json").write_text(json.dumps({"dataset": dataset}))
    results = read_results([grid_copy])

    assert results.datasets == ["acdc", "kits", "alpha", "beta", "hippocampus"]
    assert names(results)[-6:-2] == [
        "alpha/unet_dice_ce_seed0",
        "alpha/unet_nacl_seed0",
        "beta/unet_dice_ce_seed0",
        "beta/unet_nacl_seed0",
    ]


def test_cases_say_what_their_run_was(grid, results):
    """The rows of every cases.csv, behind method, network, fraction, fold and seed."""
    cases = results.cases("acdc")

    assert len(cases) == 12 * 6
    assert list(cases)[:7] == ["method", "network", "fraction", "fold", "seed", "case", "patient"]
    half = cases[cases["fraction"] == 0.5]
    assert half["method"].unique().tolist() == ["nacl"]
    file = grid / "acdc" / "unet_nacl_train_fraction=0.5_seed0" / "evaluation" / "cases.csv"
    assert half["dice"].tolist() == pytest.approx(pd.read_csv(file)["dice"].tolist())
    assert half["patient"].tolist() == ["p0", "p1", "p1", "p2", "p2", "p3"]


def test_folds_are_told_apart(grid_copy):
    """A fold is a column of the cases; where there is none it is 0."""
    for run in list((grid_copy / "hippocampus").glob("unet*_seed0")):
        first, second = (run.with_name(run.name.replace("_s", f"_fold={k}_s")) for k in range(2))
        rename_cases(Path(shutil.copytree(run, second)), "other")
        run.rename(first)
    results = read_results([grid_copy])

    assert results.cases("hippocampus")["fold"].unique().tolist() == [0, 1]
    assert results.cases("acdc")["fold"].unique().tolist() == [0]


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
    with pytest.raises(InputError, match=r"no evaluated run below; expected .*_seed<n>/evaluation"):
        read_results([tmp_path])


@pytest.mark.parametrize("content", ["{}", "", '{"dataset": "ac'], ids=["none", "empty", "torn"])
def test_evaluation_that_does_not_name_its_dataset_is_refused(grid_copy, content):
    """Only its summary says what data a run is of; without the run, a mean would be of fewer seeds."""
    file = grid_copy / "acdc/unet_svls_seed0/evaluation/summary.json"
    file.write_text(content)

    with pytest.raises(InputError, match=f"{re.escape(str(file))}: does not name its dataset"):
        read_results([grid_copy])


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

    with pytest.raises(InputError, match="the same run as"):
        read_results([grid_copy])


@pytest.mark.parametrize("copied", [shutil.copytree, lambda run, to: to.symlink_to(run)])
def test_run_under_the_name_of_another_training_is_refused(grid_copy, copied):
    """A copy of a seed is not a second training, nor is a renamed run of its new loss."""
    run = grid_copy / "acdc/unet_svls_seed0"
    config = {"loss": "@losses::svls", "losses": {"svls": {"sigma": 2.0}}, "seed": 0}
    (run / "config.json").write_text(json.dumps(config))
    assert "acdc/unet_svls_seed0" in names(read_results([grid_copy]))
    copied(run, run.with_name("unet_svls_seed1"))

    with pytest.raises(InputError, match=r"unet_svls_seed1: .* its name says, seed \(1, now 0\)"):
        read_results([grid_copy])


def test_runs_that_were_trained_unlike_are_not_shown_together(grid_copy):
    """In no table or figure; apart they are, and so is whatever was trained alike."""
    for name, rate in (("unet_nacl_seed0", 0.001), ("unet_svls_seed0", 0.01)):
        config = {"learning_rate": rate, "max_epochs": 5}
        (grid_copy / "acdc" / name / "config.json").write_text(json.dumps(config))
    results = read_results([grid_copy])

    for exhibit in ("table1", "figure5"):
        with pytest.raises(InputError, match=r"svls_seed0: was trained otherwise than .*unet_nacl"):
            EXHIBITS[exhibit].select(results)
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


def authors_scores(prediction, label):
    """The rule in their code, of one structure: absent, missed, or as measured; None for the latter."""
    if not label.any():
        return 1, 0
    if not prediction.any():
        return 0, 0
    return None


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
            masks = (np.array(volume) == value for volume in (prediction, label))
            measured = tuple(table.loc[name, [f"dice_{structure}", f"hd95_{structure}"]])
            expected = authors_scores(*masks) or measured
            got = tuple(scored.loc[name, [f"dice_{structure}", f"hd95_{structure}"]])
            assert got == expected, (name, structure)
    assert scored.loc["missed", ["dice", "hd95"]].tolist() == [0.5, 0]
    assert scored.loc["nothing at all", ["dice", "hd95"]].tolist() == [1, 0]
    assert scored["expected_dice"].equals(table["expected_dice"])


def test_earlier_evaluation_is_scored_where_nothing_is_in_doubt():
    """Without an expected DSC, a DSC of 0 may be a miss or a hit elsewhere: refused by name."""
    table = pd.DataFrame({"dice_a": [0.5, np.nan], "hd95_a": [2.0, np.nan]}, index=["x", "y"])
    assert as_authors(table, CASES)["dice"].tolist() == [0.5, 1]

    with pytest.raises(InputError, match=r"cases.csv: dice_a of case 'x' is 0, and no expected"):
        as_authors(table.assign(dice_a=[0.0, np.nan]), CASES)


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
