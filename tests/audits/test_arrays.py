"""Audits in Python: whatever form the voxels have, the numbers are those of the metric."""

import subprocess
import sys
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import torch

from nacl_monai import Audit, audit, read_audit
from nacl_monai.errors import InputError
from tests.audits.conftest import SHAPE, Study, softmax_cases


@pytest.fixture
def arrays(study):
    return [probs for probs, _ in study.cases.values()], [
        label for _, label in study.cases.values()
    ]


def test_every_form_gives_the_numbers_of_the_metric(arrays, study):
    """Lists, batches, tensors, a single case."""
    probs, labels = arrays
    expected = study.metric().case_errors()["ece"]

    for form in (list, np.stack, lambda cases: torch.from_numpy(np.stack(cases))):
        found = audit(form(probs), form(labels))
        for k, region in enumerate(("foreground", "union", "boundary", "all")):
            np.testing.assert_allclose(
                found.errors[f"ece_{region}"], expected[:, k], atol=1e-12, rtol=0
            )
            assert found.ece(region) == pytest.approx(expected[:, k].mean().item(), abs=1e-12)
    single = audit(probs[0], labels[0])
    assert single.ece() == pytest.approx(expected[0, 0].item(), abs=1e-12)


def test_pooled_error_is_that_of_all_voxels(arrays, study):
    """Not the mean over cases."""
    pooled = study.metric().pooled_errors()

    for name in ("ece", "cece", "mce", "ace", "confidence_gap"):
        found = audit(*arrays).error(name, "union", pooled=True)
        assert found == pytest.approx(pooled[name][1].item(), abs=1e-12)


def test_folders_give_the_same_object(study, arrays):
    """From nnU-Net's files, with the names of cases and classes."""
    found = audit(study.nnunet(), str(study.labels), patient_pattern=r"(patient\d)_")

    assert isinstance(found, Audit)
    assert found.ece() == pytest.approx(audit(*arrays).ece(), abs=1e-12)
    assert found.run.bins.classes == ["top-1", "background", "anterior", "posterior"]
    assert found.run.patients.tolist() == ["patient0", "patient0", "patient1"]


def test_fault_of_a_folder_is_raised(study):
    """No case is left out in silence."""
    place = study.nnunet()
    (place / "patient0_scan0.npz").unlink()

    with pytest.raises(InputError, match="has no prediction"):
        audit(place, study.labels)


def test_structures_may_overlap(regions):
    """The mean over structures, and each of them."""
    probs = [probs for probs, _ in regions.cases.values()]
    masks = [np.stack([label > 0, label == 2]) for _, label in regions.cases.values()]
    found = audit(probs, masks, structures=["whole", "posterior"])

    names = ["whole", "posterior"]
    metric = regions.metric(structures=names)
    numbers = metric.aggregate()
    assert found.ece("union_whole") == pytest.approx(numbers["ece_union_whole"], abs=1e-12)
    assert found.ece("union") == pytest.approx(numbers["ece_union"], abs=1e-12)
    both = [found.ece(f"all_{name}", pooled=True) for name in names]
    assert found.ece("all", pooled=True) == pytest.approx(np.mean(both), abs=1e-12)
    single = audit(probs[0], masks[0], structures=names)
    assert single.errors["ece_all"].iloc[0] == found.errors["ece_all"].iloc[0]
    assert found.plot().axes[0].get_title() == "audit"


def test_mask_and_logits_are_taken(arrays):
    """As the metric takes them."""
    probs, labels = arrays
    mask = np.random.default_rng(0).random(SHAPE) < 0.5
    expected = audit([probs[0]], [labels[0]], mask=[mask]).ece("all")

    assert audit(probs[0], labels[0], mask=mask).ece("all") == expected
    logits = audit(np.log(probs[0]), labels[0], mask=mask, from_logits=True)
    assert logits.ece("all") == pytest.approx(expected, abs=1e-6)


def test_list_of_either_is_a_list_of_cases(arrays):
    """The other may be an array of all."""
    probs, labels = arrays
    expected = audit(probs, labels).errors

    for form in ((np.stack(probs), list(labels)), (list(probs), np.stack(labels))):
        pd.testing.assert_frame_equal(audit(*form).errors, expected)


