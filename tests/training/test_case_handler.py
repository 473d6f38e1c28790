"""Names of cases are collected in order, anew in each run, and written once by the first process."""

from ignite.engine import Engine

from nacl_monai.training.case_files import CaseHandler


class Recorder(CaseHandler):
    def __init__(self):
        super().__init__()
        self.written = []

    def write(self, engine, cases, patients):  # noqa: ARG002
        self.written.append((cases, patients))


def item(case):
    return {"case": f"case{case}", "patient": f"patient{case // 2}"}


BATCHES = [[item(2), item(0)], {"case": ["case1"], "patient": ["patient0"]}]


def recorded(runs=1):
    engine, handler = Engine(lambda *_: None), Recorder()
    handler.attach(engine)
    for _ in range(runs):
        engine.run(BATCHES)
    return handler.written


def test_names_are_written_once_in_their_order():
    """After the last case, the names are in the order of the cases."""
    expected = (["case2", "case0", "case1"], ["patient1", "patient0", "patient0"])

    assert recorded() == [expected]


def test_each_run_starts_anew():
    """A second run does not repeat the names of the first."""
    first, second = recorded(runs=2)

    assert first == second


def test_only_the_first_process_writes(monkeypatch):
    """Among several processes only rank 0 writes."""
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)

    assert recorded() == []


def test_cases_without_a_name_are_called_by_their_files(monkeypatch):
    """Those of all processes together, so that no two are alike."""
    monkeypatch.setattr(
        "nacl_monai.training.case_files.image_files", lambda _: ["a/t1.nii.gz", "b/t1.nii.gz"]
    )
    engine, handler = Engine(lambda *_: None), Recorder()
    handler.attach(engine)
    engine.run([{"image": None}])

    assert handler.written == [(["a_t1", "b_t1"], [])]
