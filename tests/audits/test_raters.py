"""Several raters: an audit against the share of them, one against each, and what cannot be meant."""

import json
from contextlib import redirect_stdout
from io import StringIO

import nibabel
import numpy as np
import pandas as pd
import pytest

from nacl_monai import audit, merge, read_audit
from nacl_monai.cli import main
from nacl_monai.errors import InputError
from nacl_monai.metrics import CalibrationMetric
from nacl_monai.reports import page, read_run, read_runs
from nacl_monai.reports.evaluated import by_rater, human_run
from tests.audits.conftest import (
    AFFINE,
    ALL,
    CLASSES,
    SHAPE,
    SPACING,
    Study,
    bins_of,
    save,
    softmax_cases,
    undraw,
)

NAMES = ("anna", "ben", "cara")


def label_maps(study, seed=1, names=NAMES):
    """Rater → case → label map (x, y, z): the study's, of which each changes a tenth."""
    rng = np.random.default_rng(seed)
    return {
        name: {
            case: np.where(rng.random(SHAPE) < 0.1, rng.choice(3, SHAPE), label)
            for case, (_, label) in study.cases.items()
        }
        for name in names
    }


def folders(study, maps):
    """The folders of the raters."""
    for name, of_rater in maps.items():
        for case, label in of_rater.items():
            save(study.root / name / f"{case}.nii.gz", label.astype(np.uint8))
    return [study.root / name for name in maps]


@pytest.fixture
def maps(study):
    return label_maps(study)


@pytest.fixture
def raters(study, maps):
    return folders(study, maps)


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """A study, its raters' label maps, the folder of their audit and what was printed; read only."""
    root, printed = tmp_path_factory.mktemp("raters"), StringIO()
    study = Study(root, softmax_cases())
    maps = label_maps(study)
    words = [study.nnunet(), "--raters", *folders(study, maps), "--output", root / "audit"]
    with redirect_stdout(printed), pytest.MonkeyPatch.context() as patch:
        undraw(patch)
        assert main(["audit", *map(str, words)]) == 0
    return study, maps, root / "audit", printed.getvalue()


def check_share(folder, study, maps, structures=()):
    """Counts of the metric in memory, which has oracles of its own, and those of the raters."""
    options = {"structures": structures, "num_raters": len(maps)}
    metric = CalibrationMetric(regions=ALL, margin_spacing=SPACING, **options)
    for case, (probs, _) in study.cases.items():
        labels = np.stack([of_rater[case] for of_rater in maps.values()])
        if structures:
            values = [v for v in study.dataset["labels"].values() if v != 0]
            labels = np.stack([np.isin(labels, v) for v in values], 1).astype(np.uint8)
        metric([probs], [labels])
    bins = bins_of(folder)
    for prefix, sums in (("", metric.case_bins()), ("human_", metric.case_human_bins())):
        for key, array in sums.arrays().items():
            np.testing.assert_allclose(bins[f"{prefix}{key}"], array, rtol=1e-12)
    assert bins["raters"].tolist() == list(maps)


def test_audit_is_against_the_share(audited):
    """The folder names the raters, and the first line says them."""
    study, maps, folder, out = audited

    assert out.splitlines()[0].endswith(", 3 raters: anna, ben, cara")
    check_share(folder, study, maps)
    assert "rater by rater:" in out
    header = next(line for line in out.splitlines() if "share of 3 raters" in line)
    assert header.split() == ["share", "of", "3", "raters", *NAMES, "each", "by", "the", "others"]


def test_numbers_are_those_of_a_slow_loop(audited):
    """ECE over the voxels that any rater marks: confidence against the share who say the same."""
    study, maps, folder, _ = audited

    found = pd.read_csv(folder / "cases.csv", index_col="case")
    for case, (probs, _) in study.cases.items():
        labels = [of_rater[case] for of_rater in maps.values()]
        bins, voxels = np.zeros((15, 2)), 0
        for place in np.ndindex(SHAPE):
            said = [int(label[place]) for label in labels]
            if not any(said):
                continue
            p = probs[(slice(None), *place)]
            top = int(p.argmax())
            at = next(k for k in range(15) if p[top] <= np.float32((k + 1) / 15))
            bins[at] += p[top], said.count(top) / len(said)
            voxels += 1
        ece = np.abs(bins[:, 0] - bins[:, 1]).sum() / voxels
        assert found.loc[case, "ece_foreground"] == pytest.approx(ece, abs=1e-6)


