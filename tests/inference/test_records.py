"""Records that travel are as they were written, or are refused in one line."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nacl_monai
from nacl_monai.cli import main
from nacl_monai.errors import InputError
from nacl_monai.inference.records import fault_of_name, own_checksum
from nacl_monai.promises import read_promise
from tests.predictions.conftest import Study, save

SHAPE = (4, 5, 3)


def cases(first, count):
    """Cases of two classes by name: probabilities and label."""
    rng = np.random.default_rng(first)
    for k in range(first, first + count):
        inside = rng.random(SHAPE).astype(np.float32)
        yield f"case{k}", (np.stack([1 - inside, inside]), (rng.random(SHAPE) < inside).astype(int))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The record of what six patients promise about one structure."""
    names, pairs = zip(*cases(0, 6), strict=True)
    options = {"levels": [0.25, 0.3], "classes": ["background", "organ"], "cases": names}
    promised = nacl_monai.promise(*zip(*pairs, strict=True), spacing=(1.2, 1.5, 3.0), **options)
    file = promised.write(tmp_path_factory.mktemp("written") / "promise.json")
    return json.loads(file.read_text())


def sealed(record):
    """With the checksum that it has once it was changed."""
    return {**record, "checksum": own_checksum(record)}


def changed(record, change):
    """A record once it was changed, with its old checksum."""
    record = json.loads(json.dumps(record))
    change(record)
    return record


def first(**values):
    return lambda record: record["kept"][0].update(values)


EDITS = {
    "level": first(level=0.01),
    "threshold": lambda record: record["kept"][0]["values"].__setitem__(0, 0.9),
    "spacing": lambda record: record.update(spacing=[[0.1] * 3, [9.0] * 3]),
    "patients": lambda record: record["patients"].__setitem__(0, "other"),
    "cases": lambda record: record.update(cases=["other"]),
    "weights": lambda record: record["definition"].update(weights="0"),
}
CRAFTED = {
    "level of 0": first(level=0),
    "level of 1": first(level=1.0),
    "level of a text": first(level="0.1"),
    "level of NaN": first(level=float("nan")),
    "threshold of 3": lambda record: record["kept"][0].update(values=[3.0] * 7),
    "threshold below 0": lambda record: record["kept"][0].update(values=[-0.1] * 7),
    "two thresholds": lambda record: record["kept"][0].update(values=[0.1, 0.2]),
    "unknown kind": first(kind="middle"),
    "unknown margin": first(margin=4.0),
    "true as a margin": first(margin=True),
    "infinite size": first(size=float("inf")),
    "10^400": first(size=10**400),
    "no patient": lambda record: record.update(patients=[]),
    "patients as a text": lambda record: record.update(patients="abc"),
    "negative spacing": lambda record: record.update(spacing=[[-1.0], [1.0]]),
    "two lengths of spacing": lambda record: record.update(spacing=[[1.0], [1.0, 2.0]]),
    "pattern without group": lambda record: record.update(known_by="pattern", patient_pattern="a+"),
    "pattern of nobody": lambda record: record.update(patient_pattern="(a+)"),
    "channel that is not there": lambda record: record["definition"]["structures"].update(
        organ=[7]
    ),
    "structure that is not there": first(structure="liver"),
    "more right than there were": lambda record: record["absent"].update(organ=[1, 2]),
    "absent of none": lambda record: record.update(absent={}),
    "list as definition": lambda record: record.update(definition=[]),
    "no checksum": lambda record: record.pop("checksum"),
    "no spacing": lambda record: record.pop("spacing"),
    "nothing kept": lambda record: record.update(kept=[]),
    "nested": lambda record: record.update(beside=json.loads("[" * 400 + "]" * 400)),
    "shard without parts": lambda record: record["definition"].update(shard=3),
}


