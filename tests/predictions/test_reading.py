"""Small cases are read once; what has no room in memory is read again, and is the same."""

import pickle
from collections import Counter

import nibabel
import numpy as np

from nacl_monai.predictions.finding import find
from nacl_monai.predictions.options import Options
from nacl_monai.predictions.readers import Digested
from nacl_monai.predictions.reading import Memory
from tests.predictions.conftest import Study, softmax_cases
from tests.same import same_bits


def reads(study, monkeypatch):
    """How often each prediction is read, if all cases are asked for twice."""
    seen, read = Counter(), Digested.__call__

    def count(reader, prediction):
        seen[prediction.case] += 1
        return read(reader, prediction)

    monkeypatch.setattr(Digested, "__call__", count)
    first, second = ([study.read(case) for case in study.cases] for _ in range(2))
    for before, after in zip(first, second, strict=True):
        same_bits(before.predicted.voxels, after.predicted.voxels, "the same file")
        same_bits(before.labels[0].classes, after.labels[0].classes, "the same file")
    return seen


def test_as_many_cases_are_kept_as_have_room(tmp_path, monkeypatch):
    """None of them makes room for another, and other processes begin without any."""
    files = Study(tmp_path, softmax_cases())
    study = find(files.nnunet(), files.labels, Options())
    names = [case.name for case in study.cases]
    assert reads(study, monkeypatch) == dict.fromkeys(names, 1)
    assert not pickle.loads(pickle.dumps(study.memory)).readings

    room = sum(reading.size for reading in study.memory.readings.values()) - 1
    tight = Memory(room)
    for reading in study.memory.readings.values():
        tight.keep(reading)
    assert len(tight.readings) == len(names) - 1
    study.memory.readings, study.memory.room = {}, room
    expected = dict.fromkeys(names[:-1], 1) | {names[-1]: 2}
    monkeypatch.undo()
    assert reads(study, monkeypatch) == expected


def test_each_file_of_a_case_is_opened_once(tmp_path, monkeypatch):
    """Its header says where voxels are, how they are stored, and what they went through."""
    files = Study(tmp_path, softmax_cases())
    study, opened, load = find(files.channels(), files.labels, Options()), Counter(), nibabel.load

    def count(file, *args, **kwargs):
        opened[file] += 1
        return load(file, *args, **kwargs)

    monkeypatch.setattr(nibabel, "load", count)
    case = study.cases[0]
    study.read(case)
    assert opened == {case.prediction.file: 1, case.labels[0]: 1}
    assert np.isfinite(study.read(case).probs).all()
