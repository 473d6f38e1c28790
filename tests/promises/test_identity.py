"""What a promise says of whose it is: nobody is promised by themselves, and nobody counts twice."""

import hmac
import json
import shutil
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest

from nacl_monai.cli import main
from nacl_monai.errors import InputError
from nacl_monai.files import check_apart
from nacl_monai.inference.promised import VERY_PREDICTION as VERY
from nacl_monai.inference.records import own_checksum
from nacl_monai.promises import applied, promise, read_promise
from nacl_monai.promises.cases import contour_name
from tests.predictions.conftest import Study
from tests.promises.test_commands import PATIENTS, blobs, run
from tests.same import same_bits

LEVEL = ["--level", "0.3", "--no-pictures"]
EACH = ["--patients", "cases"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Eight cases of as many patients, with names that say nothing else."""
    cases = {f"case{k}": pair for k, pair in enumerate(blobs(0, 8).values())}
    return Study(tmp_path_factory.mktemp("study"), cases)


def made_of(study, tmp_path, *args):
    """A promise of the study, its labels and predictions renamed."""
    place = shutil.copytree(study.nnunet(), tmp_path / "predictions")
    labels = shutil.copytree(study.labels, tmp_path / "labels")
    for file in sorted(labels.iterdir()):
        file.rename(labels / file.name.replace(".nii.gz", "_seg.nii.gz"))
    assert main(["promise", *map(str, (place, labels, *LEVEL, *args)), *output(tmp_path)]) == 0
    return place


def output(tmp_path, name="promise"):
    return ["--output", str(tmp_path / name)]


def refused(args, capsys):
    capsys.readouterr()
    assert main([*map(str, args)]) in (1, 2)
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "args",
    [
        ["--label-name", "(.+)_seg"],
        ["--prediction-name", "(.+)", "--label-name", "(.+)_seg"],
        ["--pairs", "{}/pairs.csv"],
    ],
)
@pytest.mark.parametrize("through", ["folders", "sums"])
def test_calibration_patient_is_recognized_whatever_labels_are_called(
    args, through, study, tmp_path, capsys
):
    """As new cases they have the names that they had when they calibrated; through sums, too."""
    rows = ["prediction,label", *(f"{case},{case}_seg" for case in study.cases)]
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    place = made_of(study, tmp_path, *(word.format(tmp_path) for word in args))
    promise = tmp_path / "promise"
    if through == "sums":
        promise = run(tmp_path / "again", "promise", promise / "promise.npz", *LEVEL)

    line = refused(["promise", "--apply", promise, place, *output(tmp_path, "new")], capsys)
    assert "was fitted on case0, who cannot test it" in line
    assert not (tmp_path / "new").exists()


def test_pattern_and_table_travel_through_sums(tmp_path, capsys):
    """A third scan of a calibration patient is of the patient, however the promise was made."""
    study, new = Study(tmp_path, blobs(0, 16)), Study(tmp_path / "new", blobs(17, 1))
    new.cases["p03_later"] = new.cases.pop("p08_scan17")
    table = tmp_path / "t.csv"
    rows = [f"{case},{case[:3]}" for case in [*study.cases, "p03_later"]]
    table.write_text("\n".join(["case,patient", *rows]))
    apply, data = {}, ["audit", study.nnunet(), study.labels, "--no-pictures"]
    for name, args in {"pattern": PATIENTS, "table": ["--patients", table]}.items():
        sums = run(tmp_path / f"audit_{name}", *data, *args)
        promised = run(tmp_path / name, "promise", sums, *LEVEL)
        assert read_promise(promised).known_by == name
        apply[name] = ["promise", "--apply", promised, new.nnunet(), *output(tmp_path, "c")]
    assert "was fitted on p03, who cannot test it" in refused(apply["pattern"], capsys)
    assert "give the table with --patients" in refused(apply["table"], capsys)
    assert "was fitted on p03" in refused([*apply["table"], "--patients", table], capsys)


def test_several_cases_of_a_patient_are_not_taken_for_patients(tmp_path, capsys):
    """Unless each is said to be a patient's only one, or the pattern that is printed says whose."""
    study = Study(tmp_path, blobs(0, 8))
    args = ["promise", study.nnunet(), study.labels, *LEVEL, *output(tmp_path)]

    line = refused(args, capsys)
    assert r"--patient-pattern '(p\d+)_', or that each is a patient's only one" in line
    assert main([*map(str, args), "--patients", "cases"]) == 0
    assert read_promise(tmp_path / "promise").known_by == "cases"
    assert len(read_promise(tmp_path / "promise").patients) == 8
    assert main([*map(str, args), "--patient-pattern", r"(p\d+)_"]) == 0
    assert len(read_promise(tmp_path / "promise").patients) == 4


def test_names_that_are_one_file_are_refused(study, tmp_path, capsys):
    """On another disk, or by a structure whose name is like the end of another's contour."""
    cases = dict(zip(["A", "a", *"bcdefg"], study.cases.values(), strict=True))
    place = Study(tmp_path, cases)
    line = refused(["audit", place.nnunet(), place.labels, *LEVEL[2:], *output(tmp_path)], capsys)
    assert "'A' and 'a' would be one file" in line

    pairs = ("k", "y_outer_y"), ("k_outer_y", "y")
    with pytest.raises(InputError, match="'k_outer_y_outer_y.nii.gz' and"):
        check_apart("new", [contour_name(case, "outer", structure) for case, structure in pairs])


@pytest.mark.parametrize("verb", ["audit", "promise"])
def test_prediction_under_two_names_is_refused(verb, study, tmp_path, capsys):
    """A copy would count a patient twice."""
    cases = {**study.cases, "copy": study.cases["case3"]}
    twice = Study(tmp_path, cases)

    args = [*LEVEL] if verb == "promise" else LEVEL[2:]
    line = refused([verb, twice.nnunet(), twice.labels, *args, *output(tmp_path)], capsys)
    assert "has the very probabilities of " in line
    assert not (tmp_path / "promise").exists()


def test_sites_with_the_same_sums_are_refused(study, tmp_path, capsys):
    """Under other names they are the same patients."""
    other = Study(tmp_path / "b", {f"b{name}": pair for name, pair in study.cases.items()})
    for name, site in {"one": study, "two": other}.items():
        run(tmp_path / name, "audit", site.nnunet(), site.labels, "--no-pictures")

    for verb, file in (("merge", "bins.npz"), ("promise", "promise.npz")):
        sites = [tmp_path / name / file for name in ("one", "two")]
        line = refused([verb, *sites, *output(tmp_path, "both")], capsys)
        assert "has the very sums of 'case0', so that one patient would count twice" in line


def test_sites_of_one_model_are_joined_whatever_their_files_are(study, tmp_path):
    """One keeps npz files, and the other NIfTI: the promise is that of all, in any order."""
    names = list(study.cases)
    sites = {"npz": (names[5:], Study.nnunet), "nifti": (names[:5], Study.channels)}
    sums = []
    for name, (cases, write) in sites.items():
        site = Study(tmp_path / name, {case: study.cases[case] for case in cases})
        data = [write(site), site.labels, "--no-pictures"]
        sums.append(run(tmp_path / f"audit_{name}", "audit", *data))
    both = read_promise(run(tmp_path / "both", "promise", *sums, *LEVEL))
    data = [study.nnunet(), study.labels, *LEVEL]
    expected = read_promise(run(tmp_path / "whole", "promise", *data))

    assert both.kept == expected.kept
    assert both.beside == expected.beside


def test_folder_that_is_a_member_twice_is_refused(study, tmp_path, capsys):
    """It would weigh twice, in each command that averages."""
    copy = shutil.copytree(study.nnunet(), tmp_path / "copy")
    commands = {"audit": [study.labels], "promise": [study.labels, *LEVEL], "maps": []}
    commands["report"] = [study.labels, *LEVEL[:2]]
    faults = {study.nnunet(): "is given twice", copy: "one member would weigh twice"}
    for verb, rest in commands.items():
        for folder, line in faults.items():
            args = [verb, study.nnunet(), folder, *rest, "--ensemble", *output(tmp_path)]
            assert f"{line}; give each member once" in refused(args, capsys)


def test_promise_takes_maps_behind_its_calibrator_and_calibrates_none_twice(
    study, tmp_path, capsys
):
    """Maps say what they went through: the contours are those of predictions with the calibrator."""
    fitted = Study(tmp_path / "fitted", {f"f{name}": pair for name, pair in blobs(20, 8).items()})
    new = Study(tmp_path / "new", {f"n{name}": pair for name, pair in blobs(40, 2).items()})
    behind = ["--calibrator", tmp_path / "fit/calibrator.json"]
    for args, name in (
        (["calibrate", fitted.nnunet(), fitted.labels, "--no-pictures", *EACH], "fit"),
        (["promise", study.nnunet(), study.labels, *behind, *LEVEL], "promise"),
        (["maps", new.nnunet(), *behind], "maps"),
        (["promise", "--apply", tmp_path / "promise", tmp_path / "maps"], "ours"),
        (["promise", "--apply", tmp_path / "promise", new.nnunet(), *behind], "theirs"),
    ):
        run(tmp_path / name, *args)
    ours, theirs = (pd.read_csv(tmp_path / name / "promised.csv") for name in ("ours", "theirs"))
    # Maps keep single precision, which moves a voxel at most that is just at the threshold.
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-4)

    for verb in (["promise", "--apply"], ["triage"], ["watch"]):
        args = [*verb, tmp_path / "promise", tmp_path / "maps", *behind, *output(tmp_path, "twice")]
        assert "went through signed_distance_all already" in refused(args, capsys)
    assert not (tmp_path / "twice").exists()