def test_files_may_be_text(study):
    """Paths as whoever types them writes them."""
    folders = [study.channels(), study.labels]
    file = study.root / "channels" / "dataset.json"
    expected = audit(*folders).ece()

    assert audit(*map(str, folders), dataset=str(file)).ece() == expected
    with pytest.raises(InputError, match=r"nothing.json: no such file"):
        audit(*folders, calibrator="nothing.json")


@pytest.mark.parametrize("form", [np.array, pd.Series])
def test_patients_may_be_a_column_of_a_table(form, arrays):
    """As whoever keeps them has them."""
    found = audit(*arrays, patients=form(["x", "y", "x"]))

    assert found.run.patients.tolist() == ["x", "y", "x"]


def test_import_of_the_package_stays_cheap():
    """No library is loaded before an audit is asked for."""
    heavy = ["torch", "monai", "pandas", "matplotlib", "numpy"]
    code = f"import sys, nacl_monai; sys.exit(any(name in sys.modules for name in {heavy}))"

    subprocess.run([sys.executable, "-c", code], check=True)


def test_diagram_is_drawn_of_any_region(tmp_path):
    """Without a file or folder."""
    study = Study(tmp_path, softmax_cases(cases=2))
    found = audit(*zip(*study.cases.values(), strict=True))

    text = " ".join(one.get_text() for one in found.plot("all", "class_1").axes[0].texts)
    assert f"{2 * np.prod(SHAPE):,} voxels" in text


MASK, SQUARES = np.ones(SHAPE, bool), np.zeros((2, 2, 3, 3))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cases": ["one"]}, "1 names for 3 cases"),
        ({"patients": ["one"]}, "names for 3 cases"),
        ({"classes": ["a", "b"]}, "2 names for 3 channels"),
        ({"cases": ["a", "b", "a"]}, "cases: two are called 'a'"),
        *(
            ({"patients": ["x", nobody, "y"]}, "patients: that of case number 2 is missing")
            for nobody in (float("nan"), None, "", " ", pd.NA)
        ),
        *(
            ({name: 2}, f"{name}: is an option for folders alone")
            for name in ("jobs", "patient_pattern", "misspelled")
        ),
        ({"labels": [MASK] * 2}, "labels: 2 for 3 cases; give one for each"),
        ({"labels": np.stack([MASK] * 2)}, "labels: 2 for 3 cases; give one for each"),
        ({"mask": MASK}, "mask: 1 for 3 cases; give one for each"),
        ({"probs": SQUARES, "labels": SQUARES, "structures": "ab"}, "give a list of cases"),
        ({"probs": iter([MASK])}, "probs: is a list_iterator; give a list of cases"),
        ({"labels": iter([MASK])}, "labels: is a list_iterator; give a list of cases"),
        ({"probs": [[0.5, 0.5]]}, "probs: hold list; give arrays of numbers, or tensors"),
        ({"labels": MASK.astype(str)}, "labels: hold ndarray; give arrays of numbers"),
        (
            {"probs": {"a": MASK}},
            "probs: is a dict; give a list of cases, and their names with cases=",
        ),
        ({"probs": np.ones((9, 8, 7, 3)), "labels": MASK}, "with the classes last; put them first"),
        (
            {"probs": [np.ones((9, 8, 7, 3))], "labels": [MASK]},
            "with the classes last; put them first",
        ),
        (
            {"probs": MASK / 2, "labels": MASK},
            "one channel, as of a sigmoid; give structures=",
        ),
        ({"probs": MASK[None] / 2, "labels": MASK}, "one channel, as of a sigmoid"),
        ({"probs": [MASK / 2], "labels": [MASK]}, "one channel, as of a sigmoid"),
        (
            {"probs": MASK[None, None] / 2, "labels": MASK[None]},
            "one channel, as of a sigmoid",
        ),
    ],
)
def test_what_arrays_cannot_mean_is_refused(options, said, arrays):
    """One name, label map and mask for each case; what has no effect on arrays."""
    probs, labels = arrays
    with pytest.raises(InputError, match=said):
        audit(**{"probs": probs, "labels": labels, **options})


