"""Each file that travels is valid by its schema, and what a schema refuses no reader takes."""

import json
from dataclasses import replace
from functools import partial, reduce
from operator import getitem
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from nacl_monai.cli import main
from nacl_monai.errors import InputError, SettingError
from nacl_monai.evaluations.evaluation_files import check_evaluated_so
from nacl_monai.files import read_checked
from nacl_monai.inference.records import fault_in, own_checksum
from nacl_monai.paper.results import _dataset
from nacl_monai.posthoc import read_calibrator, write_calibrator
from nacl_monai.posthoc.islands import read_real
from nacl_monai.promises import read_promise
from nacl_monai.promises.check import _looks
from nacl_monai.promises.report import REPORTS
from nacl_monai.promises.watch import Watch
from nacl_monai.runs import EvaluationFolder
from nacl_monai.schemas import schema
from tests.predictions.conftest import Study
from tests.promises.test_commands import blobs


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with what every verb writes."""
    root = tmp_path_factory.mktemp("schemas")
    old, new = Study(root / "old", blobs(0, 12)), Study(root / "new", blobs(50, 2))
    labeled, each = [old.nnunet(), old.labels], ["--patients", "cases"]
    promised = [root / "promise/promise.json", new.nnunet()]
    measure = ["--measure", "share = anterior / posterior", "--level", "0.3"]
    for verb, *arguments in (
        ("calibrate", *labeled, *each),
        ("calibrate", *labeled, *each, "--components", "--output", root / "islands"),
        ("promise", *labeled, *each, *measure),
        ("promise", "--check", *promised, new.labels, *each, "--chosen", "all"),
        ("watch", *promised, *each),
        ("report", *labeled, *each, "--new", promised[1]),
    ):
        asked = [*arguments] if "--output" in arguments else [*arguments, "--output", root / verb]
        if "--check" in arguments:
            asked[-1] = root / "check"
        assert main([verb, *map(str, asked)]) == 0
    ensemble = replace(
        read_calibrator(root / "calibrate/calibrator.json"),
        fit=None,
        members={"a": "1", "b": "2"},
        average="mean",
        prediction_name=r"(\w+)",
        calibrators={"a": {"method": "temperature", "parameters": {"temperature": 2.0}}},
    )
    write_calibrator(root / "ensemble/calibrator.json", ensemble)
    summary = (root / "report/audit/summary.json").read_text()
    (root / "evaluation").mkdir()
    (root / "evaluation/summary.json").write_text(summary)
    return root


def watched(record, file):
    """The reader of the log of a watch by the same promise and streams."""
    return Watch(record["promise"], dict.fromkeys(record["streams"], ())).read(file)


GONE = object()
#: Below these any value may be, or a module says which.
FREE = {"settings", "numbers", "parameters"}
#: Whose keys are names, which are compared with others.
NAMED = {*FREE, "islands", "channels", "structures", "absent", "cohort", "images"}
#: What a calibrator of a run has not.
OF_PREDICTIONS = ("activation",)
#: File → what reads it, or the one that it was.
FILES = {
    "calibrate/calibrator.json": lambda _, file: read_calibrator(file),
    "ensemble/calibrator.json": lambda _, file: read_calibrator(file),
    "islands/islands.json": lambda _, file: read_real(file),
    "promise/promise.json": lambda _, file: read_promise(file),
    "promise/checks.json": lambda _, file: _looks(file.with_name("promise.json"), ["x"]),
    "watch/log.json": watched,
    "report/audit/evaluation.json": lambda _, file: check_evaluated_so(
        EvaluationFolder(file.parent), {}
    ),
    "evaluation/summary.json": lambda _, file: _dataset(file.parent.parent),
    "report/report.json": lambda _, file: read_checked(
        file, partial(fault_in, table=REPORTS), "write it again"
    ),
}


def is_taken(read, record, file):
    try:
        read(record, file)
    except InputError as error:
        assert str(error).startswith(f"{file}: ")  # noqa: PT017
        return False
    return True


def is_valid(file, record):
    return Draft202012Validator(schema(Path(file).name)).is_valid(record)


def values_in(value, path=()):
    """The path to every value, and the value; of what is alike the first."""
    if path:
        yield path, value
    many = bool(path) and isinstance(value, dict) and len(value) > 16
    pairs = [*value.items()][: 1 if many else None] if isinstance(value, dict) else ()
    for key, part in enumerate(value[:1]) if isinstance(value, list) else pairs:
        yield from values_in(part, (*path, key))


def edits(record):
    """The path to a value, what it becomes, and the whole record then."""
    for path, _ in values_in(record):
        *above, last = path
        for other in (*[GONE] * isinstance(last, str), {}, [], True, None, -1, 0.5, "x"):
            edited = json.loads(json.dumps(record))
            if other is GONE:
                del reduce(getitem, above, edited)[last]
            else:
                reduce(getitem, above, edited)[last] = other
            yield path, other, edited


def sealed(record):
    """With the checksum that it has once it was changed, unless that is what changed."""
    for key in ("checksum", "sha256"):
        if isinstance(record.get(key), str):
            record[key] = own_checksum(record, key)
    return record


@pytest.mark.parametrize(("name", "read"), FILES.items(), ids=FILES)
def test_schema_and_reader_take_a_file_and_refuse_other_keys_and_types(written, name, read):
    """Both refuse a file without a key that it must have, and with any value of another type.

    Whatever a reader takes is valid.
    """
    file = written / name
    text = file.read_bytes()
    record = json.loads(text)
    read(record, file)
    assert is_valid(name, record)

    Draft202012Validator.check_schema(schema(file.name))
    refused = 0
    for path, other, edited in edits(record):
        file.write_text(json.dumps(sealed(edited)))
        is_read, valid = is_taken(read, record, file), is_valid(name, edited)
        assert valid or not is_read, (path, other)
        now = type(reduce(getitem, path, record))
        if other is GONE and not {*path} & NAMED and path != OF_PREDICTIONS:
            assert valid == is_read, path
        elif type(other) in {dict, list, bool} - {now} and not {*path[:-1]} & FREE:
            assert not valid, (path, other)
        refused += not valid
    assert refused > 5
    file.write_bytes(text)
    read(record, file)


def test_pages_are_valid(written):
    """Of each verb, as a report has them."""
    pages = [*written.rglob("page.json")]

    assert len(pages) > 5
    assert all(is_valid("page.json", json.loads(page.read_text())) for page in pages)


def test_a_file_without_a_schema_is_refused():
    with pytest.raises(
        SettingError, match=r"run.json: has no schema; choose from calibrator.json, "
    ):
        schema("run.json")
