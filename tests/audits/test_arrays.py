"""Audits in Python: whatever form the voxels have, the numbers are those of the metric."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import torch

from nacl_monai import Audit, audit, read_audit
from nacl_monai.errors import InputError
from tests.predictions.conftest import CLASSES, REGIONS, SHAPE, SPACING
from tests.same import same_bits


@pytest.fixture
def arrays(study):
    """Probabilities and labels, a list of cases each."""
    return [list(part) for part in zip(*study.cases.values(), strict=True)]


@pytest.fixture
def masks(regions):
    """Probabilities and masks of structures that overlap, a list of cases each."""
    probs, labels = zip(*regions.cases.values(), strict=True)
    return list(probs), [np.stack([label > 0, label == 2]) for label in labels]


def as_tensor(cases):
    return torch.from_numpy(np.stack(cases))


@pytest.mark.parametrize(
    ("form", "form_of_labels"),
    [*((form, form) for form in (list, np.stack, as_tensor)), (np.stack, list), (list, np.stack)],
)
def test_every_form_gives_the_numbers_of_the_metric(form, form_of_labels, arrays, study):
    """Lists, batches, tensors, a list of one and an array of the other."""
    probs, labels = arrays
    expected = study.metric().case_errors()["ece"]
    found = audit(form(probs), form_of_labels(labels))
    for k, region in enumerate(("foreground", "union", "boundary", "all")):
        errors = found.errors[f"ece_{region}"]
        np.testing.assert_allclose(errors, expected[:, k], atol=1e-12, rtol=0)
        per_case = found.ece(region, per_case=True)
        assert per_case == pytest.approx(expected[:, k].mean().item(), abs=1e-12)


def test_error_is_the_number_that_the_table_calls_so(arrays):
    """The mean over patients where the label decides the region, and else that of all cases."""
    found = audit(*arrays, patients=["x", "y", "x"])

    for name, error in {"ECE": "ece", "Confidence − accuracy": "confidence_gap"}.items():
        for region in ("foreground", "union", "all", "near"):
            row = f"{name}, {region}" if region != "near" else f"{name} near the prediction"
            assert found.error(error, region) == found.table.loc[row, "mean"]
    by_case = found.errors["ece_union"]
    assert found.ece("union") == pytest.approx(by_case.groupby(["x", "y", "x"]).mean().mean())
    assert found.ece("union", per_case=True) == pytest.approx(by_case.mean())


def test_error_of_the_truth_is_none_near_the_prediction():
    """Labels that are drawn by the probabilities; the mean over cases has the bias of noise."""
    rng = np.random.default_rng(0)
    inside = rng.uniform(0.3, 0.95, (60, 8, 8))
    labels = (rng.uniform(size=inside.shape) < inside).astype(int)
    found = audit(np.stack([1 - inside, inside], 1), labels)

    assert found.ece("near") < 0.01 < 0.05 < found.ece("near", per_case=True)
    assert found.ece("near", per_case=True) == found.errors["ece_near"].mean()


def test_folders_give_the_same_object(study, arrays):
    """From nnU-Net's files, with the names of cases and classes."""
    found = audit(study.nnunet(), str(study.labels), patient_pattern=r"(patient\d)_")

    assert isinstance(found, Audit)
    assert found.ece(per_case=True) == pytest.approx(audit(*arrays).ece(), abs=1e-12)
    assert found.run.bins.classes == ["top-1", "background", "anterior", "posterior"]
    assert found.run.patients.tolist() == ["patient0", "patient0", "patient1"]


def test_fault_of_a_folder_is_raised(study):
    """No case is left out in silence."""
    place = study.nnunet()
    (study.labels / "patient0_scan0.nii.gz").unlink()

    with pytest.raises(InputError, match="has no label map"):
        audit(place, study.root / "labels")


