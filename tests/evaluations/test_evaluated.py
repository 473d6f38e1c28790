"""Evaluated runs: whole, comparable and consistent, or one line that says what is wrong."""

import json
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nacl_monai.evaluations import check_alike, read_evaluated, read_run, read_runs, read_tested
from nacl_monai.evaluations.evaluated import folds_of
from nacl_monai.metrics.record import read_record
from tests.conftest import refused
from tests.same import same_bits, same_values

SUMS = ("counts", "positives", "confidences", "fine_counts", "fine_excess", "fine_errors")


class TestReadRuns:
    def test_case_names_stay_text(self, copies, change_cases, change_arrays):
        """Cases named '007', 'NA' or '=SUM(1)' keep their names in tables and bins."""
        names = ["NA", "007", "=SUM(1)", "nan", "None", "True", "1e3"]
        change_cases(copies[0], lambda table: table.assign(case=names))
        bins = copies[0] / "evaluation" / "bins.npz"
        change_arrays(bins, lambda arrays: arrays.update(cases=np.array(names)))

        assert read_run(copies[0]).cases == names

    def test_cases_are_matched_by_name(self, copies, change_cases):
        """Whatever the order of rows and of bins; each keeps its patient."""
        change_cases(copies[0], lambda table: table.assign(patient=list("abcdefg")))
        change_cases(copies[1], lambda table: table.assign(patient=list("abcdefg")).iloc[::-1])

        first, second = read_runs(copies)
        untouched, alone = read_run(copies[0]), read_run(copies[1])

        assert alone.bins.cases == alone.cases == untouched.cases[::-1]
        assert second.cases == first.cases == untouched.cases
        assert second.patients.tolist() == list("abcdefg")
        path = copies[1] / "evaluation" / "bins.npz"
        with np.load(path) as archive:
            same_values(second.bins.sums.counts.numpy(), archive["counts"])


class TestFolds:
    @staticmethod
    def fold(folder, number):
        return folder.with_name(f"unet_nacl_fold={number}_seed1")

    @pytest.fixture
    def folder(self, folders, tmp_path, change_cases, change_arrays):
        """Three folds, each with other cases."""
        for fold in range(3):
            copy = Path(shutil.copytree(folders[0], self.fold(tmp_path / "unet_nacl_seed1", fold)))
            names = [f"{fold}{case}" for case in read_run(copy).cases]

            def edit(arrays, names=names, fold=fold):
                arrays |= {key: arrays[key] * (fold + 1) for key in SUMS}
                arrays["cases"] = np.array(names)

            change_cases(copy, lambda table, names=names: table.assign(case=names))
            change_arrays(copy / "evaluation/bins.npz", edit)
            maps = copy / "evaluation/maps"
            for path in list(maps.iterdir()):
                path.rename(maps / f"{fold}{path.name}")
        return tmp_path / "unet_nacl_seed1"

    def test_folds_are_pooled_to_one_run(self, folder):
        """Its cases, patients, bins and maps are those of its folds."""
        folds = [read_run(self.fold(folder, fold)) for fold in range(3)]

        (run,) = read_runs([folder])

        assert run.name == "unet_nacl_seed1"
        assert run.cases == [case for fold in folds for case in fold.cases] == run.bins.cases
        same_bits(run.metrics, pd.concat([fold.metrics for fold in folds]), "the same files")
        same_bits(run.patients, pd.concat([fold.patients for fold in folds]), "the same files")
        counts = np.concatenate([fold.bins.sums.counts for fold in folds])
        same_values(run.bins.sums.counts, counts)
        errors = np.concatenate([fold.bins.fine[:, :].errors for fold in folds])
        same_bits(run.bins.fine[:, :].errors, errors, "they are copied")
        assert run.read_map("2004").path == self.fold(folder, 2) / "evaluation/maps/2004.npz"

    def test_folds_of_other_seeds_and_settings_stay_out(self, folder, folders):
        """And a run that has that very name is itself."""
        for name in ("unet_nacl_fold=0_seed10", "unet_nacl_penalty=l2_fold=0_seed1"):
            shutil.copytree(folders[1], folder.with_name(name))
        assert len(read_run(folder).cases) == 3 * len(read_run(folders[0]).cases)

        shutil.copytree(folders[1], folder)
        assert folds_of(folder) == []
        assert read_run(folder).cases == read_run(folders[1]).cases

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda fold: shutil.rmtree(fold(1) / "evaluation"), "fold=1_seed1: no folder 'eval"),
            (lambda fold: shutil.rmtree(fold(1)), "fold=1_seed1: no such fold, and "),
            (lambda fold: shutil.copytree(fold(1), fold(3)), "'1001' is tested in another fold"),
        ],
        ids=["not evaluated", "missing", "case of two"],
    )
    def test_folds_that_are_no_cross_validation_are_refused(self, folder, damage, message):
        """Together they test every patient once."""
        damage(partial(self.fold, folder))

        assert message in refused(read_run, folder)

    @pytest.mark.parametrize(
        "names", [{"regions": ["all", "union"]}, {"classes": ["top-1", "b", "r", "m", "l"]}]
    )
    def test_folds_that_were_evaluated_differently_do_not_mix(self, folder, change_arrays, names):
        """Regions and classes must be alike."""
        change_arrays(self.fold(folder, 2) / "evaluation/bins.npz", lambda a: a.update(names))

        (name,) = names
        line = refused(read_run, folder)
        assert re.search(rf"fold=2_seed1: was evaluated otherwise than .*{name} \(", line)