@pytest.mark.parametrize("parts", [["1/3", "2/3"], ["1/2", "2/3"], ["1/2", "1/2"]])
def test_shards_of_another_division_are_refused(parts, study, tmp_path, capsys):
    """Or with one missing or doubled; in a merge of audits, too."""
    data = ["audit", study.nnunet(), study.labels, "--no-pictures", "--shard"]
    for k, part in enumerate(parts):
        run(tmp_path / str(k), *data, part)

    for verb, file in (("merge", "bins.npz"), ("promise", "promise.npz")):
        files = [tmp_path / str(k) / file for k in range(len(parts))]
        line = refused([verb, *files, *output(tmp_path, verb)], capsys)
        assert "give all shards of one division together, each once" in line


def test_halves_of_two_studies_are_no_whole(study, tmp_path, capsys):
    """Each knows the patients whom it is a half of; hidden names, too."""
    other = Study(tmp_path / "other", {f"q{name}": case for name, case in blobs(1, 8).items()})
    (tmp_path / "salt").write_text("0123456789abcdef" * 4)
    hidden = ["--anonymous", str(tmp_path / "salt"), "--patients", "cases"]
    for more in ([], hidden):
        for k, half in enumerate((study, other)):
            args = ["audit", half.nnunet(), half.labels, "--no-pictures", "--shard", f"{k + 1}/2"]
            run(tmp_path / f"{k}{len(more)}", *args, *more)
        for verb, file in (("merge", "bins.npz"), ("promise", "promise.npz")):
            files = [tmp_path / f"{k}{len(more)}" / file for k in range(2)]
            line = refused([verb, *files, *output(tmp_path, verb)], capsys)
            assert "is shard 1/2 of those given of its study, 1/2" in line


