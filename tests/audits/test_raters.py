"""Several raters: an audit against the share of them, one against each, and what cannot be meant."""

import re
from contextlib import redirect_stdout
from io import StringIO

import nibabel
import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import distance_transform_edt

from nacl_monai import audit, merge, read_audit
from nacl_monai.cli import main
from nacl_monai.errors import InputError
from nacl_monai.evaluations import read_run, read_runs
from nacl_monai.evaluations.evaluated import by_rater, human_run
from nacl_monai.reports import page
from nacl_monai.reports.style import data_source
from tests.evaluated_runs import _blank_png
from tests.predictions.conftest import (
    AFFINE,
    ALL,
    CLASSES,
    SHAPE,
    SPACING,
    Study,
    bins_of,
    dice,
    moved,
    save,
    softmax_cases,
    undraw,
    write_json,
)
from tests.predictions.test_contract import slow_ece
from tests.same import same_bits, same_values

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
def shared(tmp_path_factory):
    """A study, its raters' label maps, the folder of their audit and what was printed; read only."""
    root, printed = tmp_path_factory.mktemp("raters"), StringIO()
    study = Study(root, softmax_cases())
    maps = label_maps(study)
    args = [study.nnunet(), "--raters", *folders(study, maps), "--output", root / "audit"]
    with redirect_stdout(printed), pytest.MonkeyPatch.context() as patch:
        undraw(patch)
        assert main(["audit", *map(str, args)]) == 0
    return study, maps, root / "audit", printed.getvalue()


def check_share(folder, study, maps, structures=()):
    """Counts of the metric in memory, which has oracles of its own, and those of the raters."""
    metric, bins = study.metric(maps, structures=structures), bins_of(folder)
    for prefix, sums in (("", metric.case_bins()), ("human_", metric.case_human_bins())):
        for key, array in sums.arrays().items():
            np.testing.assert_allclose(bins[f"{prefix}{key}"], array, rtol=1e-12)
    assert bins["raters"].tolist() == list(maps)


def test_audit_is_against_the_share(shared):
    """The folder names the raters, and the first line says them."""
    study, maps, folder, out = shared

    assert out.splitlines()[0].endswith(", 3 raters: anna, ben, cara")
    check_share(folder, study, maps)
    assert "rater by rater:" in out
    header = next(line for line in out.splitlines() if "share of 3 raters" in line)
    assert header.split() == ["share", "of", "3", "raters", *NAMES, "each", "by", "the", "others"]


def test_numbers_are_those_of_a_slow_loop(shared):
    """ECE over the voxels that any rater marks."""
    study, maps, folder, _ = shared

    found = pd.read_csv(folder / "cases.csv", index_col="case")["ece_foreground"]
    for case, (probs, _) in study.cases.items():
        labels = [of_rater[case] for of_rater in maps.values()]
        expected = slow_ece(probs, labels, "foreground")
        assert found[case] == pytest.approx(expected, abs=1e-6)


def test_each_rater_has_the_audit_of_that_rater_alone(study, raters, audited):
    """File by file; its bins hold those of the other raters as well."""
    place, args = study.nnunet(), ("--patient-pattern", r"(patient\d)_")
    of_all = audited(place, "--raters", *raters, *args)
    for folder in raters:
        of_rater = of_all / "raters" / folder.name
        alone = audited(place, folder, *args, output=f"alone_{folder.name}")
        for name in ("cases.csv", "summary.json", "evaluation.json"):
            assert (of_rater / name).read_text() == (alone / name).read_text()
        bins, expected = bins_of(of_rater), bins_of(alone)
        of_raters = {f"human_{key}" for key in ("counts", "positives", "confidences")}
        assert bins.keys() - expected.keys() == of_raters
        for key in expected.keys() - {"checksum"}:
            same_bits(bins[key], expected[key], "the same case meets the same rater")


