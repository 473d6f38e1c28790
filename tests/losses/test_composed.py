"""Named terms: any base with any penalties, losses from elsewhere, several outputs of one network."""

import math

import monai
import monai.losses
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.networks.nets import BasicUNetPlusPlus, DynUNet
from torch import nn

from nacl_monai.errors import InputError
from nacl_monai.losses import (
    ComposedLoss,
    CrossEntropyLoss,
    DeepSupervisionLoss,
    DiceCELoss,
    EntropyPenalty,
    ForeignLoss,
    MarginPenalty,
    NACLLoss,
    NeighborhoodPenalty,
    Penalty,
    SegmentationLoss,
    cross_entropy,
)
from nacl_monai.losses.base import FunctionModule, needs_image


def test_composition_needs_only_a_configuration(batch):
    """Dice, cross-entropy and the NACL penalty need no class, only a configuration."""
    name = "nacl_monai.losses."
    parser = ConfigParser(
        {
            "loss": {
                "_target_": name + "ComposedLoss",
                "base": {"_target_": name + "DiceCELoss"},
                "penalties": [{"_target_": name + "NeighborhoodPenalty", "weight": 0.2}],
            }
        }
    )
    loss = parser.get_parsed_content("loss")
    value = loss(*batch)

    assert list(loss.latest_terms) == ["cross_entropy", "dice", "penalty"]
    torch.testing.assert_close(
        value, DiceCELoss()(*batch) + NeighborhoodPenalty(weight=0.2)(*batch)
    )


def test_each_of_several_penalties_has_its_own_term(batch):
    """Each penalty has its own term, in the order given, and compositions nest."""
    parts = [NeighborhoodPenalty(), EntropyPenalty(), MarginPenalty(margin=0.0)]
    loss = ComposedLoss(NACLLoss(), parts[1:])
    loss(*batch)

    assert list(loss.latest_terms) == ["cross_entropy", "penalty", "penalty_2", "penalty_3"]
    for term, part in zip(list(loss.latest_terms.values())[1:], parts, strict=True):
        assert torch.equal(term, part(*batch))


def test_image_reaches_only_what_takes_it(batch):
    """Beside a penalty that takes the image, the others see the labels alone."""
    logits, labels = batch
    labels = torch.cat([labels, torch.rand_like(logits)], 1)
    bilateral = NeighborhoodPenalty(prior="bilateral")
    loss = ComposedLoss(DiceCELoss(), [EntropyPenalty(), bilateral])
    expected = DiceCELoss()(*batch) + EntropyPenalty()(*batch) + bilateral(logits, labels)

    torch.testing.assert_close(loss(logits, labels), expected)
    torch.testing.assert_close(
        ComposedLoss(loss, [])(logits, labels), expected, msg="nested compositions pass it on"
    )


def test_base_class_of_penalties_is_abstract():
    """The base class of penalties cannot be instantiated."""
    with pytest.raises(TypeError, match="abstract"):
        Penalty(0.1)


FOUR, ONE = torch.full((1, 2, 3), 4.0), torch.ones(1, 3)


class DifferencePenalty(Penalty):
    """A penalty of which everything is known."""

    def value(self, logits, labels):
        return (logits - labels).mean()


def test_weight_is_not_negative():
    """0 switches a penalty off; less, or NaN, is refused."""
    assert DifferencePenalty(0.0)(FOUR, ONE) == 0
    for weight in (-1e-9, math.nan):
        with pytest.raises(InputError) as caught:
            DifferencePenalty(weight)
        assert str(caught.value) == f"weight: is {weight}; pass 0 or more"


def test_penalty_is_its_value_times_its_weight_and_prints_both():
    """As it would be passed."""
    penalty = DifferencePenalty(0.5, margin=2.0, ignore_index=None)

    assert penalty(FOUR, ONE) == 1.5
    assert penalty.settings == {"margin": 2.0, "ignore_index": None}
    assert repr(penalty) == "DifferencePenalty(weight=0.5, margin=2.0, ignore_index=None)"