def test_contours_of_a_promise_stay_where_another_is_made(study, tmp_path):
    """Both are commands of their own."""
    args = ["promise", study.nnunet(), study.labels, *LEVEL]
    new = Study(tmp_path / "new", {"new": blobs(30, 1)["p15_scan30"]})
    apply = ["promise", "--apply", run(tmp_path / "promise", *args), new.nnunet()]
    run(tmp_path / "both", *apply)
    run(tmp_path / "both", *args)

    names = {file.name for file in (tmp_path / "both").iterdir()}
    assert {"promised.csv", "new_outer_anterior.nii.gz", "promise.json"} <= names


def test_edited_promise_is_refused_and_a_crafted_one_writes_nowhere_else(study, tmp_path, capsys):
    """An edit by its checksum, and a structure that leads elsewhere by its name."""
    data = [study.nnunet(), study.labels, *LEVEL]
    file = run(tmp_path / "promise", "promise", *data) / "promise.json"
    record = json.loads(file.read_text())
    new = Study(tmp_path / "new", {"new": blobs(30, 1)["p15_scan30"]})
    apply = ["promise", "--apply", file, new.nnunet(), *output(tmp_path, "c")]

    edited = {**record, "kept": [{**kept, "level": 0.01} for kept in record["kept"]]}
    file.write_text(json.dumps(edited))
    assert "is not as it was written" in refused(apply, capsys)
    text = json.dumps(record).replace('"anterior"', '"../precious/label"')
    crafted = json.loads(text)
    file.write_text(json.dumps({**crafted, "checksum": own_checksum(crafted)}))
    assert "is not as it was written" in refused(apply, capsys)
    assert not (tmp_path / "precious").exists()