def test_dice_and_volumes_are_those_of_the_raters(shared):
    """Dice where all agree; CRPS of the expected volume in ml, from the distances of volumes."""
    study, maps, folder, out = shared

    found = pd.read_csv(folder / "cases.csv", index_col="case")
    ml = 3 * 1.2 * 1.5 / 1000
    for case, (probs, _) in study.cases.items():
        for name, value in (("anterior", 1), ("posterior", 2)):
            marks = np.stack([of_rater[case] == value for of_rater in maps.values()])
            agreed = marks.all(0) | ~marks.any(0)
            expected = dice((probs.argmax(0) == value) & agreed, marks.all(0))
            assert found.loc[case, f"dice_{name}"] == pytest.approx(expected, abs=1e-6)

            near = distance_transform_edt(probs.argmax(0) != value, sampling=SPACING) <= 3
            volume, rated = ml * probs[value][near].sum(dtype=float), ml * marks.sum((1, 2, 3))
            crps = abs(volume - rated).mean() - abs(rated[:, None] - rated).mean() / 2
            assert found.loc[case, f"crps_{name}"] == pytest.approx(crps, abs=1e-6)
    assert found["hd95_mm"].isna().all()
    assert "CRPS of the volume in ml, anterior" in out


def test_structures_may_overlap(regions, audited):
    """Each is a problem of its own, with pictures of what most raters mark."""
    maps = label_maps(regions)
    folder = audited(regions.nnunet(), "--raters", *folders(regions, maps))

    check_share(folder, regions, maps, ["whole", "posterior"])
    shown = np.load(next((folder / "maps").iterdir()))
    assert shown["label"].max() == 2


def test_ignored_voxels_count_for_no_share(study, maps, audited):
    """Whoever ignores them; the other raters alone are audited there."""
    study.dataset = {"labels": {**CLASSES, "ignore": 3}}
    for label in maps["ben"].values():
        label[:, :, :2] = 3
    folder = audited(study.nnunet(), "--raters", *folders(study, maps))

    counts = {
        place: bins_of(folder / place)["counts"][:, ALL.index("all"), 0].sum(-1).tolist()
        for place in (".", "raters/anna", "raters/ben")
    }
    voxels, kept = np.prod(SHAPE), np.prod(SHAPE[:2]) * (SHAPE[2] - 2)
    assert counts == {".": [3 * kept] * 3, "raters/anna": [voxels] * 3, "raters/ben": [kept] * 3}
    found = bins_of(folder)["decision_expected_everywhere"][0, 0]
    probs, _ = next(iter(study.cases.values()))
    expected = probs[1][:, :, 2:].sum(dtype=float) * 3 * 1.2 * 1.5
    assert found == pytest.approx(expected)


@pytest.mark.nightly
def test_processes_maps_and_several_models_go_together(study, raters, run, tmp_path):
    """Two layouts of the same probabilities have the same numbers against every rater."""
    args = ("--raters", *raters, "--write", "nifti", "--jobs", "2")
    code, out, err = run(study.nnunet("one"), study.channels("two"), *args)

    assert code == 0, err
    assert out.count("rater by rater:") == 2
    for file in ("cases.csv", *(f"raters/{name}/cases.csv" for name in NAMES)):
        first, second = (tmp_path / "audit" / model / file for model in ("one", "two"))
        assert first.read_text() == second.read_text()
    for model in ("one", "two"):
        assert len(list((tmp_path / "audit" / model / "nifti").glob("*_entropy.nii.gz"))) == 3


def test_pictures_show_what_most_raters_say(shared):
    """Voxel by voxel, of the worst cases of the share; a rater has none."""
    _, maps, folder, _ = shared

    table = pd.read_csv(folder / "cases.csv", index_col="case")
    case = table["ece_union"].idxmax()
    shown = np.load(folder / "maps" / f"{case}.npz")
    votes = np.stack([of_rater[case] for of_rater in maps.values()])
    most = np.vectorize(lambda *marks: max(range(3), key=marks.count))(*votes)
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(most.astype(np.uint8), AFFINE))
    picture = np.rot90(np.asarray(turned.dataobj)[..., shown["slice"]])
    same_values(shown["label"], picture)
    assert not (folder / "raters" / "anna" / "maps").exists()