@pytest.mark.parametrize(
    ("name", "value"),
    [("mask", MASK), ("classes", "abc"), ("cases", ["a"])],
)
def test_option_of_arrays_is_refused_for_folders(study, name, value):
    """It would have no effect on them; nor has an object a folder to write maps into."""
    with pytest.raises(InputError, match=f"{name}: is an option for arrays alone"):
        audit(study.nnunet(), study.labels, **{name: value})
    with pytest.raises(InputError, match="write: is an option for the command alone"):
        audit(study.nnunet(), study.labels, write="nifti")


@pytest.mark.parametrize(
    ("name", "region", "said"),
    [
        ("ece", "organ", "choose from foreground, union, boundary, all"),
        ("aece", "union", "choose from ece, ace"),
    ],
)
def test_unknown_errors_and_regions_are_refused(name, region, said, arrays):
    """With the choice."""
    with pytest.raises(InputError, match=said):
        audit(*arrays).error(name, region)


def test_object_shows_its_table(arrays, tmp_path):
    """As text, in a notebook, as numbers, as a page, and as the folder of an audit."""
    found = audit(*arrays, patients=["x", "y", "x"], regions=["union"])

    line = next(line for line in repr(found).splitlines() if line.startswith("ECE, union"))
    mean, low, high = found.table.loc["ECE, union"]
    assert mean == pytest.approx(found.errors["ece_union"].groupby(["x", "y", "x"]).mean().mean())
    assert f"{mean:.3f} [{low:.3f}, {high:.3f}]" in line
    assert "3 cases of 2 patients" in repr(found)
    assert f"<td>{line.split('  ', 1)[1].strip()}</td>" in found._repr_html_()
    page = found.page(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "case_001" in page


@pytest.mark.usefixtures("undrawn")
def test_object_is_saved_as_a_folder(arrays, tmp_path):
    """From which it is read again; a folder of somebody else's stays."""
    found = audit(*arrays)
    folder = found.save(tmp_path / "saved")

    pd.testing.assert_frame_equal(read_audit(folder).errors, found.errors, check_exact=True)
    assert (folder / "cases.csv").is_file()
    (tmp_path / "own").mkdir()
    (tmp_path / "own/notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds notes.txt, which `nacl-monai audit` did not write"):
        found.save(tmp_path / "own")


ORDERS = list(permutations(range(3)))[1:]


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_channels_in_another_order_are_refused(arrays, order):
    """Of folders as well, tests/audits/test_contract.py; unless they are to be taken as given."""
    probs, labels = arrays
    turned = [case[list(order)] for case in probs]
    names = ["background", "a", "b"]
    better = ", ".join(names[k] for k in order)
    one_hot = [np.stack([label == k for k in range(3)]) for label in labels]
    for given in (labels, [label[None] for label in labels], one_hot, {"x": labels, "y": labels}):
        with pytest.raises(
            InputError, match=f"^probs: .* with the labels as {better} .*_given=True"
        ):
            audit(turned, given, classes=names)

    audit(turned, labels, classes=names, channels_as_given=True)
    audit(probs, labels, classes=names)


def test_order_is_that_of_the_voxels_that_count(arrays):
    """Where all others are hidden by a mask or a label."""
    probs, labels = (np.stack(part) for part in arrays)
    right = np.indices(labels.shape)[-1] < 1
    turned = np.where(right[:, None], probs, probs[:, [0, 2, 1]])
    with pytest.raises(InputError, match="channels_as_given"):
        audit(turned, labels)

    hidden = audit(turned, labels, mask=right).ece("all")
    ignored = audit(turned, np.where(right, labels, 255), ignore_index=255).ece("all")
    assert hidden == ignored == audit(probs, labels, mask=right).ece("all")


@pytest.mark.parametrize("from_logits", [False, True])
def test_structures_in_another_order_are_refused(regions, from_logits):
    """A part and its whole."""
    probs = [torch.from_numpy(probs[::-1].copy()) for probs, _ in regions.cases.values()]
    masks = [np.stack([label > 0, label == 2]) for _, label in regions.cases.values()]
    given = {"structures": ["whole", "part"], "from_logits": from_logits}
    outputs = [case.logit(1e-6) if from_logits else case for case in probs]

    with pytest.raises(InputError, match="with the labels as part, whole"):
        audit(outputs, masks, **given)
    audit(outputs, masks, **given, channels_as_given=True)
    audit([case.flip(0) for case in outputs], masks, **given)