def test_hidden_names_are_in_no_file_and_compared_by_their_salt(study, tmp_path, capsys):
    """Those of a site or a shard are joined; a calibration patient is recognized."""
    salts = {name: tmp_path / f"{name}.salt" for name in ("ours", "other", "short")}
    salts["ours"].write_text("5" * 64 + "\n")
    salts["other"].write_text("7" * 64)
    salts["short"].write_text("secret")
    place, labels, each = study.nnunet(), study.labels, ["--patients", "cases"]
    hidden = [*each, "--anonymous", salts["ours"]]
    for part in "12":
        shard = ["--shard", f"{part}/2", *LEVEL[2:]]
        run(tmp_path / part, "audit", place, labels, *hidden, *shard)
    files = [tmp_path / part / "promise.npz" for part in "12"]
    joined = read_promise(run(tmp_path / "joined", "promise", *files, *LEVEL))
    args = ["promise", place, labels, *LEVEL]
    promised = read_promise(run(tmp_path / "promise", *args, *hidden))
    plain = read_promise(run(tmp_path / "plain", *args, *each))

    secret = b"5" * 64
    names = [hmac.new(secret, case.encode(), "sha256").hexdigest()[:24] for case in study.cases]
    assert promised.cases == promised.patients == joined.cases == sorted(names)
    assert promised.kept == joined.kept
    assert [kept.values for kept in promised.kept] == [kept.values for kept in plain.kept]
    for folder in ("1", "2", "joined", "promise"):
        for file in (tmp_path / folder).rglob("*.*"):
            assert not any(case.encode() in file.read_bytes() for case in study.cases), file
    apply = ["promise", "--apply", tmp_path / "promise", place, *output(tmp_path, "new")]
    hidden = [*each, "--salt", salts["ours"]]
    assert "was fitted on case0, who cannot test it" in refused([*apply, *hidden], capsys)
    labeled = Study(tmp_path / "new_study", {"new": blobs(30, 1)["p15_scan30"]})
    new = labeled.nnunet()
    apply = [*apply[:3], new, *output(tmp_path, "new")]
    applied_to = run(tmp_path / "new", *apply[:4], *hidden)
    assert (applied_to / "new_outer_anterior.nii.gz").is_file()
    triage = ["triage", tmp_path / "promise", new, "--labels", labeled.labels, "--no-pictures"]
    run(tmp_path / "triage", *triage, *hidden)

    assert "are hidden, and so cannot be compared" in refused([*apply, *each], capsys)
    other = [*apply, *each, "--salt", salts["other"]]
    assert "give the salt that hid them with --salt" in refused(other, capsys)
    mixed = ["promise", *files, tmp_path / "plain/promise.npz", *LEVEL, *output(tmp_path, "mixed")]
    assert "differs from" in refused(mixed, capsys)
    apply[2] = tmp_path / "plain"
    assert "are not hidden, and so cannot" in refused([*apply, *hidden], capsys)
    args = [*args, *output(tmp_path), "--anonymous", salts["ours"]]
    assert "--anonymous: hides whose the cases are" in refused(args, capsys)
    short = [*args[:-1], salts["short"], *each]
    assert "has 6 bytes, which may be guessed" in refused(short, capsys)
    assert "no such file; make one" in refused([*args[:-1], tmp_path / "none", *each], capsys)


def test_sums_with_names_are_hidden_as_they_are_joined(study, tmp_path, capsys):
    """By merge and by promise, as if their audit had hidden them; never by two salts."""
    salts = [tmp_path / "ours", tmp_path / "other"]
    for salt, digit in zip(salts, "57", strict=True):
        salt.write_text(64 * digit)
    args = ["audit", study.nnunet(), study.labels, "--no-pictures"]
    each = ["--patients", "cases"]
    kinds = {"plain": each, "hidden": [*each, "--anonymous", salts[0]], "nobody": []}
    for name, more in kinds.items():
        run(tmp_path / name, *args, *more)

    hide = ["--anonymous", salts[0]]
    run(tmp_path / "merged", "merge", tmp_path / "plain", *hide)
    for name in ("bins.npz", "promise.npz"):
        merged, hidden = (np.load(tmp_path / folder / name) for folder in ("merged", "hidden"))
        for key in hidden.keys() - {"definition", "checksum"}:
            same_bits(merged[key], hidden[key], "names alone are replaced")
    promised = read_promise(run(tmp_path / "promise", "promise", tmp_path / "plain", *hide, *LEVEL))
    again = read_promise(run(tmp_path / "again", "promise", tmp_path / "hidden", *LEVEL))
    assert (promised.kept, promised.patients) == (again.kept, again.patients)
    for folder in ("merged", "promise"):
        for file in (tmp_path / folder).rglob("*.*"):
            assert not any(case.encode() in file.read_bytes() for case in study.cases), file

    merge = ["merge", tmp_path / "hidden", "--anonymous", salts[1], *output(tmp_path, "no")]
    assert "another salt hid its names" in refused(merge, capsys)
    for verb in ("merge", "promise"):
        args = [verb, tmp_path / "nobody", *hide, *output(tmp_path, "no")]
        assert "does not say whose the cases are" in refused(args, capsys)
    assert not (tmp_path / "no").exists()