def test_image_is_needed_if_a_part_needs_it():
    """A composition needs the image if its base or a penalty does; other losses never do."""
    bilateral = NeighborhoodPenalty(prior="bilateral")

    assert not needs_image(torch.nn.Identity())
    assert not needs_image(ComposedLoss(DiceCELoss(), [EntropyPenalty()]))
    assert needs_image(ComposedLoss(DiceCELoss(), [EntropyPenalty(), bilateral]))
    assert needs_image(ComposedLoss(NACLLoss(prior="bilateral"), [EntropyPenalty()]))


class TwoTerms(SegmentationLoss):
    """The mean logit, and twice the mean label."""

    def terms(self, logits, labels):
        return {"logit": logits.mean(), "label": 2 * labels.mean()}


def test_calling_returns_the_sum_and_keeps_detached_terms():
    """The value carries the gradient, the kept terms do not, and a new call replaces them."""
    loss = TwoTerms()
    assert loss.latest_terms == {}
    logits = torch.full((1, 2, 3), 4.0, requires_grad=True)
    value = loss(logits, torch.full((1, 3), 0.5))

    assert value == 5
    assert value.requires_grad
    assert loss.latest_terms == {"logit": 4, "label": 1}
    assert not loss.latest_terms["logit"].requires_grad
    loss(logits, torch.zeros(1, 3))
    assert loss.latest_terms == {"logit": 4, "label": 0}


def test_terms_leave_the_latest_alone():
    """`terms` is pure; only a call of the module keeps them."""
    loss = TwoTerms()
    loss.terms(torch.zeros(1, 2, 3), torch.zeros(1, 3))

    assert loss.latest_terms == {}


def test_base_is_abstract():
    """A loss without terms cannot be made."""
    with pytest.raises(TypeError, match="abstract"):
        SegmentationLoss()


def test_settings_are_kept_and_printed_as_they_would_be_passed():
    """What is printed evaluates to the module again."""
    loss = TwoTerms(gamma=2.0, border="valid", ignore_index=None)

    assert loss.settings == {"gamma": 2.0, "border": "valid", "ignore_index": None}
    assert repr(loss) == "TwoTerms(gamma=2.0, border='valid', ignore_index=None)"
    assert repr(eval(repr(loss))) == repr(loss)
    assert repr(FunctionModule()) == "FunctionModule()"


LOGITS = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
LABELS = (torch.arange(60).view(2, 1, 6, 5) % 3).to(torch.uint8)


class Keep(nn.Module):
    """Keeps what it is given."""

    def forward(self, logits, labels):
        self.given = labels
        return logits.mean()


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("whole", LABELS.long()),
        ("indices", LABELS[:, 0].long()),
        ("one_hot", torch.stack([LABELS[:, 0] == k for k in range(3)], dim=1).float()),
    ],
)
def test_labels_have_the_form_that_is_named(form, expected):
    """Bytes become whole numbers that can be negative: 1 - 2 is -1."""
    keep = Keep()

    ForeignLoss(keep, form)(LOGITS, LABELS)

    assert torch.equal(keep.given, expected)
    assert keep.given.dtype == expected.dtype


def test_value_and_term_are_those_of_the_loss():
    """With torch's cross-entropy as one that is known."""
    loss = ForeignLoss(nn.CrossEntropyLoss(), "indices")

    value = loss(LOGITS, LABELS)

    torch.testing.assert_close(value, cross_entropy(LOGITS, LABELS))
    assert loss.latest_terms == {"loss": value}


def test_label_that_is_no_class_is_left_to_the_loss():
    """Torch's ignores it; one-hot, such a voxel is of no class."""
    labels = LABELS.clone()
    labels[..., :2] = 255
    loss = ForeignLoss(nn.CrossEntropyLoss(ignore_index=255), "indices", ignore_index=255)
    keep = Keep()
    ForeignLoss(keep, "one_hot", ignore_index=255)(LOGITS, labels)

    torch.testing.assert_close(
        loss(LOGITS, labels), cross_entropy(LOGITS[..., 2:], LABELS[..., 2:])
    )
    assert torch.equal(keep.given.sum(1), (labels[:, 0] != 255).float())