def refusal(tmp_path, record):
    """The line with which a record is refused."""
    file = tmp_path / "promise.json"
    file.write_text(json.dumps(record))
    with pytest.raises(InputError) as caught:
        read_promise(file)
    line = str(caught.value)
    assert line.startswith(f"{file}: is not as it was written, ")
    assert line.endswith("; make it again: nacl-monai promise PREDICTIONS LABELS")
    assert "\n" not in line
    return line


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_edit_shows_in_the_checksum(written, tmp_path, edit):
    """Though every value can be."""
    record = changed(written, edit)
    assert "its checksum differs" in refusal(tmp_path, record)

    (tmp_path / "promise.json").write_text(json.dumps(sealed(record)))
    read_promise(tmp_path)


@pytest.mark.parametrize("change", CRAFTED.values(), ids=CRAFTED)
def test_crafted_record_has_a_right_checksum_and_is_refused(written, tmp_path, change):
    """By its types and ranges."""
    record = changed(written, change)
    line = refusal(tmp_path, sealed(record) if "checksum" in record else record)

    assert "checksum differs" not in line


def places(record, path=()):
    """The path to every value of a record."""
    pairs = record.items() if isinstance(record, dict) else enumerate(record)
    for key, value in pairs:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


ODD = st.sampled_from(
    [None, True, -1, 2, 10**400, 0.5, float("nan"), float("-inf"), "", "x", [], {}]
)


@settings(max_examples=300, deadline=None)
@given(st.data(), ODD)
def test_any_value_is_read_or_refused_in_one_line(written, tmp_path_factory, data, odd):
    """Whatever is in its place, with a right checksum."""
    record = json.loads(json.dumps(written))
    *path, key = data.draw(st.sampled_from([*places(written)]))
    place = record
    for step in path:
        place = place[step]
    place[key] = odd
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_text(json.dumps(sealed(record)))

    try:
        promise = read_promise(file)
    except InputError as error:
        assert str(error).startswith(f"{file}: is not as it was written, ")  # noqa: PT017
    else:
        assert promise.text()
        assert promise.of_level()


def test_promise_of_an_earlier_version_is_refused(written, tmp_path):
    """0.3.0 took patients without a structure for such as miss nothing of it."""
    file = tmp_path / "promise.json"
    record = changed(written, lambda record: record.update(held_out=record.pop("beside")))
    file.write_text(json.dumps(sealed(record)))

    line = f"{file}: is not as it was written, its 'beside' cannot be; make it again"
    with pytest.raises(InputError, match=line):
        read_promise(file)


@pytest.mark.parametrize("name", ["x/../../precious/label", "..", "a\\b", "nul", "a\u200bb", ""])
def test_name_of_a_structure_leads_nowhere_else(written, tmp_path, capsys, name):
    """A promise that somebody made replaces no file outside of the output."""
    record = changed(written, lambda _: None)
    renamed = {"organ": name}
    for kept in record["kept"]:
        kept["structure"] = renamed[kept["structure"]]
    record["absent"] = {name: record["absent"]["organ"]}
    record["definition"]["structures"] = {name: [1]}
    (tmp_path / "promise.json").write_text(json.dumps(sealed(record)))
    precious = tmp_path / "precious" / "label.nii.gz"
    save(precious, np.zeros(SHAPE, np.uint8))
    before = precious.read_bytes()
    new = Study(tmp_path / "new", dict(cases(90, 1)), {"labels": {"background": 0, "organ": 1}})
    (tmp_path / "out").mkdir()

    args = ["promise", "--apply", str(tmp_path / "promise.json"), str(new.nnunet())]
    assert main([*args, "--output", str(tmp_path / "out" / "contours")]) == 1

    assert "is not as it was written" in capsys.readouterr().err
    assert precious.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        *(("left ventricle", ""), ("WT", ""), ("Lungenflügel", ""), ("console", ""), ("a.b", "")),
        *(("a/b", "folder"), (".", "folder"), ("COM1", "device"), ("aux.nii", "device")),
        *(("a\tb", "invisible"), ("a\u2028", "invisible"), ("\ufeffa", "invisible")),
    ],
)
def test_names_of_files_are_said_to_be_none(name, fault):
    found = fault_of_name(name)

    assert bool(found) == bool(fault)
    assert fault in found