def test_python_refuses_what_the_command_refuses():
    """Arrays that are no probabilities, masks that are none, names that are doubled."""
    inside = np.random.default_rng(0).uniform(size=(6, 5, 5))
    probs, labels = np.stack([1 - inside, inside], 1), (inside > 0.6).astype(int)
    mask = np.full(labels.shape, -1)
    options = {"levels": [0.4], "compare": False}
    wrong = {
        "mask: holds other numbers": {"mask": mask},
        "mask: hides values": {"mask": np.ma.masked_array(labels >= 0, labels > 0)},
        "classes: two are called 'a'": {"classes": ["a", "a"]},
        "channels agree far better": {},
    }
    for line, extra in wrong.items():
        outputs = probs if extra else probs[:, ::-1]
        with pytest.raises(InputError, match=line):
            promise(outputs, labels, **options, **extra)
    promised = promise(probs, labels, **options)
    cases = {"hold NaN": probs[0] * np.nan, "beyond": 9 * probs[0], "off 1": probs[0] / 2}
    for line, case in cases.items():
        with pytest.raises(InputError, match=line):
            applied(promised, case, (1, 1))


@pytest.mark.parametrize("verb", [["promise", "--apply"], ["triage"], ["calibrated"], ["islands"]])
def test_the_expression_of_names_travels(verb, tmp_path, capsys):
    """In promise.json, islands.json and calibrator.json: the predictions that were fitted are known."""
    cases = {f"pred_case{k}": pair for k, pair in enumerate(blobs(0, 8).values())}
    predictions = Study(tmp_path, cases).channels()
    labels = Study(tmp_path / "l", {name[5:]: pair for name, pair in cases.items()}).labels
    data, names = [predictions, labels, *EACH], ["--prediction-name", "pred_(.+)"]
    if verb == ["calibrated"]:
        fit, file = ["calibrate", *data, "--method", "temperature", LEVEL[2]], "calibrator.json"
        args = ["maps", predictions, "--calibrator"]
    elif verb == ["islands"]:
        fit, file = ["calibrate", *data, "--components"], "islands.json"
        args = ["maps", predictions, "--islands"]
    else:
        fit, file, args = ["promise", *data, *LEVEL], "promise.json", verb
    run(tmp_path / "made", *fit, *names)

    record = json.loads((tmp_path / "made" / file).read_text())
    assert (record.get("definition") or record)["prediction_name"] == "pred_(.+)"
    after = [] if args[0] == "maps" else [predictions]
    args = [*args, tmp_path / "made" / file, *after, *output(tmp_path, "new")]
    assert "was fitted on case0, who cannot test it" in refused(args, capsys)


def promised_under_other_names(several, study, tmp_path):
    """Makes a promise of the study's cases, and two new ones: one of them, and another."""
    people = ["--patient-pattern", "(.+)[0-9]"] if several else EACH
    cases = {f"q{k // 2}_{k % 2}": pair for k, pair in enumerate(study.cases.values())}
    old, other = Study(tmp_path, cases), blobs(40, 1)["p20_scan40"]
    run(tmp_path / "promise", "promise", old.nnunet(), old.labels, *people, *LEVEL)
    return Study(tmp_path / "n", {"anybody": study.cases["case5"], "new": other})


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("verb", [["promise", "--apply"], ["triage"]])
def test_prediction_of_a_calibration_patient_is_recognized_under_every_name(
    verb, several, study, tmp_path, capsys
):
    """By its expected Dice and volume, where patients have several cases, too; others go on."""
    new = promised_under_other_names(several, study, tmp_path)
    assert bool(read_promise(tmp_path / "promise").images) == several

    args = [*verb, tmp_path / "promise", new.nnunet(), *output(tmp_path, "new")]
    assert "anybody" in (line := refused([*args, "--patients", "cases"], capsys))
    assert "very prediction of a patient who calibrated" in line
    table = {"promise": "promised.csv", "triage": "triage.csv"}[verb[0]]
    assert "anybody" not in (tmp_path / "new" / table).read_text()
    assert "new" in (tmp_path / "new" / table).read_text()


