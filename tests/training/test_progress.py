"""One bar counts all iterations and shows the latest validation."""

import pytest
from ignite.engine import Engine

from nacl_monai.training import Progress


def test_bar_counts_iterations_and_shows_the_latest_validation(capsys):
    """The bar ends at epochs × batches, with the epoch, the loss and the validator's metrics."""
    validator = Engine(lambda *_: None)
    validator.state.metrics["val_dice"] = 0.75
    trainer = Engine(lambda *_: [{"loss": 0.5}, {"loss": 0.5}])
    Progress("Training", validator=validator, metrics=["val_dice", "absent"]).attach(trainer)

    trainer.run([1, 2, 3], max_epochs=2)

    shown = capsys.readouterr().err
    assert "6/6" in shown
    assert "epoch=2/2, loss=0.500, val_dice=0.750" in shown
    assert "absent" not in shown


def test_exception_is_not_swallowed():
    """A fault in an iteration is not swallowed by the bar."""

    def fail(*_):
        raise ZeroDivisionError

    engine = Engine(fail)
    Progress("Evaluating").attach(engine)

    with pytest.raises(ZeroDivisionError):
        engine.run([1])
