"""A promise in Python has the words and files of the command."""

from dataclasses import replace
from html import unescape

import numpy as np
import pytest
import torch

from nacl_monai import audit
from nacl_monai.errors import InputError
from nacl_monai.evaluations.evaluated import run_of_bins
from nacl_monai.metrics import CalibrationMetric
from nacl_monai.promises import applied, promise, read_curves, read_promise
from nacl_monai.promises.control import Control
from tests.promises.test_commands import chances, run
from tests.same import same_values


@pytest.fixture(scope="module")
def promised():
    """Of eight cases, each of a patient."""
    return promise(*chances(8, 6, 6), levels=[0.3], classes=["outside", "liver"])


def test_promise_shows_its_table(promised):
    """A row for each, in a terminal and a notebook, with the law of such calibrations."""
    assert list(promised.table.index) == [kept.label for kept in promised.kept]
    assert len(promised.table) == 4
    for kept, (row, cells) in zip(promised.kept, promised.table.iterrows(), strict=True):
        low, high = Control(0.3).law(8)
        assert cells.iloc[0] == f"{100 * low:.0f} to {100 * high:.0f}%"
        assert cells["Size"].startswith(f"{kept.size:.2f}")
        assert row in repr(promised)
        assert cells["Size"] in repr(promised)
        assert f"<td>{cells['Size']}</td>" in promised._repr_html_()
    assert "8 patients" in repr(promised).splitlines()[0]


def test_promise_is_saved_as_the_command_writes_it(promised, tmp_path):
    """Whose page and table have the same words; a folder of somebody else's stays."""
    folder = promised.save(tmp_path / "saved")
    args = ["promise", folder / "promise.npz", "--level", 0.3, "--no-pictures"]
    command = run(tmp_path / "command", *args)

    texts = [text for kept, text in promised.verdicts() if kept.kind == "outer"]
    for place in (folder, command):
        for name in ("promise.json", "promise.npz"):
            assert (place / name).read_bytes() == (folder / name).read_bytes()
        page = unescape((place / "page.html").read_text(encoding="utf-8"))
        assert all(text in page for text in (*texts, *promised.table))
    assert read_promise(folder) == replace(promised, sums=read_promise(folder).sums)
    same_values(read_curves(folder).hits, promised.curves.hits)
    again = read_promise(folder).save(tmp_path / "again")
    assert not (again / "promise.npz").exists()
    page = promised.page(tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(text in unescape(page) for text in promised.table.index)

    (tmp_path / "own").mkdir()
    (tmp_path / "own/notes.txt").write_text("mine")
    with pytest.raises(InputError, match="which `nacl-monai promise` did not write"):
        promised.save(tmp_path / "own")


PROBS = np.stack([np.full((9, 4, 4, 4), 0.4), np.full((9, 4, 4, 4), 0.6)], 1)
LABELS = np.ones((9, 4, 4, 4), int)
FLAT = PROBS[8, ..., 0], LABELS[8, ..., 0]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"levels": 0.1}, "levels: is 0.1; give a list of numbers"),
        ({"levels": []}, "levels: is .*; give a list of numbers"),
        ({"levels": ["a"]}, "--level: is a; give a number between 0 and 1"),
        ({"jobs": 2}, "jobs: is no option for arrays"),
        ({"margin": "a"}, "--margin: is a; choose from"),
        ({"labels": None}, "labels: are missing"),
        ({"from_logits": True}, "probs: reach from 0 to 1 at most, as probabilities do"),
        ({"probs": [*PROBS[:8], FLAT[0]], "labels": [*LABELS[:8], FLAT[1]]}, "of 2 axes"),
        ({"probs": PROBS[0, :, 0, 0, 0], "labels": LABELS[0, 0, 0]}, "give .* of each case"),
    ],
)
def test_what_cannot_be_meant_is_one_line(changes, line):
    """Arguments of another type or form, which ended in errors of Python's."""
    with pytest.raises(InputError, match=line):
        promise(**{"probs": PROBS, "labels": LABELS, "levels": [0.1], "compare": False, **changes})


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"probs": PROBS[0, ..., 0], "spacing": (1, 1)}, "2 axes, but the images .* had 3"),
        ({"probs": PROBS[0].tolist()}, "probs: hold list"),
        ({"probs": np.ma.masked_array(PROBS[0], PROBS[0] > 0.5)}, "probs: hides values"),
        ({"spacing": (1, 1)}, "give 3 positive numbers"),
        ({"spacing": "111"}, "spacing: is '111'"),
    ],
)
def test_case_unlike_the_calibration_patients_is_one_line(changes, line):
    """Of other axes or another form."""
    promised = promise(PROBS, LABELS, levels=[0.1], compare=False)

    with pytest.raises(InputError, match=line):
        applied(promised, **{"probs": PROBS[0], "spacing": (1, 1, 1), **changes})


class Elsewhere(torch.Tensor):
    """A stand-in for a tensor on a GPU and all that follows from it, which NumPy reads after `cpu`."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func in (torch.Tensor.numpy, torch.Tensor.__array__):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        found = super().__torch_function__(func, types, args, kwargs or {})
        return found.as_subclass(torch.Tensor) if func is torch.Tensor.cpu else found


def test_tensors_elsewhere_are_brought_to_the_processor(monkeypatch):
    """The numbers are those of arrays; the record of a metric is on the processor, too."""
    probs, labels = chances(8, 6, 6)
    away = [torch.from_numpy(part).as_subclass(Elsewhere) for part in (probs, labels)]
    with pytest.raises(TypeError, match="cuda"):
        (away[0] + 1).numpy()

    assert repr(audit(*away)) == repr(audit(probs, labels))
    promised, expected = (promise(*pair, levels=[0.3]) for pair in (away, (probs, labels)))
    assert promised == expected
    anybodys = replace(promised, cohort={})
    new = [applied(anybodys, case, (1, 1))[0] for case in (away[0][0], probs[0])]
    same_values(new[0].contours["outer"], new[1].contours["outer"])
    metric = CalibrationMetric(decisions={"liver": [1]})
    metric(probs, labels)
    sums = [part.as_subclass(Elsewhere) for part in metric.get_buffer()]
    monkeypatch.setattr(metric, "_all_sums", lambda: sums)
    record = metric.record([f"case{k}" for k in range(8)])
    assert run_of_bins(record, "metric").number("ece_near").mean == audit(probs, labels).ece("near")
    assert record.check() is record
