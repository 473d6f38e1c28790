"""A page shows the voxels of the files, at their places, and asks nobody for anything."""

import base64
import gzip
import hashlib
import itertools
import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from nibabel.orientations import axcodes2ornt, inv_ornt_aff
from scipy.ndimage import gaussian_filter
from scipy.special import softmax

from nacl_monai import audit, read_audit
from nacl_monai.cli import main
from nacl_monai.errors import InputError
from nacl_monai.files import write_text
from nacl_monai.predictions.channels import Channels
from nacl_monai.predictions.finding import find
from nacl_monai.predictions.images import Labels, Prediction, Probabilities
from nacl_monai.predictions.options import Use, options_of
from nacl_monai.predictions.reading import Case, Reading
from nacl_monai.reports import viewer
from nacl_monai.reports.style import page_template
from nacl_monai.reports.viewer import AROUND, Layers, scripts, viewed_cases
from nacl_monai.reports.viewer import viewed as viewed_layers
from nacl_monai.wheel import shipped
from tests.same import same_values

CODES = [
    "".join(letters)
    for axes in itertools.permutations(("LR", "PA", "IS"))
    for letters in itertools.product(*axes)
]
SPACING = (1.0, 1.5, 4.0)


def save(file, voxels, affine):
    file.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), file)


def write_case(folder, name, codes, spacing=SPACING, classes=3, shape=(14, 12, 9), seed=0):
    """A case whose axes run along the codes: probabilities, labels and an image, each its own."""
    rng = np.random.default_rng(seed)
    turned = shape if len(codes) == 3 else shape[:2]
    affine = inv_ornt_aff(axcodes2ornt(tuple(codes)), turned)
    affine = np.diag([*spacing, 1]) @ affine
    affine[:3, 3] += (-31, 12, 7.5)
    # About a ball, so that something is predicted, and all is likely somewhere.
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    ball = 3 - 4 * sum(axis**2 for axis in axes)
    logits = rng.normal(size=(classes, *shape))
    logits[1] += ball
    probs = np.exp(logits) / np.exp(logits).sum(0)
    label = (logits + rng.normal(size=logits.shape)).argmax(0)
    image = rng.normal(100, 20, shape)
    save(folder / f"maps/{name}.nii.gz", np.moveaxis(probs, 0, -1).astype(np.float32), affine)
    save(folder / f"labels/{name}.nii.gz", label.astype(np.uint8), affine)
    save(folder / f"images/{name}.nii.gz", image.astype(np.float32), affine)


def layer(text):
    """A layer of the page, as any tool reads it."""
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


def voxels_at(file, places):
    """The voxels of a file that are at places in mm, a row each."""
    stored = nibabel.load(file)
    found = nibabel.affines.apply_affine(np.linalg.inv(stored.affine), places)
    assert np.abs(found - found.round()).max() < 1e-3
    return np.asarray(stored.dataobj)[tuple(found.round().astype(int).T)]


def places_of(shown):
    """The places of all voxels of a layer, in mm."""
    voxels = np.indices(shown.shape).reshape(3, -1).T
    return nibabel.affines.apply_affine(shown.affine, voxels)


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    """A study of all 48 orientations, and what its page would show."""
    folder = tmp_path_factory.mktemp("turned")
    for codes in CODES:
        write_case(folder, codes, codes)
    options = options_of(Use.AUDIT, {"images": folder / "images"})
    study = find(folder / "maps", folder / "labels", options)
    return folder, list(viewed_cases(study, CODES))


def test_every_voxel_is_that_of_the_file_at_its_place_in_all_orientations(turned):
    """Of the probability within half a step of uint8, of label and prediction to the bit."""
    folder, cases = turned
    for case in cases:
        file = f"{case['name']}.nii.gz"
        for k, structure in enumerate(case["structures"], 1):
            shown = layer(structure["probability"])
            places = places_of(shown)
            probs = voxels_at(folder / "maps" / file, places)
            label = voxels_at(folder / "labels" / file, places)
            masks = {
                mask["name"]: np.asarray(layer(mask["voxels"]).dataobj)
                for mask in structure["masks"]
            }

            np.testing.assert_allclose(
                # Half a step of a byte.
                shown.get_fdata().ravel(),
                probs[:, k],
                atol=0.5 / 255 + 1e-6,
            )
            same_values(masks["label"].ravel(), label == k)
            same_values(masks["prediction"].ravel(), probs.argmax(1) == k)
            assert nibabel.aff2axcodes(shown.affine) == ("R", "A", "S")
            np.testing.assert_allclose(case["affine"], shown.affine, atol=1e-5)
        confidence = layer(case["confidence"]).get_fdata().ravel()
        # Half a step of a byte.
        np.testing.assert_allclose(confidence, probs.max(1), atol=0.5 / 255 + 1e-6)