def test_weights_of_a_loss_go_where_the_logits_are():
    """A loss is made on the CPU; the meta device takes the place of a GPU."""
    loss = ForeignLoss(nn.CrossEntropyLoss(weight=torch.ones(3)))
    labels = LABELS[:, 0].to("meta")

    assert loss(LOGITS.to("meta"), labels).device.type == "meta"


def test_deep_supervision_weighs_any_loss():
    """Each output has labels of its size."""
    loss = monai.losses.DiceLoss(to_onehot_y=True, softmax=True)
    heads = [LOGITS, LOGITS[..., ::2, ::2]]
    coarse = nn.functional.interpolate(LABELS.float(), size=(3, 3), mode="nearest-exact")

    value = DeepSupervisionLoss(loss)(heads, LABELS)

    expected = (2 * loss(heads[0], LABELS) + loss(heads[1], coarse)) / 3
    torch.testing.assert_close(value, expected)


def test_other_forms_and_what_is_no_module_are_refused():
    """A class in place of a module is the likely slip."""
    with pytest.raises(
        InputError, match="labels: is 'onehot'; pass one of whole, indices, one_hot"
    ):
        ForeignLoss(Keep(), "onehot")
    with pytest.raises(InputError, match="not a torch.nn.Module"):
        DeepSupervisionLoss(Keep)
    with pytest.raises(InputError, match="labels: hold 7"):
        ForeignLoss(Keep(), "indices")(LOGITS, torch.full_like(LABELS, 7))


WEIGHTS = [4 / 7, 2 / 7, 1 / 7]


def test_single_output_gives_the_loss_itself(batch):
    """In evaluation there is one output, and the loss is that of the network without heads."""
    loss = DeepSupervisionLoss(NACLLoss(), weights=[0.7, 0.3])

    logits, labels = batch
    for form in (labels, labels.squeeze(1)):
        assert torch.equal(loss(logits, form), NACLLoss()(logits, form))


def test_equal_outputs_have_the_scale_of_one(batch):
    """Default weights sum to 1, so the scale does not depend on the number of outputs."""
    logits, labels = batch
    for count in (1, 2, 5):
        value = DeepSupervisionLoss(NACLLoss())([logits] * count, labels)
        torch.testing.assert_close(value, NACLLoss()(logits, labels))


@pytest.mark.parametrize("channel", [True, False])
def test_lists_and_stacks_agree(batch, channel):
    """Heads in a list and heads stacked on axis 1 give the same weighted sum and terms."""
    logits, labels = batch
    labels = labels if channel else labels.squeeze(1)
    heads = [logits, 2 * logits, -logits]
    expected = sum(
        weight * DiceCELoss()(head, labels) for weight, head in zip(WEIGHTS, heads, strict=True)
    )
    loss = DeepSupervisionLoss(DiceCELoss())
    for outputs in (heads, tuple(heads), torch.stack(heads, 1)):
        torch.testing.assert_close(loss(outputs, labels), expected)
        assert list(loss.latest_terms) == ["cross_entropy", "dice"]
        torch.testing.assert_close(sum(loss.latest_terms.values()), expected)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
def test_coarse_outputs_see_coarse_labels(dtype):
    """At half the resolution, labels are sampled by nearest neighbor and stay whole numbers."""
    fine = torch.randint(3, (1, 1, 8, 8))
    coarse = fine[..., 1::2, 1::2]
    logits = [torch.randn(1, 3, 8, 8), torch.randn(1, 3, 4, 4)]
    expected = (2 * NACLLoss()(logits[0], fine) + NACLLoss()(logits[1], coarse)) / 3

    for labels in (fine, fine.squeeze(1)):
        value = DeepSupervisionLoss(NACLLoss())(logits, labels.to(dtype))
        torch.testing.assert_close(value, expected)


def test_given_weights_are_used_as_they_are(batch):
    """Given weights are used as they are; another number of them than of outputs is refused."""
    logits, labels = batch
    loss = DeepSupervisionLoss(CrossEntropyLoss(), weights=[2.0, 1.0])
    expected = 3 * CrossEntropyLoss()(logits, labels)

    torch.testing.assert_close(loss([logits, logits], labels), expected)
    for count in (1, 3):
        with pytest.raises(InputError) as caught:
            loss([logits] * count, labels)
        assert str(caught.value) == (
            f"weights: has 2 values, but the network has {count} outputs; "
            "pass one weight per output"
        )


