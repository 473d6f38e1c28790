"""validation.csv has what every validation measured."""

import csv

import pytest
from monai.engines import Evaluator

from nacl_monai.errors import InputError
from nacl_monai.training import ValidationTable


def validate(folder, dice_after):
    """Validates after each of the epochs, as MONAI's ValidationHandler does; returns the rows."""
    evaluator = Evaluator("cpu", [0], iteration_update=lambda *_: None)
    ValidationTable(folder).attach(evaluator)
    for epoch, dice in dice_after.items():
        ece = {"ece": float("nan")}
        evaluator.state.metrics = {"val_dice": dice, **ece, "calibration": ece}
        evaluator.run(epoch)
    with (folder / "validation.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_validated_epoch_is_a_row(tmp_path):
    """Epochs without a validation are not rows; NaN is written as such."""
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


@pytest.mark.parametrize(
    "content",
    [
        b"epoch;val_dice\n1;0,5\n",
        b"epoch,val_dice\n1.0,0.5\n",
        b"val_dice,epoch\n0.5\n",
        b"PK\x03\x04\xff",
        b"val_dice\n0.5\n",
    ],
    ids=["semicolons", "decimals", "half a row", "a workbook", "no epochs"],
)
def test_table_that_a_spreadsheet_has_saved_is_refused_before_the_training(tmp_path, content):
    """One line, and not a traceback after an epoch whose checkpoint is then not written."""
    (tmp_path / "validation.csv").write_bytes(content)

    with pytest.raises(InputError) as refused:
        ValidationTable(tmp_path)

    assert str(refused.value) == (
        f"{tmp_path}/validation.csv: is damaged; remove it, and start the training again"
    )


def test_table_with_a_mark_of_its_encoding_and_a_column_more_goes_on(tmp_path):
    """What a spreadsheet adds hurts nothing; the next validation writes the table without it."""
    (tmp_path / "validation.csv").write_bytes(
        b"\xef\xbb\xbfepoch,val_dice,ece,notes\r\n1,0.100000,nan,good\r\n"
    )

    assert validate(tmp_path, {2: 0.2}) == [
        {"epoch": "1", "val_dice": "0.100000", "ece": "nan"},
        {"epoch": "2", "val_dice": "0.200000", "ece": "nan"},
    ]


def test_table_that_is_damaged_during_the_training_is_written_again(tmp_path):
    """Every row, as it was measured."""
    rows = validate(tmp_path, {1: 0.1})
    evaluator = Evaluator("cpu", [0], iteration_update=lambda *_: None)
    ValidationTable(tmp_path).attach(evaluator)
    evaluator.state.metrics = {"val_dice": 0.2, "ece": float("nan")}
    (tmp_path / "validation.csv").write_text("epoch;val_dice\n")

    evaluator.run(2)

    with (tmp_path / "validation.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == [
            *rows,
            {**rows[0], "epoch": "2", "val_dice": "0.200000"},
        ]


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    """Among several processes only rank 0 writes."""
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)

    with pytest.raises(FileNotFoundError):
        validate(tmp_path, {1: 0.1})