def test_each_rater_has_the_audit_of_that_rater_alone(study, raters, run, tmp_path):
    """File by file; its bins hold those of the other raters as well."""
    place = study.nnunet()
    assert run(place, "--raters", *raters, "--patient-pattern", r"(patient\d)_")[0] == 0
    for folder in raters:
        words = ("--patient-pattern", r"(patient\d)_")
        assert run(place, folder, *words, output=f"alone_{folder.name}")[0] == 0

        of_rater = tmp_path / "audit" / "raters" / folder.name
        alone = tmp_path / f"alone_{folder.name}"
        for name in ("cases.csv", "summary.json", "evaluation.json"):
            assert (of_rater / name).read_text() == (alone / name).read_text()
        bins, expected = bins_of(of_rater), bins_of(alone)
        assert bins.keys() - expected.keys() == {
            f"human_{key}" for key in ("counts", "positives", "confidences")
        }
        for key in expected.keys() - {"checksum"}:
            np.testing.assert_array_equal(bins[key], expected[key])


def test_dice_and_volumes_are_those_of_the_raters(audited):
    """Dice where all agree; CRPS of the expected volume in ml, by its integral."""
    study, maps, folder, out = audited

    found = pd.read_csv(folder / "cases.csv", index_col="case")
    ml = 3 * 1.2 * 1.5 / 1000
    for case, (probs, _) in study.cases.items():
        for name, value in (("anterior", 1), ("posterior", 2)):
            marks = np.stack([of_rater[case] == value for of_rater in maps.values()])
            agreed = marks.all(0) | ~marks.any(0)
            predicted, labeled = (probs.argmax(0) == value) & agreed, marks.all(0)
            dice = 2 * (predicted & labeled).sum() / (predicted.sum() + labeled.sum())
            assert found.loc[case, f"dice_{name}"] == pytest.approx(dice, abs=1e-6)

            places = np.argwhere(np.ones(SHAPE)) * SPACING
            inside = places[(probs.argmax(0) == value).ravel()]
            near = np.array([np.linalg.norm(inside - one, axis=1).min() for one in places]) <= 3
            volume = ml * probs[value].ravel()[near].sum(dtype=float)
            rated = ml * marks.sum((1, 2, 3))
            ends = np.sort([volume, *rated])
            middles = (ends[1:] + ends[:-1]) / 2
            gaps = [np.mean(rated <= middle) - (volume <= middle) for middle in middles]
            crps = (np.diff(ends) * np.square(gaps)).sum()
            assert found.loc[case, f"crps_{name}"] == pytest.approx(crps, abs=1e-6)
    assert found["hd95"].isna().all()
    assert "CRPS of the volume in ml, anterior" in out


def test_structures_may_overlap(regions, run, tmp_path):
    """Each is a problem of its own, with pictures of what most raters mark."""
    maps = label_maps(regions)
    code, _, err = run(regions.nnunet(), "--raters", *folders(regions, maps))

    assert code == 0, err
    check_share(tmp_path / "audit", regions, maps, ["whole", "posterior"])
    shown = np.load(next((tmp_path / "audit" / "maps").iterdir()))
    assert shown["label"].max() == 2


def test_ignored_voxels_count_for_no_share(study, maps, run, tmp_path):
    """Whoever ignores them; the other raters alone are audited there."""
    study.dataset = {"labels": {**CLASSES, "ignore": 3}}
    for label in maps["ben"].values():
        label[:, :, :2] = 3
    assert run(study.nnunet(), "--raters", *folders(study, maps))[0] == 0

    counts = {
        name: bins_of(tmp_path / "audit" / place)["counts"][:, ALL.index("all"), 0].sum(-1)
        for name, place in (("share", "."), ("anna", "raters/anna"), ("ben", "raters/ben"))
    }
    voxels, kept = np.prod(SHAPE), np.prod(SHAPE[:2]) * (SHAPE[2] - 2)
    assert counts["share"].tolist() == [3 * kept] * 3
    assert counts["anna"].tolist() == [voxels] * 3
    assert counts["ben"].tolist() == [kept] * 3
    found = bins_of(tmp_path / "audit")["decision_expected_everywhere"][0, 0]
    probs, _ = next(iter(study.cases.values()))
    expected = probs[1][:, :, 2:].sum(dtype=float) * 3 * 1.2 * 1.5
    assert found == pytest.approx(expected)


