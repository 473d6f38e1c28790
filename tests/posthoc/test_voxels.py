"""A fit sees the voxels of its region; patients weigh the same; a structure is two classes."""

from pathlib import Path

import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.metrics import REGIONS, region_mask
from nacl_monai.metrics.voxels import without_ignored
from nacl_monai.posthoc import NoRoomError, RegionLogits, StructureLogits
from tests.same import same_bits, same_values


def volume(seed, shape=(6, 5, 4), classes=3):
    """Logits and labels of one volume."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (1, *shape), generator=generator)
    return torch.randn(classes, *shape, generator=generator), labels


def add(logits, labels, patient):
    """Adds one volume to the region of all voxels."""
    with RegionLogits("all") as voxels:
        voxels.add(logits, labels, patient)


@pytest.mark.parametrize("error", [OSError(28, "No space left"), RuntimeError("iostream error")])
def test_full_disk_is_one_line(error, monkeypatch):
    """Torch raises what its own writer makes of it."""

    def refuse(*_):
        raise error

    monkeypatch.setattr(torch, "save", refuse)

    with pytest.raises(NoRoomError, match="cannot be written.*choose another folder"):
        add(*volume(0), "one")


def some_voxels(shape):
    """About half of the voxels."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.5


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("region", REGIONS)
def test_exactly_the_voxels_of_the_region_are_kept(region, masked):
    """Those of the metrics' region, in the volume's own order, but for those that do not count."""
    logits, labels = volume(0)
    mask = region_mask(region, labels, logits.argmax(0)[None], width=1.0)[0]
    counted = some_voxels(mask.shape) if masked else None
    chosen = mask & counted if masked else mask
    with RegionLogits(region, width=1.0) as voxels:
        voxels.add(logits, labels, "p", counted)
        (kept,) = voxels

    same_bits(kept.logits, logits[:, chosen].T, "they are copied")
    same_values(kept.labels, labels[0][chosen])


def test_patients_weigh_the_same_whatever_their_volumes():
    """Two volumes of one patient weigh as much as one of another; without the region nobody counts."""
    with RegionLogits("foreground") as voxels:
        for seed, patient, shape in [(0, "a", (6, 5, 4)), (1, "a", (3, 3, 3)), (2, "b", (9, 9, 9))]:
            voxels.add(*volume(seed, shape), patient)
        logits, labels = volume(3)
        voxels.add(logits, torch.zeros_like(labels), "empty")
        weights = [kept.weight * len(kept.labels) for kept in voxels]

    assert [weights[0] + weights[1], *weights[2:]] == pytest.approx([1, 1])
    assert voxels.patients == ["a", "b"]


@pytest.mark.parametrize(
    ("value", "shift", "message"),
    [
        (float("nan"), 0, "logits of p7: hold NaN or infinity; "),
        (float("inf"), 0, "logits of p7: hold NaN or infinity; "),
        (1.0, 1, "labels: hold 3"),
    ],
)
def test_what_no_fit_can_use_is_refused(value, shift, message):
    """A number that is none would make it meaningless; other labels are of another network."""
    logits, labels = volume(0)
    logits[1, 2, 3, 1] = value

    with pytest.raises(InputError, match=message):
        add(logits, labels + shift, "p7")


def test_unknown_region_is_refused():
    """Before any volume is read."""
    with pytest.raises(InputError, match="region: 'edge' is unknown"):
        RegionLogits("edge")


def test_disk_is_given_back():
    """The temporary folder goes after the fit."""
    with RegionLogits("all") as voxels:
        voxels.add(*volume(0), "p")
        folder = Path(voxels._folder.name)
        assert list(folder.iterdir())

    assert not folder.exists()


def test_without_some_patients_the_others_stay_as_they_were():
    """All their volumes, in their order, with their weights; the whole is not changed."""
    with RegionLogits("foreground") as voxels:
        for seed, patient in enumerate("abac"):
            voxels.add(*volume(seed, (4 + seed, 4, 4)), patient)
        whole = list(voxels)
        remaining = list(voxels.without(["a", "nobody"]))

        assert voxels.without(["a"]).patients == ["b", "c"]
        assert voxels.patients == ["a", "b", "c"]
        assert len(list(voxels)) == 4
    for kept, expected in zip(remaining, [whole[1], whole[3]], strict=True):
        same_bits(kept.logits, expected.logits, "they are copied")
        assert kept.weight == expected.weight