def test_reports_tell_a_share_from_a_rater(shared):
    """``compare`` sets shares or raters side by side, but not one beside the other."""
    share, anna = shared[2], shared[2] / "raters/anna"

    for folder in (share, anna):
        assert len(read_runs([folder, folder], ["one", "two"])) == 2
    with pytest.raises(InputError, match="was evaluated otherwise than"):
        read_runs([share, anna])


def test_raters_themselves_are_a_run(shared):
    """Their errors follow from their own bins; raters alone say nothing of a share."""
    share = read_run(shared[2])
    runs, human = by_rater(share), human_run(share)

    assert [run.name for run in runs] == ["share of 3 raters", *NAMES]
    assert human.bins.sums is share.bins.human
    assert human.metrics["ece_all"].notna().all()
    assert human_run(runs[1]) is not None
    assert by_rater(runs[1]) == [runs[1]]


def test_sites_merge_their_shares(shared, audited, tmp_path):
    """To the bit, with the raters themselves; other raters are refused."""
    study, _, folder, _ = shared
    whole = read_audit(folder)
    parts = []
    for k, cases in enumerate((slice(0, 1), slice(1, None))):
        bins = whole.run.bins.ordered(whole.run.bins.cases[cases])
        parts.append(tmp_path / f"part{k}" / "bins.npz")
        type(whole)(type(whole.run)(**{**vars(whole.run), "bins": bins})).save(parts[-1])
    merged = merge(parts)

    same_bits(merged.errors, whole.errors, "the sums of each case are copied")
    assert merged.raters.ece("union") == whole.raters.ece("union")
    assert main(["merge", *map(str, parts), "--output", str(tmp_path / "merged")]) == 0
    assert read_audit(tmp_path / "merged").run.bins.raters == list(NAMES)
    raters = [study.root / name for name in NAMES[:2]]
    fewer = audited(study.root / "nnunet", "--raters", *raters)
    with pytest.raises(InputError, match="differs from .* in raters"):
        merge([parts[0], fewer / "bins.npz"])


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
    masked = audit(probs[0], {name: maps[0] for name, maps in labels.items()}, mask=mask)
    assert masked.run.bins.sums.voxels()[0, ALL.index("all")] == 3 * mask.sum()
    texts = " ".join(text.get_text() for text in found.plot("all").axes[0].texts)
    assert f"{3 * np.prod(SHAPE):,} voxels" in texts
    assert "(raters)" in texts


def test_raters_that_cannot_be_meant_are_refused_before_work(study, raters, refused, tmp_path):
    """One alone, one twice or copied, other cases, a prediction, two of one name."""
    place, (anna, ben, _) = study.nnunet(), raters
    copy, elsewhere, linked = tmp_path / "copy", tmp_path / "others", tmp_path / "x/anna"
    copy.mkdir()
    for file in anna.iterdir():
        nibabel.save(nibabel.load(file), copy / file.name.removesuffix(".gz"))
    save(elsewhere / "other.nii.gz", np.zeros(SHAPE, np.uint8))
    linked.parent.mkdir()
    linked.symlink_to(ben)

    named = ["--rater-names", "a", "b"]
    for message, *args in (
        ("anna: is given twice", anna, anna, *named),
        ("is given twice", ben, linked, *named),
        ("has the same label maps as", anna, copy),
        (f"label map in {elsewhere}", anna, elsewhere),
        ("is a prediction, with its probabilities beside it", anna, place),
        ("none: is not a folder", anna, tmp_path / "none"),
    ):
        refused(message, place, "--raters", *args)
    for message, *args in (
        ("is one folder; give two or more", anna),
        ("two raters are called 'anna'", anna, ben, anna),
        ("1 names for 2", anna, ben, "--rater-names", "a"),
        ("not a name of", anna, ben, "--rater-names", "a", "../b"),
    ):
        refused(message, place, "--raters", *args, code=2)
    refused("--raters, which is missing", place, anna, "--rater-names", "a", code=2)
    refused("anna: these are labels", place, anna, "--raters", anna, ben)
    refused("is a prediction, with its probabilities beside it", place, place)
    assert not (tmp_path / "audit").exists()