def test_image_is_within_half_a_step_between_its_percentiles(turned):
    """Beyond them it is cut off, as a display would."""
    folder, cases = turned
    for case in cases[::7]:
        shown = layer(case["image"])
        stored = voxels_at(folder / f"images/{case['name']}.nii.gz", places_of(shown))
        whole = np.asarray(nibabel.load(folder / f"images/{case['name']}.nii.gz").dataobj)
        low, high = np.percentile(whole, (0.5, 99.5))

        np.testing.assert_allclose(
            # Half a step of a byte.
            shown.get_fdata().ravel(),
            stored.clip(low, high),
            atol=(high - low) / 510 + 1e-3,
        )


def test_window_of_an_image_is_that_of_what_is_shown(tmp_path):
    """Metal outside the crop darkens nothing; lines are told apart without color."""
    probs = np.zeros((90, 10, 4, 2), np.float32)
    probs[..., 0] = 1
    probs[10, 5, 2] = (0.2, 0.8)
    image = np.random.default_rng(0).uniform(0, 100, probs.shape[:3]).astype(np.float32)
    image[60:] = 1e5
    voxels = {"maps": probs, "labels": (probs[..., 1] > 0).astype(np.uint8), "images": image}
    for kind, stored in voxels.items():
        save(tmp_path / f"{kind}/case.nii.gz", stored, np.eye(4))
    options = options_of(Use.AUDIT, {"images": tmp_path / "images"})

    (case,) = viewed_cases(find(tmp_path / "maps", tmp_path / "labels", options), ["case"])

    assert layer(case["image"]).get_fdata().max() <= 100
    dashes = [tuple(mask["line"]["dashes"]) for mask in case["structures"][0]["masks"]]
    assert len({*dashes}) == len(dashes) == 2


def test_crop_keeps_what_is_likely_and_what_is_around_it(tmp_path):
    """Some mm, and no more; a case in which nothing is likely is whole."""
    probs = np.zeros((90, 80, 4, 2), np.float32)
    probs[..., 0] = 1
    probs[50, 40, 2] = (0.9, 0.1)  # likely, not predicted
    label = np.zeros(probs.shape[:3], np.uint8)
    label[60, 42, 1] = 1
    save(tmp_path / "maps/some.nii.gz", probs, np.diag([2, 2, 3, 1]))
    save(tmp_path / "labels/some.nii.gz", label, np.diag([2, 2, 3, 1]))
    probs[50, 40, 2] = (1, 0)
    save(tmp_path / "maps/none.nii.gz", probs, np.diag([2, 2, 3, 1]))
    save(tmp_path / "labels/none.nii.gz", 0 * label, np.diag([2, 2, 3, 1]))
    study = find(tmp_path / "maps", tmp_path / "labels", options_of(Use.AUDIT, {}))

    some, none = viewed_cases(study, ["some", "none"])

    around = int(AROUND / 2)
    assert some["shape"] == [11 + 2 * around, 3 + 2 * around, 4]
    assert np.allclose(np.array(some["affine"])[:3, 3], (2 * (50 - around), 2 * (40 - around), 0))
    assert none["shape"] == [90, 80, 4]


def test_policy_lets_nothing_run_but_the_two_scripts_and_nothing_leave():
    """By their hashes; without cases the library is not even there."""
    for cases in ([], [{"name": "</script><b>", "reason": ""}]):
        parts = scripts(cases)
        texts = [parts["script"], *([parts["viewer"]["library"]] if cases else [])]
        digests = [
            base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts
        ]

        policy = dict(part.strip().split(" ", 1) for part in parts["policy"].split(";"))
        assert policy["script-src"] == " ".join(f"'sha256-{digest}'" for digest in digests)
        assert policy["default-src"] == "'none'"
        assert policy["connect-src"] == "data:"
    assert "<" not in parts["viewer"]["data"]
    assert json.loads(parts["viewer"]["data"]) == cases