def test_arrays_have_the_scores_of_folders(study, arrays, regions, masks):
    """Dice and HD95, of each structure and in the table; of one-hot labels and of raters, too."""
    probs, labels = arrays
    one_hot = [np.stack([label == k for k in range(3)]) for label in labels]
    pairs = (
        (audit(probs, labels, classes=list(CLASSES), spacing=SPACING), study),
        (audit(probs, one_hot, classes=list(CLASSES), spacing=SPACING), study),
    )
    overlapping = audit(*masks, structures=list(REGIONS)[1:], spacing=SPACING)
    for found, files in (*pairs, (overlapping, regions)):
        expected = audit(files.nnunet(), files.labels).errors
        names = [name for name in expected if name.startswith(("dice", "hd95"))]
        assert len(names) == 6
        np.testing.assert_allclose(found.errors[names], expected[names], rtol=1e-6)
        assert {"DSC", "HD95 in mm"} <= {*found.table.index}
    assert "HD95 in voxels" in audit(probs, labels).table.index  # where nobody knows their size
    of_raters = audit(probs, {"x": labels, "y": labels}).errors
    same_bits(of_raters["dice"], pairs[0][0].errors["dice"], "the same counts")
    counts = np.indices(SHAPE)[0] < 5
    hidden = audit(probs, labels, mask=[counts] * 3).errors["dice"]
    cut = audit([case[:, :5] for case in probs], [label[:5] for label in labels]).errors["dice"]
    same_bits(hidden, cut, "the same counts")


def test_structures_may_overlap(regions, masks):
    """The mean over structures, and each of them."""
    names = ["whole", "posterior"]
    found = audit(*masks, structures=names)

    numbers = regions.metric(structures=names).aggregate()
    assert found.ece("union_whole") == pytest.approx(numbers["ece_union_whole"], abs=1e-12)
    assert found.ece("union") == pytest.approx(numbers["ece_union"], abs=1e-12)
    both = [found.ece(f"all_{name}") for name in names]
    assert found.ece("all", per_case=True) == pytest.approx(np.mean(both), abs=1e-12)
    single = audit(*(part[0] for part in masks), structures=names)
    assert single.errors["ece_all"].iloc[0] == found.errors["ece_all"].iloc[0]
    assert found.plot().axes[0].get_title() == "audit"


def test_mask_and_logits_are_taken(arrays):
    """As the metric takes them."""
    probs, labels = arrays
    mask = np.random.default_rng(0).choice([0.0, 1.0], SHAPE)
    expected = audit([probs[0]], [labels[0]], mask=[mask]).ece("all")

    assert audit(probs[0], labels[0], mask=mask).ece("all") == expected
    logits = audit(np.log(probs[0]), labels[0], mask=mask, from_logits=True)
    assert logits.ece("all") == pytest.approx(expected, abs=1e-6)


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


def test_diagram_is_drawn_of_any_region(arrays):
    """Without a file or folder."""
    texts = audit(*arrays).plot("all", "class_1").axes[0].texts

    assert f"{3 * np.prod(SHAPE):,} voxels" in " ".join(text.get_text() for text in texts)


MASK, SQUARES, LAST = np.ones(SHAPE, bool), np.zeros((2, 2, 3, 3)), np.ones((*SHAPE, 3))
INSIDE, HIDDEN = MASK / 2, np.ma.masked_array(MASK, MASK)
FIRST = np.indices(SHAPE).sum(0) == 0  # of all voxels


@pytest.mark.parametrize(
    ("options", "message"),
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
        ({"labels": {"anna": [MASK] * 3}}, "labels: are of one rater"),
        ({"labels": {"anna": [MASK] * 3, "ben": [MASK[1:]] * 3}}, "those of 'ben' have the shapes"),
        ({"probs": SQUARES, "labels": SQUARES, "structures": "ab"}, "give a list of cases"),
        ({"probs": iter([MASK])}, "probs: is a list_iterator; give a list of cases"),
        ({"labels": iter([MASK])}, "labels: is a list_iterator; give a list of cases"),
        ({"probs": [[0.5, 0.5]]}, "probs: hold list; give arrays of numbers, or tensors"),
        ({"labels": MASK.astype(str)}, "labels: hold ndarray; give arrays of numbers"),
        *(
            ({"mask": [np.where(FIRST, odd, 1)] * 3}, "mask: holds other numbers than 0 and 1")
            for odd in (np.nan, -1.0, 2.0)
        ),
        *(
            ({name: mask}, f"{name}: hides values by a mask of NumPy's own")
            for name in ("probs", "labels", "mask")
            for mask in (HIDDEN, [HIDDEN])
        ),
        (
            {"probs": {"a": MASK}},
            "probs: is a dict; give a list of cases, and their names with cases=",
        ),
        *(
            ({"probs": probs, "labels": labels}, "with the classes last; put them first")
            for probs, labels in ((LAST, MASK), ([LAST], [MASK]))
        ),
        *(
            ({"probs": probs, "labels": labels}, "as of a sigmoid; give structures=")
            for probs, labels in ((INSIDE, MASK), ([INSIDE], [MASK]))
        ),
        *(
            ({"probs": probs, "labels": labels}, "one channel, as of a sigmoid; pass at least 2")
            for probs, labels in ((INSIDE[None], MASK), (INSIDE[None, None], MASK[None]))
        ),
    ],
)
def test_what_arrays_cannot_mean_is_refused(options, message, arrays):
    """One name, label map and mask for each case; what has no effect on arrays."""
    probs, labels = arrays
    with pytest.raises(InputError, match=message):
        audit(**{"probs": probs, "labels": labels, **options})


