"""Several audits side by side are the audit of all their cases, to the bit."""

from dataclasses import replace

import pandas as pd
import pytest

from nacl_monai import merge, read_audit
from nacl_monai.cli import main
from nacl_monai.errors import InputError
from nacl_monai.evaluations import read_run
from nacl_monai.metrics import read_record
from tests.predictions.conftest import Study, bins_of, softmax_cases, undraw
from tests.same import same_bits, same_values

RECOMPUTED = ("ece", "cece", "ace", "mce", "confidence_gap")


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """Two sites with the cases of two people each, and the audit of all; read, never changed."""
    root, cases = tmp_path_factory.mktemp("sites"), list(softmax_cases(cases=4).items())
    parts = {"a": cases[2:], "b": cases[:2], "pooled": cases}
    with pytest.MonkeyPatch.context() as patch:
        undraw(patch)
        for name, of_site in parts.items():
            site = Study(root / name, dict(of_site))
            args = [site.nnunet(), site.labels, "--patient-pattern", r"(patient\d+)_"]
            output = ["--output", str(root / name / "audit")]
            assert main(["audit", *map(str, args), *output]) == 0
    return {name: root / name / "audit" for name in parts}


def test_merged_audit_is_the_pooled_one_to_the_bit(sites, run, tmp_path):
    """Bins, table, pooled errors and intervals."""
    out = run(*(sites[name] / "bins.npz" for name in "ab"), verb="merge")[1]

    places = tmp_path / "audit", sites["pooled"]
    merged, pooled = map(bins_of, places)
    same_bits(merged, pooled, "the sums of each case are copied")
    tables = [pd.read_csv(place / "cases.csv") for place in places]
    names = [name for name in tables[1] if name.startswith(RECOMPUTED)]
    assert len(names) == len(pooled["regions"]) * len(RECOMPUTED)
    same_bits(tables[0][names], tables[1][names], "the sums of each case are copied")
    same_values(tables[0]["patient"], tables[1]["patient"])
    assert not any(name.startswith("smooth_ece") for name in tables[1])
    smooth = [read_audit(place).error("smooth_ece", "union") for place in places]
    assert 0 < smooth[0] == smooth[1]
    assert "Mean over 4 cases of 2 patients" in out


def test_merged_audit_is_read_by_reports(sites, run, tmp_path):
    """Dice, which sums do not give, is undefined."""
    assert run(sites["a"], sites["b"], verb="merge")[0] == 0

    merged = read_run(tmp_path / "audit")
    assert merged.metrics["dice"].isna().all()
    assert merged.unit == "patients"
    assert run("reliability", tmp_path / "audit", verb="draw", output="drawn")[0] == 0


def check_refusal(files, message):
    with pytest.raises(InputError) as caught:
        merge(files)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def change(folder, place, **fields):
    """The record of a site with other content, as another site would have written it."""
    record = replace(read_record(folder), **fields)
    place.mkdir()
    record.write(place / "bins.npz")
    return place


def calibrated(folder, checksum="1" * 64):
    """Fields of a record of the same probabilities behind a calibrator."""
    calibrator = ["temperature_union", checksum] if checksum else ["temperature_union"]
    return {"definition": {**read_record(folder).definition, "calibrator": calibrator}}


RENUMBERED = {"cases": ["x", "y"]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (lambda record: {"classes": ["top-1", "nothing", *record.classes[2:]]}, "differs from"),
        (lambda record: {"regions": ["foreground", "own"], "sums": record.sums[:, :2]}, "regions"),
        (lambda _: {}, "its case 'patient1_scan2' is in"),
        (lambda _: RENUMBERED, "its patient 'patient1' is in"),
        (lambda _: {**RENUMBERED, "patients": None}, "patients (known, now unknown)"),
        (
            lambda record: {"sums": replace(record.sums, positives=record.sums.positives + 1)},
            "more voxels are right than there are",
        ),
    ],
    ids=["classes", "regions", "case", "patient", "unknown patients", "sums"],
)
def test_what_does_not_belong_together_is_refused(fields, message, sites, tmp_path):
    """Other classes or regions, a case or a patient twice, lost patients, sums that no voxels have."""
    changed = fields(read_record(sites["a"]))
    changed |= {"fine": None} if "regions" in changed else {}
    check_refusal([sites["a"], change(sites["a"], tmp_path / "changed", **changed)], message)