def test_another_library_is_refused(monkeypatch):
    """Its checksum is beside it, and it is small enough to be in every page."""
    text = viewer.niivue()
    assert len(text) < 2_500_000
    monkeypatch.setattr(viewer, "_text", lambda _: '{"version": "1", "sha256": "0"}')
    viewer.niivue.cache_clear()
    with pytest.raises(InputError, match=r"niivue: is not NiiVue 1; install the package again"):
        viewer.niivue()
    viewer.niivue.cache_clear()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Four cases."""
    folder = tmp_path_factory.mktemp("study")
    for k, codes in enumerate(("RAS", "LPS", "SAR", "PIR")):
        write_case(folder, f"case_{k}", codes, seed=k)
    return folder


def cases_of(page):
    """What a page shows; none where it has no cases."""
    found = re.search(r'id="cases-data">(.*?)</script>', page.read_text(encoding="utf-8"))
    return [] if found is None else json.loads(found[1])


def audited(study, output, *args):
    assert (
        main(["audit", f"{study / 'maps'}", f"{study / 'labels'}", *args, "--output", f"{output}"])
        == 0
    )
    return output / "page.html"


def test_page_of_an_audit_has_its_worst_cases_first(study, tmp_path):
    """With what is known of them, and images where a folder has some; six at most."""
    page = audited(study, tmp_path / "audit", "--images", f"{study / 'images'}")
    cases, text = cases_of(page), page.read_text(encoding="utf-8")

    worst = text[text.index("Cases to look at") : text.index("Labels to look at")]
    listed = re.findall(r">(case_\d)</th>", worst)
    assert [case["name"] for case in cases] == listed
    assert all(case["image"] and case["reason"].startswith("ECE 0.") for case in cases)
    doubtful, structure = re.search(
        r">(case_\d)</th><td>(\w+)</td>", text[text.index("Labels to look at") :]
    ).groups()
    (reason,) = (case["reason"] for case in cases if case["name"] == doubtful)
    assert reason.endswith(f" · look at the label of {structure}")
    assert "This page holds images of patients." in text


def test_images_without_cases_are_refused(study, tmp_path, capsys):
    """They would have no effect."""
    args = [f"{study / 'maps'}", f"{study / 'labels'}", "--images", f"{study / 'images'}"]
    assert main(["audit", *args, "--no-viewer", "--output", f"{tmp_path / 'audit'}"]) == 2
    assert "--images: are for the cases of the page" in capsys.readouterr().err


@pytest.mark.parametrize("args", [["--no-viewer"], ["--no-pictures"], ["--shard", "1/2"]])
def test_page_without_cases_has_neither_images_nor_library(args, study, tmp_path):
    """A part of the patients is merged, and so shows none, either."""
    page = audited(study, tmp_path / "audit", *args)

    assert not cases_of(page)
    assert page.stat().st_size < 1_500_000
    assert "images of patients" not in page.read_text(encoding="utf-8")


def test_merged_audit_has_no_cases(study, tmp_path):
    """It is made of sums."""
    audited(study, tmp_path / "audit")
    assert main(["merge", f"{tmp_path / 'audit'}", "--output", f"{tmp_path / 'merge'}"]) == 0
    assert not cases_of(tmp_path / "merge/page.html")


def test_missing_image_is_refused_before_anything_is_written(study, tmp_path, capsys):
    """In one line."""
    (tmp_path / "images").mkdir()
    args = [f"{study / 'maps'}", f"{study / 'labels'}", "--images", f"{tmp_path / 'images'}"]
    assert main(["audit", *args, "--output", f"{tmp_path / 'audit'}"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "images: holds no image 'case_0'; add it" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "audit").exists()


def viewed(study, output, *args):
    return main(["view", f"{study / 'maps'}", *args, "--output", f"{output}"])


def test_view_shows_predictions_without_labels(study, tmp_path):
    """Those that are asked for, in that order; by default the first by name."""
    page = tmp_path / "view/page.html"
    assert viewed(study, tmp_path / "view") == 0
    assert [case["name"] for case in cases_of(page)] == [f"case_{k}" for k in range(4)]
    for structure in cases_of(page)[0]["structures"]:
        assert [mask["name"] for mask in structure["masks"]] == ["prediction"]

    args = ["--cases", "case_3", "case_1", "--images", f"{study / 'images'}"]
    assert viewed(study, tmp_path / "view", *args) == 0
    assert [case["name"] for case in cases_of(page)] == ["case_3", "case_1"]
    assert all(case["image"] for case in cases_of(page))
    assert "2 of 4 cases" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("cases", "error"),
    [
        (["case_9"], "--cases: 'case_9' is not in"),
        (["case_0"] * 13, "--cases: are 13; give at most 12"),
    ],
)
def test_cases_that_cannot_be_shown_are_refused(cases, error, study, tmp_path, capsys):
    """Before anything is written."""
    assert viewed(study, tmp_path / "view", "--cases", *cases) == 2
    assert error in capsys.readouterr().err
    assert not (tmp_path / "view").exists()


def masks_of(structure):
    return {mask["name"]: np.asarray(layer(mask["voxels"]).dataobj) for mask in structure["masks"]}


def test_arrays_are_shown_along_their_axes(tmp_path):
    """To the right, forward and up, at their spacing, as `Audit.page` writes them."""
    rng = np.random.default_rng(0)
    probs = rng.dirichlet([1, 1, 1], (2, 6, 5, 4)).transpose(0, 4, 1, 2, 3).astype(np.float32)
    labels = rng.integers(0, 3, (2, 6, 5, 4))
    found = audit(probs, labels, spacing=(1, 2, 3), cases=["a", "b"], channels_as_given=True)
    cases = {case["name"]: case for case in cases_of(found.page(tmp_path / "page.html"))}
    for k, name in enumerate(("a", "b")):
        (first, second) = cases[name]["structures"]
        assert cases[name]["shape"] == [6, 5, 4]
        assert np.array(cases[name]["affine"]).tolist() == np.diag([1.0, 2, 3, 1]).tolist()
        shown = layer(second["probability"]).get_fdata()
        np.testing.assert_allclose(shown, probs[k, 2], atol=0.51 / 255)  # half a step of a byte
        same_values(masks_of(first)["label"], labels[k] == 1)
    assert not cases_of(found.page(tmp_path / "none.html", viewer=False))


def test_structures_that_overlap_and_raters_have_masks_of_their_own(tmp_path):
    """Of a picture with two axes, as logits; each rater has an outline."""
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(2, 8, 6)).astype(np.float32)
    raters = {name: rng.integers(0, 2, (2, 8, 6)) for name in ("Ann", "Bob")}
    options = {"structures": ["cup", "disc"], "from_logits": True, "channels_as_given": True}
    (case,) = cases_of(audit(logits, raters, **options).page(tmp_path / "page.html"))
    assert case["shape"] == [8, 6, 1]
    for k, structure in enumerate(case["structures"]):
        masks = masks_of(structure)
        assert list(masks) == ["label of Ann", "label of Bob", "prediction"]
        assert len({mask["line"]["color"] for mask in structure["masks"]}) == 3
        same_values(masks["label of Bob"][..., 0], raters["Bob"][k])
        same_values(masks["prediction"][..., 0], logits[k] > 0)
        shown = layer(structure["probability"]).get_fdata()[..., 0]
        # Half a step of a byte.
        np.testing.assert_allclose(shown, 1 / (1 + np.exp(-logits[k])), atol=0.51 / 255)


def test_sums_alone_have_no_case(tmp_path):
    """As what was saved."""
    found = audit(np.full((2, 4, 4), 0.5, np.float32), np.zeros((4, 4), int))
    found.save(tmp_path / "bins.npz")
    assert not cases_of(read_audit(tmp_path / "bins.npz").page(tmp_path / "page.html"))


@pytest.mark.parametrize("within", [0, 2])
def test_cases_that_are_too_large_are_beside_the_page(within, study, tmp_path, monkeypatch):
    """Each on a page of its own, to which the page leads in plain sight, even if it has no case."""
    whole = cases_of(audited(study, tmp_path / "audit"))
    room = sum(len(json.dumps(case)) for case in whole[:within])
    monkeypatch.setattr(viewer, "LIMIT", room)
    page = audited(study, tmp_path / "audit")
    text = page.read_text(encoding="utf-8")

    assert cases_of(page) == whole[:within]
    assert {file.name for file in page.parent.glob("page_*.html")} == {
        f"page_{case['name']}.html" for case in whole[within:]
    }
    head = text.partition('<section id="viewer"')[0]
    for case in whole[within:]:
        name = f"page_{case['name']}.html"
        assert cases_of(page.with_name(name)) == [case]
        assert f'<a href="{name}">{case["name"]}</a>' in head


def test_link_to_a_case_beside_the_page_is_a_path(tmp_path, monkeypatch):
    """A # in a name is no anchor."""
    monkeypatch.setattr(viewer, "LIMIT", 0)
    found = viewer.scripts([{"name": "a#b ?", "reason": ""}], tmp_path / "page.html")
    assert found["viewer"]["beside"] == {"a#b ?": "page_a%23b%20%3F.html"}
    assert (tmp_path / "page_a#b ?.html").is_file()