def test_labels_with_as_many_channels_as_classes_are_no_heads(batch):
    """A mask beside an image of two channels is not taken for logits of three classes."""
    logits, labels = batch
    labels = torch.cat([labels, torch.rand(2, 2, *labels.shape[2:])], 1)
    loss = NACLLoss(prior="bilateral")
    stacked = torch.stack([logits, logits], 1)

    torch.testing.assert_close(DeepSupervisionLoss(loss)(stacked, labels), loss(logits, labels))
    assert torch.equal(DeepSupervisionLoss(loss)(logits, labels), loss(logits, labels))


def test_loss_without_terms_is_its_own_term(batch):
    """A loss without terms is its own term; one that weights outputs itself is refused."""
    logits, labels = batch
    loss = DeepSupervisionLoss(monai.losses.DiceLoss(to_onehot_y=True, softmax=True))
    value = loss([logits, logits], labels)

    torch.testing.assert_close(value, loss.loss(logits, labels))
    assert torch.equal(loss.latest_terms["loss"], value)
    with pytest.raises(InputError) as caught:
        DeepSupervisionLoss(loss)
    assert str(caught.value) == (
        "loss: is a DeepSupervisionLoss within another; pass the loss inside it, and set "
        "--loss_function::weights"
    )


def one_hot(labels):
    """Label maps with a channel per class, in double."""
    return torch.cat([labels == k for k in range(3)], 1).double()


def test_soft_labels_are_sampled_as_label_maps_are(batch):
    """At every resolution, one-hot labels give the value of the map, and soft labels still sum to 1."""
    logits, labels = batch
    heads = [logits, logits[..., ::2], logits[..., ::3]]
    loss = DeepSupervisionLoss(NACLLoss())

    torch.testing.assert_close(
        loss(heads, one_hot(labels)), loss(heads, labels), rtol=0, atol=1e-12
    )
    assert loss(heads, logits.softmax(1)).isfinite()


def test_stacked_heads_take_soft_labels(batch):
    """A list and a stack of heads agree, in 2-D and in 3-D."""
    logits, _ = batch
    heads, labels = [logits, 2 * logits, -logits], logits.softmax(1)
    loss = DeepSupervisionLoss(DiceCELoss())

    torch.testing.assert_close(loss(torch.stack(heads, 1), labels), loss(heads, labels))


def test_one_hot_labels_of_stacked_heads_are_never_taken_for_a_map():
    """In 2-D they may be a map as deep as there are classes; whichever it is has an unambiguous form."""
    logits = torch.randn(2, 4, 3, 6, 5)
    labels = one_hot(torch.randint(3, (2, 1, 6, 5)))
    loss = DeepSupervisionLoss(CrossEntropyLoss())
    for form in (labels, labels.long()):
        with pytest.raises(InputError) as caught:
            loss(logits, form)
        assert str(caught.value) == (
            "labels: of shape (2, 3, 6, 5) may be one-hot for stacked outputs, or a label map of a "
            "volume; pass the outputs as a list, list(logits.unbind(1)), or labels with a channel"
        )
        assert torch.equal(loss(logits, form.unsqueeze(1)), CrossEntropyLoss()(logits, form))
        assert loss(list(logits.unbind(1)), form).isfinite()
    labels[:, :, 2, 2] = 2  # as no one-hot label
    assert torch.equal(loss(logits, labels), CrossEntropyLoss()(logits, labels))


def test_labels_may_come_one_per_output(batch):
    """nnU-Net's loader samples the labels itself; their number must be that of the outputs."""
    logits, labels = batch
    heads, each = [logits, logits[..., ::2]], [labels, labels[..., ::2]]
    values = [CrossEntropyLoss()(*pair) for pair in zip(heads, each, strict=True)]
    loss = DeepSupervisionLoss(CrossEntropyLoss())

    torch.testing.assert_close(loss(heads, each), (2 * values[0] + values[1]) / 3)
    torch.testing.assert_close(loss(torch.stack([logits] * 2, 1), [labels] * 2), values[0])
    with pytest.raises(InputError) as caught:
        loss(heads, each[:1])
    assert str(caught.value) == (
        "labels: are 1, but the network has 2 outputs; pass labels for each, or one tensor"
    )


