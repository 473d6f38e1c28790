"""An evaluation counts as long as it is of what is in the run's folder."""

import hashlib
import json
import shutil

import pytest

from nacl_monai.evaluations.evaluation_files import read_evaluation_of
from tests.conftest import refused

UNITS = ("p1", "p2")
SPLIT = {"train": ["p3"], "val": ["p4"], "test": list(UNITS), "drawn": {"seed": 0}}
RECORD = "evaluation/evaluation.json"
WEIGHTS = {"weights": hashlib.sha256(b"weights").hexdigest()}


@pytest.fixture
def run(tmp_path):
    """A finished run, and what its evaluation is of."""
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "model.pt").write_bytes(b"weights")
    write(tmp_path / "split.json", SPLIT)
    write(tmp_path / "run.json", {"finished": True})
    record = {"set": "test", **WEIGHTS, "split": sha256(tmp_path / "split.json")}
    write(tmp_path / RECORD, {**record, "settings": {"classes::0": "background", "seed": 1}})
    return tmp_path


@pytest.fixture
def calibrated(run):
    """The same, evaluated with a calibrator."""
    folder = run / "calibrated/temperature_union"
    folder.mkdir(parents=True)
    (run / "evaluation").rename(folder / "evaluation")
    return folder


def sha256(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def rewrite(run, **changes):
    write(run / RECORD, {**json.loads((run / RECORD).read_text()), **changes})


def refusal(run, units=UNITS):
    return refused(read_evaluation_of, run, units)


def test_set_and_what_must_be_alike_are_read(run):
    """Seeds may differ."""
    evaluation = read_evaluation_of(run, UNITS)

    assert (evaluation.set, evaluation.cases) == ("test", "test cases")
    assert evaluation.settings == {"classes::0": "background"}


TRANSFORMS = {
    "preprocessing::0": "@to_ras",
    "preprocessing::1": "@scaling",
    "scaling::lower": "@lower",
    "lower": 0.5,
    "average": "probabilities",
    "postprocessing::transforms": "$[*@classification, *@structure_masks]",
    "classification::0::softmax": True,
    "structure_masks::0::keys": "pred",
}


def difference(run, settings, other_settings):
    """How the evaluations of two records differ, the same either way."""
    found = []
    for each in (settings, other_settings):
        rewrite(run, settings=each)
        found.append(read_evaluation_of(run, UNITS))
    assert bool(found[0].difference(found[1])) == bool(found[1].difference(found[0]))
    return found[0].difference(found[1])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lower", 20),
        ("scaling::lower", 20),
        ("average", "logits"),
        ("postprocessing::transforms", "$[*@classification]"),
        ("classification::0::softmax", False),
        ("structure_masks::0::keys", "label"),
        ("classification::1::keep", "largest"),
        ("cropping::0", "@to_foreground"),
    ],
)
def test_whatever_decides_a_number_must_be_alike(run, name, value):
    """By name or by what another setting refers to, however indirectly."""
    assert difference(run, TRANSFORMS, TRANSFORMS) == ""
    message = f"{name} ({TRANSFORMS.get(name, 'not set')}, now {value})"
    assert difference(run, TRANSFORMS, {**TRANSFORMS, name: value}) == message


@pytest.mark.parametrize("key", ["lower", "average", "classification", "scaling", "seed"])
def test_key_that_an_earlier_record_lacks_is_not_compared(run, key):
    """Nor is one to which no such setting refers."""
    earlier = {name: value for name, value in TRANSFORMS.items() if name.split("::")[0] != key}

    assert difference(run, {**TRANSFORMS, "seed": 1}, {**earlier, "other": "@lower"}) == ""


def test_evaluation_given_as_a_folder_is_that_of_its_run(run, tmp_path_factory, monkeypatch):
    """By its path, by a link to it, or from within: other weights than the evaluated are refused."""
    (run / "evaluation/cases.csv").touch()
    link = tmp_path_factory.mktemp("links") / "best"
    link.symlink_to(run / "evaluation")
    monkeypatch.chdir(run / "evaluation")
    folders = (run / "evaluation", link, ".")
    for folder in folders:
        read_evaluation_of(folder, UNITS)

    (run / "model.pt").write_bytes(b"other weights")
    for folder in folders:
        assert "is of another model.pt than the run's" in refusal(folder)


def test_record_is_enough_where_nothing_else_was_kept(run):
    """With as few files as are committed."""
    for path in run.glob("*.*"):
        path.unlink()

    assert read_evaluation_of(run, UNITS).set == "test"


@pytest.mark.parametrize("file", ["model.pt", "split.json"])
def test_evaluation_of_a_calibrated_run_is_checked_against_the_run(run, calibrated, file):
    """Its weights and patients are those of the folder above; nothing of them is in its own."""
    assert read_evaluation_of(calibrated, UNITS).set == "test"
    write(run / file, {**SPLIT, "val": ["p5"]})

    assert f"evaluation.json: is of another {file} than the run's" in refusal(calibrated)


