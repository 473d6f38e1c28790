"""Reading evaluated runs: the numbers as written, or one line that says what is wrong."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nacl_monai.errors import InputError
from nacl_monai.reports import read_run, read_runs
from nacl_monai.reports.logits import read_class_logits


def refusal(folders, names=None):
    """The line with which reading is refused."""
    with pytest.raises(InputError) as caught:
        read_runs(folders, names)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestWhatIsRead:
    def test_name_is_the_folders_unless_given(self, folders):
        """Runs are called after their folders unless names are given."""
        assert [run.name for run in read_runs(folders)] == ["ce_dice", "nacl"]
        assert [run.name for run in read_runs(folders, ["a", "b"])] == ["a", "b"]

    def test_case_names_stay_text(self, copies, change_cases, change_arrays):
        """Cases named '001' or 'NA' keep their names."""
        names = ["NA", "001", "002", "003", "004", "005", "1e3"]
        change_cases(copies[0], lambda table: table.assign(case=names))
        bins = copies[0] / "evaluation" / "bins.npz"
        change_arrays(bins, lambda arrays: arrays.update(cases=np.array(names)))

        assert read_run(copies[0]).cases == names

    def test_empty_cell_is_undefined(self, copies, change_cases):
        """An empty cell is NaN."""
        change_cases(copies[0], lambda table: table.assign(hd95_RV=[None] + [2.0] * 6))

        hd95 = read_run(copies[0]).metrics["hd95_RV"]

        assert np.isnan(hd95.iloc[0])
        assert hd95.iloc[1:].tolist() == [2.0] * 6

    def test_rows_in_any_order(self, copies, change_cases):
        """Cases are matched by name, whatever the order of rows and of bins."""
        change_cases(copies[1], lambda table: table.iloc[::-1])

        first, second = read_runs(copies)
        untouched, alone = read_run(copies[0]), read_run(copies[1])

        assert alone.bins.cases == alone.cases == untouched.cases[::-1]
        assert second.cases == first.cases == untouched.cases
        path = copies[1] / "evaluation" / "bins.npz"
        with np.load(path) as archive:
            np.testing.assert_array_equal(second.bins.sums.counts.numpy(), archive["counts"])

    def test_patients_when_stated(self, copies, change_cases):
        """A column `patient` groups the volumes; without it each volume is its own patient."""
        change_cases(copies[0], lambda table: table.assign(patient=list("aabbccd")))

        assert read_run(copies[0]).patients.tolist() == list("aabbccd")
        assert read_run(copies[1]).patients.tolist() == read_run(copies[1]).cases
        assert "patient" not in read_run(copies[0]).metrics

    def test_selection_of_bins(self, runs, folders):
        """One region and one row of the file, by name."""
        with np.load(folders[0] / "evaluation" / "bins.npz") as archive:
            expected = archive["confidences"][:, 1, 4]

        selected = runs[0].bins.select("foreground", "LV").confidences

        np.testing.assert_array_equal(selected[:, 0].numpy(), expected)

    @pytest.mark.parametrize(("region", "row"), [("brain", "top-1"), ("all", "aorta")])
    def test_unknown_region_or_row(self, runs, region, row):
        """An unknown name is refused with the names to choose from."""
        with pytest.raises(InputError, match=r"bins\.npz: no .*choose from"):
            runs[0].bins.select(region, row)


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
                    cases=np.array(names), counts=arrays["counts"] + fold
                ),
            )
            maps = copy / "evaluation/maps"
            for path in list(maps.iterdir()):
                path.rename(maps / f"{fold}{path.name}")
        return tmp_path / "unet_nacl_seed1"

    def test_pooled(self, folder):
        """All folds are one run, whose volumes, bins and maps are those of its folds."""
        folds = [read_run(self.fold(folder, fold)) for fold in range(3)]

        (run,) = read_runs([folder])

        assert run.name == "unet_nacl_seed1"
        assert run.cases == [case for fold in folds for case in fold.cases] == run.bins.cases
        assert run.metrics.equals(pd.concat([fold.metrics for fold in folds]))
        np.testing.assert_array_equal(
            run.bins.sums.counts, np.concatenate([fold.bins.sums.counts for fold in folds])
        )
        assert run.read_map("2004").path == self.fold(folder, 2) / "evaluation/maps/2004.npz"

    def test_single_run(self, folder, folders):
        """A run of that very name is itself; folds of another seed or of other settings are not its."""
        for name in ("unet_nacl_fold=0_seed10", "unet_nacl_penalty=l2_fold=0_seed1"):
            shutil.copytree(folders[1], folder.with_name(name))
        assert len(read_run(folder).cases) == 3 * len(read_run(folders[0]).cases)

        shutil.copytree(folders[1], folder)
        assert read_run(folder).cases == read_run(folders[1]).cases

    def test_unevaluated(self, folder):
        """A fold that is not evaluated is named; the others are no whole."""
        shutil.rmtree(self.fold(folder, 1) / "evaluation")

        assert str(self.fold(folder, 1)) in refusal([folder])

    def test_tested_twice(self, folder):
        """A case of two folds is named."""
        shutil.copytree(self.fold(folder, 1), self.fold(folder, 10))

        assert "'1001' is tested in another fold, too" in refusal([folder])

    def test_other_regions(self, folder, change_arrays):
        """Folds that were evaluated differently do not mix."""
        change_arrays(
            self.fold(folder, 2) / "evaluation/bins.npz",
            lambda arrays: arrays.update(regions=np.array(["all", "union"])),
        )

        assert "fold=2_seed1/evaluation/bins.npz: its regions or classes" in refusal([folder])

    def test_logits(self, folder):
        """Logits are of one network, so a fold has to be named."""
        with pytest.raises(
            InputError, match=r"unet_nacl_seed1: logits are drawn .* such as .*fold=0_seed1"
        ):
            read_class_logits(folder)


class TestRefusals:
    def test_run_that_was_not_evaluated(self, tmp_path, folders):
        """A folder without evaluation is named, with the command that evaluates it."""
        message = refusal([folders[0], tmp_path / "new"])

        assert str(tmp_path / "new") in message
        assert "make evaluate" in message

    @pytest.mark.parametrize("name", ["cases.csv", "bins.npz"])
    def test_missing_file(self, copies, name):
        """A missing file is named, with the remedy."""
        (copies[1] / "evaluation" / name).unlink()

        message = refusal(copies)

        assert str(copies[1] / "evaluation" / name) in message
        assert "make evaluate" in message

    @pytest.mark.parametrize("name", ["cases.csv", "bins.npz"])
    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b'a,b\n"1'])
    def test_damaged_file(self, copies, name, content):
        """A damaged file is named."""
        (copies[1] / "evaluation" / name).write_bytes(content)

        assert str(copies[1] / "evaluation" / name) in refusal(copies)

    @pytest.mark.parametrize(
        "column", ["case", "dice", "hd95", "ece_foreground", "cece_foreground"]
    )
    def test_missing_column(self, copies, change_cases, column):
        """A missing column is named together with its file."""
        change_cases(copies[0], lambda table: table.drop(columns=column))

        message = refusal(copies)

        assert message.startswith(str(copies[0] / "evaluation" / "cases.csv"))
        assert f"no column {column}" in message

    def test_text_in_a_metric(self, copies, change_cases):
        """A metric that is not a number is refused with its column."""
        change_cases(copies[0], lambda table: table.assign(ece_foreground=["high"] + [0.1] * 6))

        assert "'ece_foreground'" in refusal(copies)

    def test_no_case(self, copies, change_cases):
        """An evaluation of nothing is refused."""
        change_cases(copies[0], lambda table: table.iloc[:0])

        assert "no test case" in refusal(copies)

    def test_repeated_case(self, copies, change_cases):
        """A case that stands twice would count twice, and is refused."""
        change_cases(copies[0], lambda table: pd.concat([table, table.iloc[[2]]]))

        assert "'003' stands twice" in refusal(copies)

    @pytest.mark.parametrize("key", ["cases", "regions", "classes", "counts", "confidences"])
    def test_missing_array(self, copies, change_arrays, key):
        """A missing array is named together with its file."""
        path = copies[0] / "evaluation" / "bins.npz"
        change_arrays(path, lambda arrays: arrays.pop(key))

        assert f"{path}: no array {key}" in refusal(copies)

    def test_array_of_another_shape(self, copies, change_arrays):
        """Sums whose shapes disagree are refused."""
        path = copies[0] / "evaluation" / "bins.npz"
        change_arrays(path, lambda arrays: arrays.update(positives=arrays["positives"][:, :1]))

        assert "positives is (7, 1, 5, 15)" in refusal(copies)

    def test_bins_of_other_cases(self, copies, change_cases):
        """Table and bins of one run must be of the same cases."""
        change_cases(copies[0], lambda table: table.iloc[1:])

        assert "only here: 001" in refusal(copies)

    def test_runs_on_other_cases(self, folders, make_run, tmp_path):
        """Runs on different test sets are not compared; the difference is named."""
        fewer = make_run(tmp_path / "fewer", temperature=1, cases=6)

        message = refusal([folders[0], fewer])

        assert str(fewer) in message
        assert "missing here: 007" in message
        assert "same split" in message

    def test_names_and_runs_differ_in_number(self, folders):
        """Every run needs one name."""
        assert "1 names for 2 runs" in refusal(folders, ["CE"])

    def test_same_name_twice(self, folders):
        """Two runs of one name would be confused."""
        assert "--names" in refusal([folders[0], folders[0]])


class TestMaps:
    def test_missing_map(self, copies):
        """A missing map is named."""
        path = copies[0] / "evaluation" / "maps" / "003.npz"
        path.unlink()

        with pytest.raises(InputError, match=r"maps/003\.npz: no such file"):
            read_run(copies[0]).read_map("003")

    def test_arrays_of_unlike_shape(self, copies, change_arrays):
        """Image, label, prediction and confidence must lie on one grid."""
        path = copies[0] / "evaluation" / "maps" / "003.npz"
        change_arrays(path, lambda arrays: arrays.update(label=arrays["label"][1:]))

        with pytest.raises(InputError, match=r"003\.npz: .*\(39, 40\), \(40, 40\)"):
            read_run(copies[0]).read_map("003")

    def test_label_without_a_name(self, copies, change_arrays):
        """Every label value has a class name."""
        path = copies[0] / "evaluation" / "maps" / "003.npz"
        change_arrays(path, lambda arrays: arrays.update(classes=arrays["classes"][:3]))

        with pytest.raises(InputError, match="label value 3, but only 3 classes"):
            read_run(copies[0]).read_map("003")
