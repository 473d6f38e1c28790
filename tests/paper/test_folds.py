"""Folds are parts of one training, and no two of them test the same patient."""

import shutil
from itertools import product

import pandas as pd
import pytest

from nacl_monai.errors import InputError
from nacl_monai.paper import read_results
from tests.evaluated_runs import write_experiment


@pytest.fixture
def folds(tmp_path):
    """Two seeds of two methods, cross-validated: each fold tests patients of its own."""
    root = tmp_path / "folds"
    for seed, loss, fold in product(range(2), ("dice_ce", "nacl"), range(2)):
        run = write_experiment(root, "mrbrains", f"unet_{loss}_fold={fold}_seed{seed}", 0.5)
        rename_cases(run, str(fold))
    return root / "mrbrains"


def rename_cases(run, prefix):
    """The same cases of other patients."""
    file = run / "evaluation/cases.csv"
    table = pd.read_csv(file, dtype={"case": str})
    for column in ("case", "patient"):
        table[column] = prefix + table[column]
    table.to_csv(file, index=False)
    (run / "evaluation/bins.npz").unlink()


def test_folds_together_are_one_training(folds):
    """They test every patient once."""
    cases = read_results([folds]).cases("mrbrains")

    assert len(cases) == 2 * 2 * 2 * 7
    assert cases.groupby(["method", "seed"])["case"].nunique().tolist() == [14] * 4


@pytest.mark.parametrize("seed", [0, 1])
def test_training_that_lacks_a_fold_is_refused(folds, seed):
    """Its mean would be over other patients than that of another method, or of another seed."""
    shutil.rmtree(folds / f"unet_nacl_fold=1_seed{seed}")

    with pytest.raises(
        InputError, match=rf"unet_nacl_fold=0_seed{seed}: its training has the folds 0, but"
    ):
        read_results([folds]).cases("mrbrains")


def test_fold_that_no_training_has_is_refused(folds):
    """Folds 0 and 2 of every training do not test every patient."""
    for run in list(folds.glob("*fold=1*")):
        run.rename(run.with_name(run.name.replace("fold=1", "fold=2")))

    with pytest.raises(InputError, match="has the folds 0, 2, but there are 0, 1, 2"):
        read_results([folds]).cases("mrbrains")


def test_fold_that_is_there_twice_is_refused(folds):
    """By its number, and by the default, which a name need not say."""
    shutil.copytree(folds / "unet_nacl_fold=0_seed0", folds / "unet_nacl_seed0")

    with pytest.raises(InputError, match="its training has the folds 0, 0, 1, but"):
        read_results([folds]).cases("mrbrains")


def test_patient_in_two_folds_is_refused(folds):
    """The score would be the mean of two networks', of which one may have seen the patient."""
    for run in folds.glob("*fold=1*"):
        file = run / "evaluation/cases.csv"
        file.write_text(file.read_text().replace(",1p3,", ",0p3,"))

    with pytest.raises(InputError, match="patient '0p3' is tested in another fold, too"):
        read_results([folds]).cases("mrbrains")