@pytest.mark.nightly
def test_processes_maps_and_several_models_go_together(study, raters, run, tmp_path):
    """Two layouts of the same probabilities have the same numbers against every rater."""
    words = ("--raters", *raters, "--write", "nifti", "--jobs", "2")
    code, out, err = run(study.nnunet("one"), study.channels("two"), *words)

    assert code == 0, err
    assert out.count("rater by rater:") == 2
    for file in ("cases.csv", *(f"raters/{name}/cases.csv" for name in NAMES)):
        first, second = (tmp_path / "audit" / model / file for model in ("one", "two"))
        assert first.read_text() == second.read_text()
    for model in ("one", "two"):
        assert len(list((tmp_path / "audit" / model / "nifti").glob("*_entropy.nii.gz"))) == 3


def test_pictures_show_what_most_raters_say(audited):
    """Voxel by voxel, of the worst cases of the share; a rater has none."""
    _, maps, folder, _ = audited

    table = pd.read_csv(folder / "cases.csv", index_col="case")
    case = table["ece_union"].idxmax()
    shown = np.load(folder / "maps" / f"{case}.npz")
    votes = np.stack([of_rater[case] for of_rater in maps.values()])
    most = np.vectorize(lambda *said: max(range(3), key=said.count))(*votes)
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(most.astype(np.uint8), AFFINE))
    picture = np.rot90(np.asarray(turned.dataobj)[..., shown["slice"]])
    np.testing.assert_array_equal(shown["label"], picture)
    assert not (folder / "raters" / "anna" / "maps").exists()


def test_reports_tell_a_share_from_a_rater(audited):
    """``compare`` sets shares or raters side by side, but not one beside the other."""
    share, anna = audited[2], audited[2] / "raters/anna"

    for folder in (share, anna):
        assert len(read_runs([folder, folder], ["one", "two"])) == 2
    with pytest.raises(InputError, match="was evaluated otherwise than"):
        read_runs([share, anna])


def test_raters_themselves_are_a_run(audited):
    """Their errors follow from their own bins; raters alone say nothing of a share."""
    share = read_run(audited[2])
    runs, human = by_rater(share), human_run(share)

    assert [one.name for one in runs] == ["share of 3 raters", *NAMES]
    assert human.bins.sums is share.bins.human
    assert human.metrics["ece_all"].notna().all()
    assert human_run(runs[1]) is not None
    assert by_rater(runs[1]) == [runs[1]]


def test_sites_merge_their_shares(audited, run, tmp_path):
    """To the bit, with the raters themselves; other raters are refused."""
    study, _, folder, _ = audited
    whole = read_audit(folder)
    parts = []
    for k, cases in enumerate((slice(0, 1), slice(1, None))):
        bins = whole.run.bins.ordered(whole.run.bins.cases[cases])
        parts.append(tmp_path / f"part{k}" / "bins.npz")
        type(whole)(type(whole.run)(**{**vars(whole.run), "bins": bins})).save(parts[-1])
    merged = merge(parts)

    pd.testing.assert_frame_equal(merged.errors, whole.errors, check_exact=True)
    assert merged.raters.ece("union") == whole.raters.ece("union")
    assert main(["merge", *map(str, parts), "--output", str(tmp_path / "merged")]) == 0
    assert read_audit(tmp_path / "merged").run.bins.raters == list(NAMES)
    raters = [study.root / name for name in NAMES[:2]]
    assert run(study.root / "nnunet", "--raters", *raters, output="fewer")[0] == 0
    with pytest.raises(InputError, match="differs from .* in raters"):
        merge([parts[0], tmp_path / "fewer" / "bins.npz"])