def test_raters_who_mark_nothing_may_agree(study, maps, audited):
    """Two of three find nothing in any case, which copies nobody."""
    for name in ("ben", "cara"):
        maps[name] = {case: np.zeros(SHAPE) for case in study.cases}

    folder = audited(study.nnunet(), "--raters", *folders(study, maps))
    assert pd.read_csv(folder / "cases.csv")["dice"].isna().all()


def lacks(file):
    file.unlink()


def moves(file):
    save(file, np.ones(SHAPE, np.uint8), moved(2))


def holds(file):
    save(file, np.full(SHAPE, 7, np.uint8))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lacks, "has no label map 'patient0_scan1' in"),
        (moves, "its affine puts voxels up to 2 mm away"),
        (holds, "holds the label value 7; expected only [0, 1, 2]"),
    ],
)
def test_fault_of_one_rater_leaves_the_case_out(spoil, message, study, raters, fault_of):
    """One line names the rater's folder; the other cases are audited against all."""
    spoil(raters[1] / "patient0_scan1.nii.gz")

    args = ("--raters", *raters, "--dataset", study.nnunet() / "dataset.json")
    line = fault_of("patient0_scan1", study.alone(), *args)
    assert message in line
    assert "ben" in line


def test_grids_of_raters_must_agree_where_predictions_have_none(study, raters, fault_of):
    """An npz file alone says no place; the raters must say the same."""
    moves(raters[2] / "patient0_scan1.nii.gz")
    place = study.nnunet(beside=False, geometry=False)

    message = "cara/patient0_scan1.nii.gz: its affine puts voxels up to 2 mm away"
    assert message in fault_of("patient0_scan1", place, "--raters", *raters)


def test_raters_must_mean_the_same_labels(study, maps, audited, refused, tmp_path):
    """Where a dataset.json is above each folder."""
    for name, labels in (("anna", CLASSES), ("ben", {"background": 0, "tail": 1, "head": 2})):
        for case, label in maps[name].items():
            save(tmp_path / name / "labels" / f"{case}.nii.gz", label.astype(np.uint8))
        write_json(tmp_path / name / "dataset.json", {"labels": labels})
    places = [tmp_path / name / "labels" for name in ("anna", "ben")]
    args = (study.channels(dataset=False), "--raters", *places, "--rater-names", "anna", "ben")

    refused("has other labels than", *args)
    audited(*args, "--dataset", tmp_path / "anna" / "dataset.json")


def test_page_sets_raters_side_by_side(shared, tmp_path, monkeypatch):
    """A line for each, for the share and for the raters themselves; one diagram has them all."""
    folder, drawn = shared[2], []
    monkeypatch.setattr(page.reports, "draw_reliability", lambda runs, **_: drawn.append(runs))
    monkeypatch.setattr(page.reports, "draw_selective", lambda _: [None])
    monkeypatch.setattr(page, "png_source", lambda _: data_source(_blank_png()))
    file = page.write_page(read_run(folder), tmp_path / "page.html", "command")

    text = file.read_text(encoding="utf-8")
    assert "3 raters have labeled them: anna, ben, cara." in text
    section = text[text.index("<h2>Rater by rater</h2>") : text.index("<h2>Calibration by class")]
    rows = re.findall('<th scope="row">(.*?)</th>', section)
    assert rows == ["share of 3 raters", *NAMES, "each by the others"]
    names = [[run.name for run in runs] for runs in drawn]
    assert names.count(["share of 3 raters", *NAMES]) == 1
    assert "CRPS of the volume in ml ↓</th>" in text
    alone = page.write_page(read_run(folder / "raters/ben"), tmp_path / "ben.html", "command")
    assert "raters have labeled" not in alone.read_text(encoding="utf-8")