@pytest.mark.parametrize(
    ("option", "kind"),
    [
        ({"mask": MASK}, "arrays"),
        ({"classes": "abc"}, "arrays"),
        ({"cases": ["a"]}, "arrays"),
        ({"write": "nifti"}, "the command"),
    ],
)
def test_what_has_no_effect_on_folders_is_refused(study, option, kind):
    """An option of arrays; nor has an object a folder to write maps into."""
    with pytest.raises(InputError, match=f"{next(iter(option))}: is an option for {kind} alone"):
        audit(study.nnunet(), study.labels, **option)


def test_unknown_errors_and_regions_are_refused(arrays):
    """With the choice."""
    found = audit(*arrays)

    with pytest.raises(InputError, match="choose from foreground, union, boundary, all"):
        found.ece("organ")
    with pytest.raises(InputError, match="choose from ece, ace"):
        found.error("aece", "union")


def test_object_shows_its_table(arrays, tmp_path):
    """As text, in a notebook, as numbers, as a page, and as the folder of an audit."""
    found = audit(*arrays, patients=["x", "y", "x"], regions=["union"])

    line = next(line for line in repr(found).splitlines() if line.startswith("ECE, union"))
    mean, low, high = found.table.loc["ECE, union"]
    assert mean == pytest.approx(found.errors["ece_union"].groupby(["x", "y", "x"]).mean().mean())
    assert high - low > 0.2  # so that two digits are enough
    assert f"{mean:.2f} [{low:.2f}, {high:.2f}]" in line
    assert "3 cases of 2 patients" in repr(found)
    assert f"<td>{line.split('  ', 1)[1].strip()}</td>" in found._repr_html_()
    page = found.page(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "case_001" in page


@pytest.mark.usefixtures("undrawn")
def test_object_is_saved_as_a_folder(arrays, tmp_path):
    """From which it is read again; a folder of somebody else's stays."""
    found = audit(*arrays)
    folder = found.save(tmp_path / "saved")

    read = read_audit(folder).errors
    same_bits(read, found.errors[[*read]], "they are read back")
    written = pd.read_csv(folder / "cases.csv", index_col="case")
    for name in ("dice", "dice_class_1", "hd95_class_2"):
        np.testing.assert_allclose(written[name], found.errors[name], atol=1e-6)
    (tmp_path / "own").mkdir()
    (tmp_path / "own/notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds notes.txt, which `nacl-monai audit` did not write"):
        found.save(tmp_path / "own")


ORDERS = list(permutations(range(3)))[1:]


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_channels_in_another_order_are_refused(arrays, order):
    """Of folders as well, tests/predictions/test_contract.py; unless they are to be taken as given."""
    probs, labels = arrays
    turned = [case[list(order)] for case in probs]
    names = ["background", "a", "b"]
    better = ", ".join(names[k] for k in order)
    one_hot = [np.stack([label == k for k in range(3)]) for label in labels]
    message = f"^probs: .* with the labels as {better} .*_given=True"
    for form in (labels, [label[None] for label in labels], one_hot, {"x": labels, "y": labels}):
        with pytest.raises(InputError, match=message):
            audit(turned, form, classes=names)

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
def test_structures_in_another_order_are_refused(masks, from_logits):
    """A part and its whole."""
    probs, labels = masks
    outputs = [torch.from_numpy(case[::-1].copy()) for case in probs]
    outputs = [case.logit(1e-6) if from_logits else case for case in outputs]
    options = {"structures": ["whole", "part"], "from_logits": from_logits}

    with pytest.raises(InputError, match="with the labels as part, whole"):
        audit(outputs, labels, **options)
    audit(outputs, labels, **options, channels_as_given=True)
    audit([case.flip(0) for case in outputs], labels, **options)
