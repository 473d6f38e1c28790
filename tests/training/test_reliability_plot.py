"""The diagram is that of the reports, where and when it is asked for."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from matplotlib.figure import Figure

from nacl_monai import read_audit
from nacl_monai.errors import InputError
from nacl_monai.reports import draw_reliability, save_figure
from nacl_monai.reports.evaluated import run_of_bins
from nacl_monai.training import CalibrationError, ReliabilityPlot


class Writer:
    """What TensorBoard would get."""

    def __init__(self):
        self.shown = []

    def add_image(self, tag, picture, step, dataformats):
        self.shown.append((tag, picture, step, dataformats))


def ran(calibration=None, epochs=1, handlers=(), **options):
    """An engine of three cases of two patients, and the diagram's handler at its end."""
    generator = torch.Generator().manual_seed(0)
    output = [
        {
            "pred": torch.randn(3, 5, 6, generator=generator).softmax(0),
            "label": torch.randint(0, 3, (1, 5, 6), generator=generator),
        }
        for _ in range(3)
    ]
    engine = Engine(lambda *_: output)
    calibration = calibration or CalibrationError(errors=["ece"])
    calibration.attach(engine, "calibration")
    for handler in (*handlers, ReliabilityPlot(calibration, **options)):
        handler.attach(engine)
    engine.run([{"case": ["b", "a", "c"], "patient": ["p", "p", "q"]}], max_epochs=epochs)


@pytest.fixture
def undrawn(monkeypatch):
    """An empty picture in place of the diagram, which takes longer than all else."""
    monkeypatch.setattr(ReliabilityPlot, "_figure", lambda *_: Figure(figsize=(1, 2)))


def test_file_is_the_diagram_of_the_reports(evaluated, tmp_path):
    """To the bit, from the bins that the evaluation wrote, with cases in the order of its table."""
    run = read_audit(evaluated[0], "synthetic").run
    patients = {case: volume["patient"] for case, volume in evaluated[2].items()}
    bins = replace(run.bins, patients=[patients[case] for case in run.bins.cases])
    figure = draw_reliability([run_of_bins(bins.ordered(sorted(bins.cases)), "synthetic")])
    expected, _ = save_figure(figure, tmp_path / "expected")

    assert (evaluated[0] / "reliability.png").read_bytes() == expected.read_bytes()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("interval", "steps"), [(1, [10, 20, 30]), (2, [20]), (0, [])])
def test_pictures_of_every_interval_are_in_tensorboard(interval, steps):
    """At the step that the epoch stands for."""
    writer = Writer()
    ran(epochs=3, writer=writer, interval=interval, global_epoch_transform=lambda epoch: 10 * epoch)

    assert [step for _, _, step, _ in writer.shown] == steps
    for tag, picture, _, dataformats in writer.shown:
        assert (tag, dataformats, picture.dtype) == ("reliability", "HWC", np.uint8)
        assert picture.shape == (200, 100, 3)


def test_generators_are_left_as_they_were():
    """A training that is drawn goes on to the same bits."""
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)

    def states():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002

    before = states()
    ran(CalibrationError(errors=["ece"]), writer=Writer())

    assert states() == before


def test_region_that_is_not_measured_is_refused():
    """With those that are."""
    with pytest.raises(InputError, match="no region 'union'; choose from foreground"):
        ran(region="union")


def test_only_the_first_process_draws(monkeypatch):
    """It gathers names and sums of the others."""
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)
    writer = Writer()
    ran(writer=writer)

    assert not writer.shown


def test_overlapping_structures_are_drawn_by_the_first():
    """Each has regions of its own; classes need no name."""
    writer = Writer()
    calibration = CalibrationError(errors=["ece"], structures=["a", "b"])
    output = [{"pred": torch.tensor([[[0.2, 0.7]], [[0.4, 0.9]]]), "label": torch.ones(2, 1, 2)}]
    engine = Engine(lambda *_: output)
    calibration.attach(engine, "calibration")
    ReliabilityPlot(calibration, writer=writer).attach(engine)
    engine.run([{}])

    assert len(writer.shown) == 1
