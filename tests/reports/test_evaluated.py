"""Reading evaluated runs: whole, comparable, or one line that says what is wrong."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nacl_monai.errors import InputError
from nacl_monai.reports import read_run, read_runs
from nacl_monai.reports.evaluated import folds_of

SUMS = ("counts", "positives", "confidences", "fine_counts", "fine_excess", "fine_errors")


def refusal(folders, names=None):
    """The line with which reading is refused."""
    with pytest.raises(InputError) as caught:
        read_runs(folders, names)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestReadRuns:
    def test_case_names_stay_text(self, copies, change_cases, change_arrays):
        """Cases named '007', 'NA' or '=SUM(1)' keep their names in tables and bins."""
        names = ["NA", "007", "=SUM(1)", "nan", "None", "True", "1e3"]
        change_cases(copies[0], lambda table: table.assign(case=names))
        bins = copies[0] / "evaluation" / "bins.npz"
        change_arrays(bins, lambda arrays: arrays.update(cases=np.array(names)))

        assert read_run(copies[0]).cases == names

    def test_cases_are_matched_by_name(self, copies, change_cases):
        """Whatever the order of rows and of bins."""
        change_cases(copies[1], lambda table: table.iloc[::-1])

        first, second = read_runs(copies)
        untouched, alone = read_run(copies[0]), read_run(copies[1])

        assert alone.bins.cases == alone.cases == untouched.cases[::-1]
        assert second.cases == first.cases == untouched.cases
        path = copies[1] / "evaluation" / "bins.npz"
        with np.load(path) as archive:
            np.testing.assert_array_equal(second.bins.sums.counts.numpy(), archive["counts"])

    def test_patients_follow_the_order_of_the_cases(self, copies, change_cases):
        """A second run in another order keeps each case's patient."""
        change_cases(copies[0], lambda table: table.assign(patient=list("abcdefg")))
        change_cases(
            copies[1],
            lambda table: table.assign(patient=list("abcdefg")).iloc[[3, 0, 6, 1, 2, 5, 4]],
        )

        assert read_runs(copies)[1].patients.tolist() == list("abcdefg")


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
            change_cases(copy, lambda table, names=names: table.assign(case=names))
            change_arrays(
                copy / "evaluation/bins.npz",
                lambda arrays, names=names, fold=fold: arrays.update(
                    {key: arrays[key] * (fold + 1) for key in SUMS}, cases=np.array(names)
                ),
            )
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
        assert run.metrics.equals(pd.concat([fold.metrics for fold in folds]))
        assert run.patients.equals(pd.concat([fold.patients for fold in folds]))
        np.testing.assert_array_equal(
            run.bins.sums.counts, np.concatenate([fold.bins.sums.counts for fold in folds])
        )
        np.testing.assert_array_equal(
            run.bins.fine.errors, np.concatenate([fold.bins.fine.errors for fold in folds])
        )
        assert run.read_map("2004").path == self.fold(folder, 2) / "evaluation/maps/2004.npz"

    def test_folds_of_other_seeds_and_settings_stay_out(self, folder, folders):
        """And a run that has that very name is itself."""
        for name in ("unet_nacl_fold=0_seed10", "unet_nacl_penalty=l2_fold=0_seed1"):
            shutil.copytree(folders[1], folder.with_name(name))
        assert len(read_run(folder).cases) == 3 * len(read_run(folders[0]).cases)

        shutil.copytree(folders[1], folder)
        assert folds_of(folder) == []
        assert read_run(folder).cases == read_run(folders[1]).cases

    def test_fold_that_was_not_evaluated_is_named(self, folder):
        """The others alone are not a cross-validation."""
        shutil.rmtree(self.fold(folder, 1) / "evaluation")

        assert str(self.fold(folder, 1)) in refusal([folder])

    def test_missing_fold_is_refused(self, folder):
        """Folds 0 and 2 do not test every patient."""
        shutil.rmtree(self.fold(folder, 1))

        assert f"{self.fold(folder, 1)}: no such fold, and " in refusal([folder])

    def test_case_of_two_folds_is_refused(self, folder):
        """It would count twice."""
        shutil.copytree(self.fold(folder, 1), self.fold(folder, 3))

        assert "'1001' is tested in another fold, too" in refusal([folder])

    @pytest.mark.parametrize(
        "names", [{"regions": ["all", "union"]}, {"classes": ["top-1", "b", "r", "m", "l"]}]
    )
    def test_folds_that_were_evaluated_differently_do_not_mix(self, folder, change_arrays, names):
        """Regions and classes must be alike."""
        change_arrays(
            self.fold(folder, 2) / "evaluation/bins.npz",
            lambda arrays: arrays.update({key: np.array(value) for key, value in names.items()}),
        )

        message = refusal([folder])
        assert "fold=2_seed1: was evaluated otherwise than" in message
        assert f"{next(iter(names))} (" in message


class TestRefusals:
    def test_run_that_was_not_evaluated_is_named(self, tmp_path, folders):
        """A folder without evaluation is named, with the command that evaluates it."""
        message = refusal([folders[0], tmp_path / "new"])

        assert str(tmp_path / "new") in message
        assert "make evaluate" in message

    def test_table_and_bins_must_be_of_the_same_cases(self, copies, change_cases):
        """The difference is named."""
        change_cases(copies[0], lambda table: table.iloc[1:])

        assert "only here: 001" in refusal(copies)

    def test_runs_on_other_cases_are_not_compared(self, folders, make_run, tmp_path):
        """The difference is named."""
        fewer = make_run(tmp_path / "fewer", temperature=1, cases=6)

        message = refusal([folders[0], fewer])

        assert str(fewer) in message
        assert "missing here: 007" in message
        assert "same split" in message

    def test_every_run_needs_one_name(self, folders):
        """Fewer names than runs are refused."""
        assert "1 names for 2 runs" in refusal(folders, ["CE"])

    def test_two_runs_of_one_name_are_refused(self, folders):
        """Two runs of one name would be confused."""
        assert "--names" in refusal([folders[0], folders[0]])