def reading_of(probs, classes, affine, channels):
    """Probabilities (C, x, y, z) and classes (x, y, z), as if they were read."""
    place = Path("case")
    predicted = Probabilities(probs.transpose(0, 3, 2, 1).astype(np.float32), affine, place, place)
    labels = [Labels(torch.from_numpy(classes.T.copy()), None)]
    case = Case("case", Prediction("case", {}))
    return Reading(case, predicted, labels, Channels("softmax", channels), 0.0)


def page_of_one(reading, image, file, several=1):
    """The page of so many cases, with what a promise shows of each."""
    probs = reading.probs[1].numpy()
    contours = {"outer contour": probs > 0.05, "inner contour": probs > 0.9}
    seen = {name: Layers(contours, probs > 0.001) for name in list(reading.channels.structures)[:1]}
    layers = {**viewed_layers(reading, image, seen), "reason": "it is large"}
    text = page_template(file="view.html.j2").render(
        name="page", count="", command="", **scripts([layers] * several, file)
    )
    return write_text(file, text)


def test_six_hippocampi_make_a_page_below_6_mb(tmp_path):
    """With two structures each, on their images; of the demo's."""
    rng = np.random.default_rng(0)
    data = shipped("demo/Task04_Hippocampus")
    label = nibabel.load(data / "labelsTr/hippocampus_067.nii.gz")
    image = np.asarray(nibabel.load(data / "imagesTr/hippocampus_067.nii.gz").dataobj)
    classes = np.asarray(label.dataobj).astype(int)
    logits = [gaussian_filter(10.0 * (classes == k), 1) for k in range(3)]
    probs = softmax(logits + gaussian_filter(rng.normal(size=(3, *classes.shape)), (0, 2, 2, 2)), 0)
    reading = reading_of(probs, classes, label.affine, {"none": (0,), "front": (1,), "back": (2,)})
    page = page_of_one(reading, image.T.astype(np.float32), tmp_path / "page.html", several=6)

    assert len(cases_of(page)) == 6
    assert page.stat().st_size < 6e6