def test_calibrated_sites_are_merged_as_such(sites, run, tmp_path):
    """What both went through is kept in the file."""
    changed = [change(sites[name], tmp_path / name, **calibrated(sites[name])) for name in "ab"]
    assert run(*changed, verb="merge")[0] == 0

    saved = read_audit(read_audit(tmp_path / "audit").save(tmp_path / "again" / "bins.npz"))
    assert saved.run.bins.calibrator == ["temperature_union", "1" * 64]


@pytest.mark.parametrize("checksum", ["2" * 64, None])
def test_calibrators_of_one_name_are_told_apart(checksum, sites, tmp_path):
    """By the checksum of what was fitted; a file without it may be of any."""
    first = change(sites["a"], tmp_path / "x", **calibrated(sites["a"]))
    other = change(sites["b"], tmp_path / "y", **calibrated(sites["b"], checksum))

    check_refusal([first, other], "calibrator (temperature_union 1111")
    check_refusal([sites["a"], other], "calibrator (none, now temperature_union")


def test_no_site_is_one_line():
    """A pattern of names may fit to none."""
    with pytest.raises(InputError, match="files: are none; give the bins.npz of each site"):
        merge([])


def test_file_that_is_missing_is_one_line(run, tmp_path):
    """Nothing is made."""
    code, _, err = run(tmp_path / "bins.npz", verb="merge")

    assert code == 1
    assert "bins.npz: no such file" in err
    assert not (tmp_path / "audit").exists()


@pytest.mark.parametrize("file", ["", "bins.npz"])
def test_audit_of_a_site_is_not_replaced(file, sites, run):
    """It has what the merged one lacks, such as Dice."""
    files = [sites[name] / file for name in "ab"]
    before = (sites["a"] / "cases.csv").read_bytes()

    code, _, err = run(*files, verb="merge", output=sites["a"])
    assert code == 2
    assert f"of which {files[0]} is read, and would be replaced" in err
    assert (sites["a"] / "cases.csv").read_bytes() == before


def test_saved_audit_is_the_same(sites, tmp_path):
    """``bins.npz`` holds all of it."""
    audit = read_audit(sites["pooled"])
    again = read_audit(audit.save(tmp_path / "again" / "bins.npz"), name="pooled")

    same_bits(audit.errors, again.errors, "the sums of each case are copied")
    assert again.run.patients.tolist() == audit.run.patients.tolist()


PATIENTS = ["--patient-pattern", r"(patient\d+)_"]


def test_audit_is_enough_for_a_promise(tmp_path, capsys):
    """Its promise.npz, and with it promise.json, are those of the folders; merged ones, too."""
    study = Study(tmp_path, softmax_cases(cases=8))
    args = [str(study.nnunet()), str(study.labels), *PATIENTS, "--no-pictures"]
    places = {name: tmp_path / name for name in ("audit", "1", "2", "merged", "folders", "sums")}
    assert main(["audit", *args, "--output", str(places["audit"])]) == 0
    for part in "12":
        shard = ["--shard", f"{part}/2", "--output", str(places[part])]
        assert main(["audit", *args, *shard]) == 0
    merged = ["merge", *(str(places[part]) for part in "12"), "--output"]
    assert main([*merged, str(places["merged"])]) == 0
    level = ["--level", "0.3", "--no-pictures", "--output"]
    assert main(["promise", *args[:-1], *level, str(places["folders"])]) == 0
    assert main(["promise", str(places["audit"]), *level, str(places["sums"])]) == 0

    files = [places[name] / "promise.npz" for name in ("audit", "merged", "folders", "sums")]
    assert len({file.read_bytes() for file in files}) == 1
    of_folders, other = (places[name] / "promise.json" for name in ("folders", "sums"))
    assert of_folders.read_text() == other.read_text()

    (places["2"] / "promise.npz").unlink()
    assert main([*merged, str(tmp_path / "m")]) == 0
    assert not (tmp_path / "m/promise.npz").exists()
    assert "note: not every audit has a promise.npz" in capsys.readouterr().out
    (places["1"] / "promise.npz").replace(places["2"] / "promise.npz")
    (places["audit"] / "promise.npz").rename(places["1"] / "promise.npz")
    assert main([*merged, str(tmp_path / "n")]) == 1
