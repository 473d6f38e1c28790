"""validation.csv has what every validation measured."""

import csv

import pytest
from monai.engines import Evaluator

from nacl_monai.handlers import ValidationTable


def validate(folder, dice_after):
    """Validates after each of the epochs, as MONAI's ValidationHandler does; returns the rows."""
    evaluator = Evaluator("cpu", [0], iteration_update=lambda *_: None)
    ValidationTable(folder).attach(evaluator)
    for epoch, dice in dice_after.items():
        errors = {"ece": float("nan")}
        evaluator.state.metrics = {
            "val_dice": dice,
            **errors,
            "calibration": errors,
        }  # as Ignite does
        evaluator.run(epoch)
    with (folder / "validation.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_validated_epoch_is_a_row(tmp_path):
    """Epochs without a validation are no rows; NaN is written as such."""
    assert validate(tmp_path, {2: 0.2, 4: 0.4}) == [
        {"epoch": "2", "val_dice": "0.200000", "ece": "nan"},
        {"epoch": "4", "val_dice": "0.400000", "ece": "nan"},
    ]


def test_repeated_epochs_replace_their_rows(tmp_path):
    """A training that goes on after epoch 2 forgets what an earlier session did beyond."""
    validate(tmp_path, {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4})
    rows = validate(tmp_path, {3: 0.5})

    dice = {int(row["epoch"]): float(row["val_dice"]) for row in rows}
    assert dice == {1: 0.1, 2: 0.2, 3: 0.5}


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    """Of several processes rank 0 alone writes."""
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)

    with pytest.raises(FileNotFoundError):
        validate(tmp_path, {1: 0.1})