def test_python_takes_a_mapping(study, maps, raters):
    """To arrays or to folders; one case or several."""
    probs = [probs for probs, _ in study.cases.values()]
    labels = {name: list(of_rater.values()) for name, of_rater in maps.items()}
    found = audit(probs, labels)
    of_folders = audit(study.nnunet(), dict(zip(NAMES, raters, strict=True)))

    assert found.run.bins.raters == of_folders.run.bins.raters == list(NAMES)
    assert found.raters.ece("union") == of_folders.raters.ece("union")
    for region in ALL:
        assert found.ece(region) == pytest.approx(of_folders.ece(region), abs=1e-12)
    assert audit(probs, labels["anna"]).raters is None
    single = audit(probs[0], {name: of_rater[0] for name, of_rater in labels.items()})
    assert single.errors["ece_all"].iloc[0] == found.errors["ece_all"].iloc[0]
    mask = np.random.default_rng(0).random(SHAPE) < 0.5
    masked = audit(probs[0], {name: of[0] for name, of in labels.items()}, mask=mask)
    assert masked.run.bins.sums.voxels()[0, ALL.index("all")] == 3 * mask.sum()
    texts = " ".join(one.get_text() for one in found.plot("all").axes[0].texts)
    assert f"{3 * np.prod(SHAPE):,} voxels" in texts
    assert "(raters)" in texts


def test_python_refuses_raters_that_cannot_be_meant(study, maps):
    """One alone, or of other shapes."""
    probs, _ = next(iter(study.cases.values()))
    case = next(iter(study.cases))

    with pytest.raises(InputError, match="are of one rater"):
        audit(probs, {"anna": maps["anna"][case]})
    with pytest.raises(InputError, match="those of 'ben' have the shapes"):
        audit(probs, {"anna": maps["anna"][case], "ben": maps["ben"][case][1:]})


def refused(result, said, code=1):
    assert result[0] == code
    line = result[2].splitlines()[-1]
    assert line.startswith("error: ")
    assert said in line
    assert "Auditing" not in result[2]


def test_raters_that_cannot_be_meant_are_refused_before_work(study, maps, raters, run, tmp_path):
    """One alone, one twice or copied, other cases, a prediction, two of one name."""
    place, (anna, ben, _) = study.nnunet(), raters
    for label in maps["anna"]:
        (tmp_path / "copy").mkdir(exist_ok=True)
        image = nibabel.load(anna / f"{label}.nii.gz")
        nibabel.save(image, tmp_path / "copy" / f"{label}.nii")
    save(tmp_path / "others" / "other.nii.gz", np.zeros(SHAPE, np.uint8))
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "anna").symlink_to(ben)

    refused(run(place, "--raters", anna), "is one folder; give two or more", code=2)
    refused(run(place, "--raters", anna, ben, anna), "two raters are called 'anna'", code=2)
    words = ["--rater-names", "a", "b"]
    refused(run(place, "--raters", anna, anna, *words), "anna: is given twice")
    refused(run(place, "--raters", ben, tmp_path / "x" / "anna", *words), "is given twice")
    refused(run(place, "--raters", anna, tmp_path / "copy"), "has the same label maps as")
    refused(
        run(place, "--raters", anna, tmp_path / "others"), f"label map in {tmp_path / 'others'}"
    )
    refused(run(place, "--raters", anna, place), "is a prediction, its probabilities lie beside it")
    refused(run(place, "--raters", anna, tmp_path / "none"), "none: is not a folder")
    refused(run(place, "--raters", anna, ben, "--rater-names", "a"), "1 names for 2", code=2)
    refused(
        run(place, "--raters", anna, ben, "--rater-names", "a", "../b"), "not a name of", code=2
    )
    refused(run(place, anna, "--rater-names", "a"), "--raters, which is missing", code=2)
    refused(run(place, anna, "--raters", anna, ben), "anna: these are labels")
    refused(run(place, place), "is a prediction, its probabilities lie beside it")
    assert not (tmp_path / "audit").exists()


