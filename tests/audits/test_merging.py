"""Several audits side by side are the audit of all their cases, to the bit."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nacl_monai import merge, read_audit
from nacl_monai.cli import main
from nacl_monai.errors import InputError
from nacl_monai.metrics import read_record
from nacl_monai.reports import read_run
from tests.audits.conftest import Study, bins_of, softmax_cases, undraw

RECOMPUTED = ("ece", "cece", "ace", "mce", "confidence_gap")


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """Two sites with the cases of two people each, and the audit of all; read, never changed."""
    root, cases = tmp_path_factory.mktemp("sites"), softmax_cases(cases=4)
    for name, of_site in {
        "a": list(cases)[2:],
        "b": list(cases)[:2],
        "pooled": list(cases),
    }.items():
        site = Study(root / name, {case: cases[case] for case in of_site})
        words = [site.nnunet(), site.labels, "--output", root / name / "audit"]
        with pytest.MonkeyPatch.context() as patch:
            undraw(patch)
            words += ["--patient-pattern", r"(patient\d+)_"]
            assert main(["audit", *map(str, words)]) == 0
    return {name: root / name / "audit" for name in ("a", "b", "pooled")}


@pytest.mark.usefixtures("undrawn")
def test_merged_audit_is_the_pooled_one_to_the_bit(sites, tmp_path, capsys):
    """Bins, table, pooled errors and intervals."""
    files = [str(sites[name] / "bins.npz") for name in "ab"]
    assert main(["merge", *files, "--output", str(tmp_path / "merged")]) == 0

    merged, pooled = bins_of(tmp_path / "merged"), bins_of(sites["pooled"])
    assert merged.keys() == pooled.keys()
    for key, array in pooled.items():
        np.testing.assert_array_equal(merged[key], array)
    tables = [pd.read_csv(place / "cases.csv") for place in (tmp_path / "merged", sites["pooled"])]
    names = [name for name in tables[1] if name.startswith(RECOMPUTED)]
    assert len(names) == len(pooled["regions"]) * len(RECOMPUTED)
    pd.testing.assert_frame_equal(tables[0][names], tables[1][names], check_exact=True)
    assert (tables[0]["patient"] == tables[1]["patient"]).all()
    assert not any(name.startswith("smooth_ece") for name in tables[1])
    smooth = [
        read_audit(place).error("smooth_ece", "union", pooled=True)
        for place in (tmp_path / "merged", sites["pooled"])
    ]
    assert 0 < smooth[0] == smooth[1]
    assert "Mean over 4 cases of 2 patients" in capsys.readouterr().out


@pytest.mark.usefixtures("undrawn")
def test_merged_audit_is_read_by_reports(sites, tmp_path):
    """Dice, which sums do not give, is undefined."""
    files = [str(sites[name]) for name in "ab"]
    assert main(["merge", *files, "--output", str(tmp_path / "merged")]) == 0

    run = read_run(tmp_path / "merged")
    assert run.metrics["dice"].isna().all()
    assert run.unit == "patients"
    assert main(["reliability", str(tmp_path / "merged"), "--output", str(tmp_path / "drawn")]) == 0


def test_merging_in_python_gives_the_same_object(sites):
    """In any order of the sites."""
    audits = [merge([sites["a"], sites["b"]]), merge([sites["b"], sites["a"]])]
    pooled = read_audit(sites["pooled"])

    for audit in audits:
        assert audit.ece("union") == pooled.ece("union")
        assert audit.ece("union", pooled=True) == pooled.ece("union", pooled=True)


def refused(files, said):
    with pytest.raises(InputError) as caught:
        merge(files)
    assert said in str(caught.value)
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
    ("fields", "said"),
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
def test_what_does_not_belong_together_is_refused(fields, said, sites, tmp_path):
    """Other classes or regions, a case or a patient twice, lost patients, sums that no voxels have."""
    changed = fields(read_record(sites["a"]))
    changed |= {"fine": None} if "regions" in changed else {}
    refused([sites["a"], change(sites["a"], tmp_path / "changed", **changed)], said)


def test_file_that_was_edited_is_refused(sites, tmp_path):
    """Confidences that are one in a hundred too high are nobody's."""
    arrays = bins_of(sites["b"])
    np.savez(tmp_path / "bins.npz", **{**arrays, "confidences": arrays["confidences"] * 1.01})

    refused([sites["a"], tmp_path], f"{tmp_path}/bins.npz: is not as it was written")


@pytest.mark.usefixtures("undrawn")
def test_calibrated_sites_are_merged_as_such(sites, tmp_path):
    """What both went through is kept in the file."""
    files = [str(change(sites[s], tmp_path / s, **calibrated(sites[s]))) for s in "ab"]
    assert main(["merge", *files, "--output", str(tmp_path / "merged")]) == 0

    saved = read_audit(read_audit(tmp_path / "merged").save(tmp_path / "again" / "bins.npz"))
    assert saved.run.bins.calibrator == ["temperature_union", "1" * 64]


@pytest.mark.parametrize("checksum", ["2" * 64, None])
def test_calibrators_of_one_name_are_told_apart(checksum, sites, tmp_path):
    """By the checksum of what was fitted; a file without it may be of any."""
    first = change(sites["a"], tmp_path / "x", **calibrated(sites["a"]))
    other = change(sites["b"], tmp_path / "y", **calibrated(sites["b"], checksum))

    refused([first, other], "calibrator (temperature_union 1111")
    refused([sites["a"], other], "calibrator (none, now temperature_union")


def test_case_that_a_file_repeats_is_refused(sites, tmp_path):
    """Even of one file."""
    changed = change(sites["a"], tmp_path / "changed", cases=["one", "one"])

    refused([changed], "case 'one' is there twice")


def test_no_site_is_one_line():
    """A pattern of names may fit to none."""
    with pytest.raises(InputError, match="files: are none; give the bins.npz of each site"):
        merge([])


def test_file_that_is_missing_is_one_line(tmp_path, capsys):
    """Nothing is made."""
    words = [str(tmp_path / "bins.npz"), "--output", str(tmp_path / "merged")]

    assert main(["merge", *words]) == 1
    assert "bins.npz: no such file" in capsys.readouterr().err
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("as_folder", [False, True])
def test_audit_of_a_site_is_not_replaced(as_folder, sites, capsys):
    """It has what the merged one lacks, such as Dice."""
    files = [str(sites[name] / ("" if as_folder else "bins.npz")) for name in "ab"]
    before = (sites["a"] / "cases.csv").read_bytes()

    assert main(["merge", *files, "--output", str(sites["a"])]) == 2
    assert f"of which {files[0]} is read, and would be replaced" in capsys.readouterr().err
    assert (sites["a"] / "cases.csv").read_bytes() == before


def test_saved_audit_is_the_same(sites, tmp_path):
    """``bins.npz`` holds all of it."""
    audit = read_audit(sites["pooled"])
    again = read_audit(audit.save(tmp_path / "again" / "bins.npz"), name="pooled")

    pd.testing.assert_frame_equal(audit.errors, again.errors, check_exact=True)
    assert again.run.patients.tolist() == audit.run.patients.tolist()