class TestRefusals:
    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (["CE"], "--names: 1 names for 2 runs; give one per run"),
            (["CE", "CE"], "two runs are called 'CE'; tell them apart with --names"),
        ],
    )
    def test_every_run_needs_a_name_of_its_own(self, folders, names, message):
        """Two runs of one name would be confused."""
        assert refused(read_runs, folders, names) == message

    def test_table_and_bins_must_be_of_the_same_cases(self, copies, change_cases):
        """The difference is named."""
        change_cases(copies[0], lambda table: table.iloc[1:])

        assert "only here: 001" in refused(read_run, copies[0])


def record(folder, **content):
    text = json.dumps({"set": "test", "settings": {}, **content})
    (folder / "evaluation/evaluation.json").write_text(text)


def test_what_is_alike_is_compared(copies):
    """Networks, losses and versions may differ."""
    for k, folder in enumerate(copies):
        settings = {"spatial_size::0": 32, "network_def": f"@networks::{k}", "seed": k}
        record(folder, settings=settings, versions={"torch": str(k)})

    assert len(read_runs(copies)) == 2


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"set": "val"}, "set (test, now val)"),
        ({"settings": {"spatial_size::0": 48}}, "spatial_size::0 (32, now 48)"),
        ({"settings": {}}, "spatial_size::0 (32, now not set)"),
        ({"settings": {"structures::WT::0": 1}}, "structures::WT::0 (not set, now 1)"),
        ({"settings": {"calibration::spacing": "mm"}}, "calibration::spacing (not set, now mm)"),
    ],
)
def test_other_settings_are_refused_and_named(copies, content, named):
    """Voxels, structures, boundary and set decide what the numbers mean."""
    record(copies[0], settings={"spatial_size::0": 32})
    record(copies[1], **{"settings": {"spatial_size::0": 32}, **content})

    message = refused(read_runs, copies)
    assert f"{copies[1]}: was evaluated otherwise than {copies[0]}, " in message
    assert named in message


def test_other_structures_are_refused_whatever_the_records_say(copies, change_cases):
    """Each has its column."""
    names = {"dice_RV": "dice_right", "hd95_RV": "hd95_right"}
    change_cases(copies[1], lambda table: table.rename(columns=names))

    assert "now ['LV', 'myocardium', 'right']" in refused(read_runs, copies)


def test_other_patients_are_refused_and_named(copies, change_cases):
    """Intervals are over patients, so the same cases must be of the same ones."""
    change_cases(copies[0], lambda table: table.assign(patient=list("aabbccd")))
    assert "resampled (patients, now cases)" in refused(read_runs, copies)

    change_cases(copies[1], lambda table: table.assign(patient=list("aabccdd")).iloc[::-1])
    assert "patient of case '004' (b, now c) and 1 more; evaluate" in refused(read_runs, copies)

    change_cases(copies[1], lambda table: table.assign(patient=list("dccbbaa")))
    assert len(read_runs(copies)) == 2


def coarser(arrays):
    for key in ("counts", "positives", "confidences"):
        array = arrays[key]
        arrays[key] = array.reshape(*array.shape[:-1], 5, 3).sum(-1)


def test_other_bins_are_refused_whatever_the_records_say(copies, change_arrays, change_cases):
    """The ECE of 5 bins is not that of 15."""
    file = copies[1] / "evaluation/bins.npz"
    change_arrays(file, coarser)
    errors = read_record(file).columns(["ece_foreground", "cece_foreground", "ece_all"])
    change_cases(copies[1], lambda table: table.assign(**errors))

    assert "num_bins (15, now 5)" in refused(read_runs, copies)


def test_cases_alone_are_read_where_bins_were_not_kept(copies):
    """As committed results are; but no figure can be drawn of them."""
    (copies[0] / "evaluation/bins.npz").unlink()

    found = read_evaluated(copies[0])
    check_alike(found, read_evaluated(copies[1]))
    assert found.bins is None
    assert "bins.npz: no such file" in refused(read_runs, copies)


def test_validation_cases_are_no_test_cases(copies):
    """Where only those of the test count."""
    assert read_tested(copies[0]).scope.cases == "test cases"
    record(copies[0], set="val")

    message = "its validation cases were evaluated, not its test cases"
    assert message in refused(read_tested, copies[0])


def test_other_cases_are_alike_in_another_fold_alone(folders, make_run, tmp_path):
    """If they were evaluated alike; else the difference is named."""
    fewer = make_run(tmp_path / "fewer", temperature=1, cases=6)
    first, other = read_evaluated(folders[0]), read_evaluated(fewer)

    check_alike(first, other, same_cases=False)
    for line in (refused(check_alike, first, other), refused(read_runs, [folders[0], fewer])):
        assert line == (
            f"{fewer}: its test cases are not those of {folders[0]} (missing here: 007); evaluate "
            "both on the same split"
        )


@pytest.mark.parametrize(
    "column",
    [
        *("ece_foreground", "cece_foreground", "adaptive_ece_all", "smooth_ece_all"),
        *("aurc_all", "error_auroc_all"),
    ],
)
def test_error_that_the_bins_do_not_give_is_refused(copies, change_cases, column):
    """Whether the table or the bins, equal or fine, were changed: one of them is wrong."""
    recomputed = read_run(copies[0]).bins.columns([column])[column]
    change_cases(copies[0], lambda table: table.assign(**{column: recomputed}))
    read_run(copies[0])

    change_cases(copies[0], lambda table: table.assign(**{column: recomputed * 0.99}))

    line = refused(read_run, copies[0])
    assert f"{column} of case '001' is " in line
    assert "but the bins give" in line