def test_raters_who_mark_nothing_may_agree(study, maps, run, tmp_path):
    """Two of three find nothing in any case, which copies nobody."""
    for name in ("ben", "cara"):
        maps[name] = {case: np.zeros(SHAPE) for case in study.cases}

    code, _, err = run(study.nnunet(), "--raters", *folders(study, maps))
    assert code == 0, err
    assert pd.read_csv(tmp_path / "audit" / "cases.csv")["dice"].isna().all()


def lacks(folder, case):
    (folder / f"{case}.nii.gz").unlink()


def moves(folder, case):
    affine = AFFINE.copy()
    affine[0, 3] += 2
    save(folder / f"{case}.nii.gz", np.ones(SHAPE, np.uint8), affine)


def holds(folder, case):
    save(folder / f"{case}.nii.gz", np.full(SHAPE, 7, np.uint8))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lacks, "has no label map 'patient0_scan1' in"),
        (moves, "its affine puts voxels up to 2 mm away"),
        (holds, "holds the label value 7; expected only [0, 1, 2]"),
    ],
)
def test_fault_of_one_rater_leaves_the_case_out(spoil, said, study, raters, run, tmp_path):
    """One line names the rater's folder; the other cases are audited against all."""
    spoil(raters[1], "patient0_scan1")
    code, _, err = run(
        study.alone(), "--raters", *raters, "--dataset", study.nnunet() / "dataset.json"
    )

    faults = [line for line in err.splitlines() if line.startswith("fault: ")]
    assert code == 1
    assert len(faults) == 1, err
    assert said in faults[0]
    assert "ben" in faults[0]
    assert len(pd.read_csv(tmp_path / "audit" / "cases.csv")) == 2


def test_grids_of_raters_must_agree_where_predictions_have_none(study, raters, run):
    """An npz file alone says no place; the raters must say the same."""
    moves(raters[2], "patient0_scan1")
    place = study.nnunet(beside=False, geometry=False)

    code, _, err = run(place, "--raters", *raters)
    assert code == 1
    assert "cara/patient0_scan1.nii.gz: its affine puts voxels up to 2 mm away" in err


def test_raters_must_mean_the_same_labels(study, maps, run, tmp_path):
    """Where a dataset.json is above each folder."""
    for name, labels in (("anna", CLASSES), ("ben", {"background": 0, "tail": 1, "head": 2})):
        for case, label in maps[name].items():
            save(tmp_path / name / "labels" / f"{case}.nii.gz", label.astype(np.uint8))
        (tmp_path / name / "dataset.json").write_text(json.dumps({"labels": labels}))
    places = [tmp_path / name / "labels" for name in ("anna", "ben")]
    words = ("--raters", *places, "--rater-names", "anna", "ben")

    refused(run(study.channels(dataset=False), *words), "has other labels than")
    dataset = ("--dataset", tmp_path / "anna" / "dataset.json")
    assert run(study.channels(dataset=False), *words, *dataset)[0] == 0


def test_page_sets_raters_side_by_side(audited, tmp_path, monkeypatch):
    """A line for each, for the share and for the raters themselves; one diagram has them all."""
    folder, drawn = audited[2], []
    monkeypatch.setattr(page, "draw_reliability", lambda runs, **_: drawn.append(runs))
    monkeypatch.setattr(page, "draw_selective", lambda _: [None])
    monkeypatch.setattr(page, "png_source", lambda _: "data:,")
    file = page.write_page(read_run(folder), tmp_path / "page.html", "command")

    text = file.read_text(encoding="utf-8")
    assert "3 raters have labeled them: anna, ben, cara." in text
    section = text[text.index("<h2>Rater by rater</h2>") : text.index("<h2>Calibration by class")]
    rows = [row.split("</td>")[0] for row in section.split("<tr><td>")[1:]]
    assert rows == ["share of 3 raters", *NAMES, "each by the others"]
    names = [[one.name for one in runs] for runs in drawn]
    assert names.count(["share of 3 raters", *NAMES]) == 1
    assert "<td>CRPS of the volume in ml ↓</td>" in text
    alone = page.write_page(read_run(folder / "raters/ben"), tmp_path / "ben.html", "command")
    assert "raters have labeled" not in alone.read_text(encoding="utf-8")
