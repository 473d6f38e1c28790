"""Each structure that may overlap is kept as a problem of two classes, in its own region."""

import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.metrics import REGIONS, region_mask
from nacl_monai.posthoc import RegionLogits, StructureLogits

NAMES = ("WT", "TC", "ET")


def volume(seed, shape=(6, 5, 4)):
    """Logits and masks of one volume; two structures overlap."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(3, *shape, generator=generator) < 0.4
    return torch.randn(3, *shape, generator=generator), masks


@pytest.mark.parametrize("region", REGIONS)
def test_region_is_that_of_each_structure(region):
    """Labeled by its mask and predicted where its logit is above 0, as the metrics have it."""
    logits, masks = volume(0)
    with StructureLogits(NAMES, region, width=1.0) as structures:
        structures.add(logits, masks, "p")
        kept = list(structures)

    for channel, voxels in enumerate(kept):
        inside, mask = logits[channel], masks[channel]
        chosen = region_mask(region, mask[None].long(), (inside > 0)[None].long(), width=1.0)[0]
        assert torch.equal(voxels.logits[:, 1], inside[chosen])
        assert (voxels.logits[:, 0] == 0).all()
        assert torch.equal(voxels.labels, mask[chosen].long())
    assert len(kept) == 3


def test_each_structure_of_each_patient_weighs_the_same():
    """However many volumes and voxels there are of it; an absent one does not count."""
    with StructureLogits(NAMES, "foreground") as structures:
        for seed, patient, shape in [(0, "a", (6, 5, 4)), (1, "a", (3, 3, 3)), (2, "b", (9, 9, 9))]:
            logits, masks = volume(seed, shape)
            if patient == "b":
                masks[2] = False
            structures.add(logits, masks, patient)
        weights = [[v.weight * len(v.labels) for v in one] for one in structures.problems]

    assert [sum(of_structure) for of_structure in weights] == pytest.approx([2, 2, 1])
    assert structures.problems[2].patients == ["a"]


def test_voxels_that_do_not_count_are_left_out():
    """In every structure."""
    logits, masks = volume(0)
    mask = torch.rand(masks.shape[1:], generator=torch.Generator().manual_seed(1)) < 0.5
    with StructureLogits(NAMES) as structures:
        structures.add(logits, masks, "p", mask)
        kept = list(structures)

    for channel, voxels in enumerate(kept):
        assert torch.equal(voxels.logits[:, 1], logits[channel][mask])
        assert torch.equal(voxels.labels, masks[channel][mask].long())


def test_patients_can_be_left_out():
    """The others weigh as if these had never been added; the whole stays as it was."""
    with StructureLogits(NAMES) as structures, StructureLogits(NAMES) as others:
        for seed, patient in enumerate("aab"):
            structures.add(*volume(seed), patient)
        others.add(*volume(2), "b")
        left = list(structures.without(["a"]))

        assert len(list(structures)) == 9
        for found, expected in zip(left, others, strict=True):
            assert torch.equal(found.logits, expected.logits)
            assert found.weight == expected.weight


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float32, torch.int64])
def test_masks_of_any_dtype_are_the_same(dtype):
    """And logits in half precision are kept in single."""
    logits, masks = volume(0)
    with StructureLogits(NAMES) as structures:
        structures.add(logits.half(), masks.to(dtype), "p")
        first = next(iter(structures))

    assert first.logits.dtype == torch.float32
    assert torch.equal(first.labels, masks[0].flatten().long())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda logits, masks: (logits[:2], masks[:2]), r"with 3 structures \(WT, TC, ET\)"),
        (lambda logits, masks: (logits, masks[:1]), "pass .structures, .spatial. for both"),
        (lambda logits, masks: (logits, masks.long() * 2), "one mask of 0 and 1 per structure"),
        (lambda logits, masks: (logits / 0, masks), "logits of p7: hold NaN or infinity"),
    ],
)
def test_other_input_is_one_line(spoil, said):
    """And nothing of the volume is kept."""
    with StructureLogits(NAMES) as structures:
        with pytest.raises(InputError, match=said) as caught:
            structures.add(*spoil(*volume(0)), "p7")
        assert "\n" not in str(caught.value)
        assert list(structures) == []


def test_exclusive_classes_are_refused_here():
    """One-hot labels are those of a softmax, which a sigmoid's calibrator does not calibrate."""
    labels = torch.randint(3, (6, 5, 4))
    one_hot = torch.nn.functional.one_hot(labels, 3).movedim(-1, 0)
    with StructureLogits(NAMES) as structures, pytest.raises(InputError, match="are one-hot, so"):
        structures.add(torch.randn(3, 6, 5, 4), one_hot, "p")


def test_overlapping_masks_are_refused_there():
    """A softmax is fitted to class indices."""
    with RegionLogits() as voxels, pytest.raises(InputError, match="class indices instead of one-"):
        voxels.add(*volume(0), "p")


@pytest.mark.parametrize("structures", [(), "WT"])
def test_structures_are_a_list_of_names(structures):
    """Neither none of them nor the letters of a name."""
    with pytest.raises(InputError, match="structures: are .*; give a list of names"):
        StructureLogits(structures)