def test_evaluation_of_another_fit_is_refused(calibrated):
    """Its numbers are of the calibrator that was evaluated; of an earlier version's, nobody can tell."""
    fit = calibrated / "calibrator.json"
    write(fit, {"temperature": 2.0})
    for checksum in ({}, {"calibrator_sha256": sha256(fit)}):
        rewrite(calibrated, **checksum)
        assert read_evaluation_of(calibrated, UNITS).set == "test"

    write(fit, {"temperature": 1.0})
    assert "evaluation.json: is of another calibrator.json than" in refusal(calibrated)
    rewrite(calibrated, calibrator_sha256=None)
    assert read_evaluation_of(calibrated, UNITS).set == "test"


def test_training_in_a_folder_called_calibrated_is_checked(run):
    """It is not a calibrated run: it has a configuration of its own."""
    moved = run / "calibrated/unet_nacl_seed0"
    moved.mkdir(parents=True)
    for name in ("model.pt", "split.json", "run.json", "evaluation"):
        (run / name).rename(moved / name)
    write(moved / "config.json", {})
    write(moved / "run.json", {"finished": False})

    assert "its training is not finished" in refusal(moved)


@pytest.fixture
def ensemble(run):
    """The evaluation of a run and of another seed beside it as one, where no weights were kept."""
    folder = run / "unet_nacl_seed0/calibrated/ensemble"
    weights = {"unet_nacl_seed0": "first", "unet_nacl_seed1": "second"}
    evaluated = {folder: "first", **{run / name: checksum for name, checksum in weights.items()}}
    for place, checksum in evaluated.items():
        (place / "evaluation").mkdir(parents=True)
        write(place / RECORD, {"set": "test", "weights": checksum, "settings": {}})
    write(folder / "calibrator.json", {"members": weights, "weights": "first"})
    assert read_evaluation_of(folder, UNITS).set == "test"
    return folder


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_ensemble_of_a_training_that_is_no_more_is_refused(ensemble, seed, kept):
    """By the weights of its members, or by those that their evaluations are of."""
    member = ensemble.parents[1].with_name(f"unet_nacl_seed{seed}")
    if kept:
        (member / "model.pt").write_bytes(b"new")
    else:
        rewrite(member, weights="new")

    stale = "is of another model.pt than the run's" if kept and not seed else "trained anew since"
    assert stale in refusal(ensemble)


def test_calibrated_evaluation_of_an_earlier_training_is_refused(ensemble):
    """Where the weights were not kept, too."""
    run = ensemble.parents[1]
    write(ensemble / "calibrator.json", {"weights": "first", "method": "temperature"})
    rewrite(run, weights="new")

    assert f"{run} was trained anew since" in refusal(ensemble)


def test_ensemble_is_read_where_its_members_are_gone(ensemble):
    """Nothing says that they are others."""
    shutil.rmtree(ensemble.parents[1].with_name("unet_nacl_seed1"))

    assert read_evaluation_of(ensemble, UNITS).set == "test"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model.pt", "other", "is of another model.pt than the run's"),
        ("split.json", {**SPLIT, "val": []}, "is of another split.json than the run's"),
        ("run.json", {"finished": False}, "its training is not finished"),
        ("run.json", '{"finished": tr', "run.json: is damaged"),
        (RECORD, "[]", "evaluation.json: is damaged"),
        (RECORD, {"set": "test", "settings": 3}, "evaluation.json: is not as it was written"),
        # A record that lacks something is as if it were of something else.
        (RECORD, {"settings": {}}, "its 'set' cannot be; evaluate the run again"),
        (RECORD, {"set": "test"}, "its 'settings' cannot be; evaluate the run again"),
        (RECORD, {"set": "test", "settings": {}}, "is of another model.pt than the run's"),
        (RECORD, {"set": "test", "settings": {}, **WEIGHTS}, "is of another split.json than the"),
        (RECORD, None, "no such file, and without it nobody knows what was evaluated; evaluate"),
    ],
)
def test_stale_unfinished_and_damaged_files_are_refused(run, file, content, message):
    """Weights or split of another training, one that goes on, half a file, or none."""
    (run / file).unlink() if content is None else write(run / file, content)

    assert message in refusal(run)


def test_training_killed_before_its_first_record_is_unfinished(run):
    """Its model may be kept already."""
    (run / "run.json").rename(run / "config.json")

    assert "its training is not finished" in refusal(run)


@pytest.mark.parametrize("name", ["train", "test"])
def test_split_that_lists_no_patients_is_refused(run, name):
    """In one line."""
    write(run / "split.json", {**SPLIT, name: None})
    rewrite(run, split=sha256(run / "split.json"))

    assert refusal(run) == f"{run}/split.json: is damaged; evaluate the run again"


@pytest.mark.parametrize(
    ("units", "message"),
    [
        (("p1", "p2", "p3"), "patient p3 has trained, but is in the evaluation of the set 'test'"),
        (("p1",), "its set 'test' is not the one that was evaluated (p2)"),
        (("p1", "p2", "p5"), "its set 'test' is not the one that was evaluated (p5)"),
    ],
)
def test_patients_are_those_of_the_set(run, units, message):
    """All patients of the split's set and no other."""
    assert message in refusal(run, units)