@pytest.mark.parametrize("dims", [2, pytest.param(3, marks=pytest.mark.nightly)])
def test_outputs_of_monais_networks_are_taken_as_they_come(dims):
    """The heads of DynUNet and BasicUNet++ are taken as they are, in training and evaluation."""
    dyn = DynUNet(
        dims, 1, 3, [3] * 4, [1, 2, 2, 2], [2, 2, 2], filters=[4, 4, 8, 8],
        deep_supervision=True, deep_supr_num=2,
    )  # fmt: skip
    plus = BasicUNetPlusPlus(dims, 1, 3, features=(4, 4, 4, 4, 4, 4), deep_supervision=True)
    images, labels = torch.rand(2, 1, *[32] * dims), torch.randint(3, (2, 1, *[32] * dims))
    loss = DeepSupervisionLoss(NACLLoss())

    for network, heads in ((dyn, 3), (plus, 4)):
        output = network(images)
        assert (output.shape[1] if network is dyn else len(output)) == heads
        loss(output, labels).backward()
        assert loss(network.eval()(images), labels).isfinite()


@pytest.mark.parametrize("weights", [[1.0, -1.0], [0.0, 0.0]])
def test_weights_are_not_negative_and_not_all_zero(weights):
    """Refused when the loss is made."""
    with pytest.raises(InputError, match="weights: is .*; pass weights of 0 or more"):
        DeepSupervisionLoss(CrossEntropyLoss(), weights)


def test_labels_are_sampled_at_the_centers_of_coarse_voxels():
    """At a third of the resolution, the middle of three voxels decides."""
    labels = torch.tensor([0, 1, 0, 2, 0, 2]).expand(1, 1, 6, 6).transpose(2, 3)
    coarse = torch.tensor([1, 0]).expand(1, 1, 2, 2).transpose(2, 3)
    logits = torch.randn(1, 3, 2, 2)
    value = DeepSupervisionLoss(CrossEntropyLoss(), [0.0, 1.0])(
        [torch.zeros(1, 3, 6, 6), logits], labels
    )

    torch.testing.assert_close(value, CrossEntropyLoss()(logits, coarse))


@pytest.mark.parametrize(("axes", "affine_axes"), [(2, 2), (2, 3), (3, 3)])
def test_width_in_mm_is_as_wide_in_every_output(axes, affine_axes):
    """The voxels of a coarse output are larger, and their number in a width is smaller."""
    sizes = torch.tensor([1.0, 2.0, 3.0])[:axes]
    affine = torch.eye(affine_axes + 1)
    affine[range(axes), range(axes)] = sizes
    labels = MetaTensor(torch.randint(3, (1, 1, *[8] * axes)), affine=affine)
    fine, coarse = (torch.randn(1, 3, *[size] * axes) for size in (8, 4))
    loss = NACLLoss(prior="blur", width_mm=2.0)

    value = DeepSupervisionLoss(loss, [0.0, 1.0])([fine, coarse], labels)

    # The center of a coarse voxel is the edge of the second of the two that it covers.
    nearest = labels.as_tensor()[(..., *[slice(1, None, 2)] * axes)]
    spacing = (2 * sizes).tolist()
    expected = NACLLoss(prior="blur", width_mm=2.0, spacing=spacing)(coarse, nearest)
    torch.testing.assert_close(value, expected)


def test_one_spacing_is_of_one_size_of_outputs():
    """It would make a width in mm twice as wide in an output of half the size."""
    loss = DeepSupervisionLoss(NACLLoss(prior="blur", width_mm=2.0, spacing=[1.0, 1.0]))
    labels = torch.randint(3, (1, 1, 8, 8))
    fine, coarse = (torch.randn(1, 3, size, size) for size in (8, 4))

    assert torch.isfinite(loss([fine, fine], labels))
    with pytest.raises(InputError, match="spacing: is that of one output"):
        loss([fine, coarse], labels)