@pytest.mark.parametrize("region", REGIONS)
def test_voxels_to_be_ignored_are_no_part_of_a_fit(region):
    """Nor is there a boundary where labels merely end."""
    logits, labels = volume(4)
    hidden = torch.rand(labels.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    filled, counted = without_ignored(labels.masked_fill(hidden, 9), 9)
    with RegionLogits(region, width=1.0) as masked, RegionLogits(region, width=1.0) as ignoring:
        masked.add(logits, filled, "p", mask=counted[0])
        ignoring.add(logits, labels.masked_fill(hidden, 9), "p", ignore_index=9)
        (expected,), (found,) = masked, ignoring

    assert 0 < len(found.labels) <= (~hidden).sum()
    same_bits(found.logits, expected.logits, "they are copied")
    same_values(found.labels, expected.labels)


NAMES = ("WT", "TC", "ET")


def masked_volume(seed, shape=(6, 5, 4)):
    """Logits and masks of one volume; two structures overlap."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(3, *shape, generator=generator) < 0.4
    return torch.randn(3, *shape, generator=generator), masks


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("region", REGIONS)
def test_region_is_that_of_each_structure(region, masked):
    """Labeled by its mask and predicted where its logit is above 0, as the metrics have it."""
    logits, masks = masked_volume(0)
    counted = some_voxels(masks.shape[1:]) if masked else None
    with StructureLogits(NAMES, region, width=1.0) as structures:
        structures.add(logits, masks, "p", counted)
        kept = list(structures)

    for channel, voxels in enumerate(kept):
        inside, mask = logits[channel], masks[channel]
        chosen = region_mask(region, mask[None].long(), (inside > 0)[None].long(), width=1.0)[0]
        chosen = chosen & counted if masked else chosen
        same_bits(voxels.logits[:, 1], inside[chosen], "they are copied")
        assert (voxels.logits[:, 0] == 0).all()
        same_values(voxels.labels, mask[chosen].long())
    assert len(kept) == 3


def test_each_structure_of_each_patient_weighs_the_same():
    """However many volumes and voxels there are of it; an absent one does not count."""
    with StructureLogits(NAMES, "foreground") as structures:
        for seed, patient, shape in [(0, "a", (6, 5, 4)), (1, "a", (3, 3, 3)), (2, "b", (9, 9, 9))]:
            logits, masks = masked_volume(seed, shape)
            if patient == "b":
                masks[2] = False
            structures.add(logits, masks, patient)
        weights = [[v.weight * len(v.labels) for v in problem] for problem in structures.problems]

    assert [sum(of_structure) for of_structure in weights] == pytest.approx([2, 2, 1])
    assert structures.problems[2].patients == ["a"]


def test_patients_can_be_left_out():
    """The others weigh as if these had never been added; the whole stays as it was."""
    with StructureLogits(NAMES) as structures, StructureLogits(NAMES) as rest:
        for seed, patient in enumerate("aab"):
            structures.add(*masked_volume(seed), patient)
        rest.add(*masked_volume(2), "b")
        left = list(structures.without(["a"]))

        assert len(list(structures)) == 9
        for found, expected in zip(left, rest, strict=True):
            same_bits(found.logits, expected.logits, "they are copied")
            assert found.weight == expected.weight


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float32, torch.int64])
def test_masks_of_any_dtype_are_the_same(dtype):
    """And logits in half precision are kept in single."""
    logits, masks = masked_volume(0)
    with StructureLogits(NAMES) as structures:
        structures.add(logits.half(), masks.to(dtype), "p")
        first = next(iter(structures))

    assert first.logits.dtype == torch.float32
    same_values(first.labels, masks[0].flatten().long())


def one_hot(logits):
    """Labels of a softmax, which a sigmoid's calibrator does not calibrate."""
    return torch.nn.functional.one_hot(logits.argmax(0), len(logits)).movedim(-1, 0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda logits, masks: (logits[:2], masks[:2]), r"with 3 structures \(WT, TC, ET\)"),
        (lambda logits, masks: (logits, masks[:1]), "pass .structures, .spatial. for both"),
        (lambda logits, masks: (logits, masks.long() * 2), "one mask of 0 and 1 per structure"),
        (lambda logits, masks: (logits / 0, masks), "logits of p7: hold NaN or infinity"),
        (lambda logits, _: (logits, one_hot(logits)), "masks of p7: are one-hot, so that"),
    ],
)
def test_other_input_is_one_line(spoil, message):
    """And nothing of the volume is kept."""
    with StructureLogits(NAMES) as structures:
        with pytest.raises(InputError, match=message) as caught:
            structures.add(*spoil(*masked_volume(0)), "p7")
        assert "\n" not in str(caught.value)
        assert list(structures) == []


def test_overlapping_masks_are_refused_there():
    """A softmax is fitted to class indices."""
    with RegionLogits() as voxels, pytest.raises(InputError, match="class indices instead of one-"):
        voxels.add(*masked_volume(0), "p")


@pytest.mark.parametrize("structures", [(), "WT"])
def test_structures_are_a_list_of_names(structures):
    """Neither none of them nor the letters of a name."""
    with pytest.raises(InputError, match="structures: are .*; give a list of names"):
        StructureLogits(structures)