@pytest.mark.slow
def test_liver_of_a_ct_makes_a_page_below_25_mb(tmp_path):
    """What is cropped of 512 × 512 × 300 voxels, 0.8 × 0.8 × 1.5 mm, with noise; two are too many."""
    rng, radii, spacing = np.random.default_rng(0), (75.0, 80, 80), np.array([0.8, 0.8, 1.5])
    axes = [
        np.arange(-radius - AROUND, radius + AROUND, size, np.float32) / radius
        for radius, size in zip(radii, spacing, strict=True)
    ]
    place = np.meshgrid(*axes, indexing="ij", sparse=True)
    depth = 1 - np.sqrt(sum(axis**2 for axis in place))
    noise = (gaussian_filter(rng.normal(size=depth.shape).astype(np.float32), s) for s in (0.6, 3))
    fine, rough = (volume / volume.std() for volume in noise)
    inside = 1 / (1 + np.exp(-60 * (depth + 0.04 * rough)))
    probs, image = np.stack([1 - inside, inside]), 50 + 60 * (depth > 0) + 12 * fine
    affine = np.diag([*spacing, 1])
    reading = reading_of(probs, (depth > 0).astype(int), affine, {"none": (0,), "liver": (1,)})

    assert page_of_one(reading, image.T, tmp_path / "page.html").stat().st_size < 25e6
    several = page_of_one(reading, image.T, tmp_path / "several.html", several=3)
    assert 0 < len(cases_of(several)) < 3
    assert several.stat().st_size < 25e6
