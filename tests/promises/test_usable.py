"""Promises are made of curves alone, and of whom they may be made."""

from dataclasses import replace

import pytest

from nacl_monai.errors import InputError
from nacl_monai.metrics import read_curves
from nacl_monai.promises import fit, read_promise
from nacl_monai.promises.cases import curves_of_arrays
from nacl_monai.promises.control import Control
from tests.losses.test_architecture import entered
from tests.promises.test_commands import chances

HALF = [Control(0.5)]


def curves(patients=4, **definition):
    found = curves_of_arrays(*chances(patients, 5, 6))
    return replace(found, definition={**found.definition, **definition})


def test_promise_of_a_file_enters_few_files(tmp_path):
    """Of the package: the command around it is counted beside the 25 that it may enter."""
    file = curves().write(tmp_path / "promise.npz")

    def make():
        return fit(read_curves(file).joined([]), HALF).write(tmp_path / "promise.json")

    make()  # what is imported late is entered once
    assert len({name for name, _ in entered(make)}) <= 16


def test_promise_is_read_as_it_was_made(tmp_path):
    """With what its definition says of the network, NaN and infinite margins among the rest."""
    promised = fit(curves(weights="1f", run="unet_nacl_seed0", split="val"), HALF, sums="2e")

    read = read_promise(promised.write(tmp_path / "promise.json"))

    assert read.kept == promised.kept
    assert {kept.margin for kept in read.kept} == {3.0}
    assert (read.sums, read.definition["weights"], read.definition["split"]) == ("2e", "1f", "val")


@pytest.mark.parametrize(
    ("definition", "line"),
    [
        ({"shard": "1/3"}, "is shard 1/3 of those given"),
        ({"split": "train"}, "is of the patients who trained the network"),
    ],
)
def test_whoever_trained_or_is_a_part_promises_nothing(definition, line):
    with pytest.raises(InputError, match=line):
        fit(curves(**definition), HALF)


@pytest.mark.parametrize("names", [{"cases": ["a", "b", "../c", "d"]}, {"structures": ["x/y"]}])
def test_names_that_no_file_can_have_are_refused_before_anything_is_written(names):
    """A promise of them could not be applied."""
    with pytest.raises(InputError, match="leads to another folder; rename"):
        fit(replace(curves(), **names), HALF)