@pytest.mark.parametrize("key", ["cohort", "images"])
def test_statistics_of_others_in_a_crafted_promise_are_refused(key, study, tmp_path, capsys):
    """Of another structure, of fewer people, or without those that recognize a case."""
    people = ["--patient-pattern", "(.+)[0-9]"]
    cases = {f"q{k // 2}_{k % 2}": pair for k, pair in enumerate(study.cases.values())}
    old = Study(tmp_path, cases)
    data = [old.nnunet(), old.labels, *people, *LEVEL]
    file = run(tmp_path / "promise", "promise", *data) / "promise.json"
    record = json.loads(file.read_text())
    table = record[key]
    short = {name: {k: row[k][:-1] for k in row} for name, row in table.items()}
    few = {name: {"volume": row["volume"]} for name, row in table.items()}
    for crafted in ({"heart": table["anterior"]}, short, few, {**table, "posterior": {}}, [1]):
        changed = {**record, key: crafted}
        file.write_text(json.dumps({**changed, "checksum": own_checksum(changed)}))
        line = refused(["triage", file, old.nnunet(), *people, *output(tmp_path, "new")], capsys)
        assert f"is not as it was written, its {key!r} cannot be" in line


def test_curves_of_another_site_beside_an_audit_are_refused(study, tmp_path, capsys):
    """Though both are whole."""
    other = {f"b_{name}": pair for name, pair in study.cases.items()}
    for name, site in {"one": study, "two": Study(tmp_path / "b", other)}.items():
        run(tmp_path / name, "audit", site.nnunet(), site.labels, *EACH, "--no-pictures")
    shutil.copy(tmp_path / "two" / "promise.npz", tmp_path / "one")
    line = refused(["promise", tmp_path / "one", *LEVEL, *output(tmp_path)], capsys)
    assert "is in it or in the bins.npz beside it, but not in both" in line


@pytest.mark.parametrize("name", ["x" * 111, "é" * 56])
def test_name_that_fits_no_contour_is_refused_before_a_volume_is_read(
    name, study, tmp_path, capsys
):
    """A structure of so many letters was promised, and failed as it was applied."""
    labels = {"background": 0, "anterior": 1, name: 2}
    place = Study(tmp_path, study.cases, {"labels": labels})
    line = refused(["promise", place.channels(), place.labels, *EACH, *output(tmp_path)], capsys)
    assert "has more than 110 bytes" in line


def test_prediction_that_says_nothing_is_nobodys(study):
    """Where nothing is predicted, or every probability is 0 or 1."""
    probs, labels = (np.stack(part) for part in zip(*study.cases.values(), strict=True))
    hard = (probs == probs.max(1, keepdims=True)).astype(np.float32)
    empty = np.zeros_like(hard)
    empty[:, 0] = 1
    for some, known in ((hard, False), (empty, False), (probs, True)):
        promised, size = promise(some, labels, levels=[0.3]), {"spacing": (1.0, 1.0, 1.0)}
        with pytest.raises(InputError, match=VERY) if known else nullcontext():
            applied(promised, some[0], **size)
        if known:
            with pytest.raises(InputError, match=VERY):
                promised.check(some[:1], labels[:1], chosen="all", **size)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("labeled", [False, True])
@pytest.mark.parametrize("verb", [["promise", "--check"], ["watch"]])
def test_who_judges_or_is_watched_did_not_calibrate_under_another_name(
    verb, several, labeled, study, tmp_path, capsys
):
    """One of two cases is of the calibration, and nothing is written."""
    new = promised_under_other_names(several, study, tmp_path)
    if not labeled:  # who calibrated is in promise.json alone
        (tmp_path / "promise" / "promise.npz").unlink()
    check = [new.labels, "--chosen", "all"]
    more = check if verb[0] == "promise" else ["--labels", new.labels] * labeled
    args = [*verb, tmp_path / "promise", new.nnunet(), *more, *output(tmp_path, "new")]
    line = refused([*args, "--patients", "cases"], capsys)
    assert f"anybody: {VERY}; leave it out" in line
    assert not (tmp_path / "new").exists()
