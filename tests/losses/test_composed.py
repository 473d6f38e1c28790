"""Named terms: any base with any penalties, losses from elsewhere, several outputs of one network."""

import monai
import monai.losses
import pytest
import torch
from monai.data import MetaTensor
from torch import nn

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
    SegmentationLoss,
    cross_entropy,
)
from nacl_monai.losses.base import needs_image
from tests.conftest import refused
from tests.same import same_bits, same_values


def test_each_of_several_penalties_has_its_own_term(batch):
    """Each penalty has its own term, in the order given, and compositions nest."""
    parts = [NeighborhoodPenalty(), EntropyPenalty(), MarginPenalty(margin=0.0)]
    loss = ComposedLoss(NACLLoss(), parts[1:])
    loss(*batch)

    assert list(loss.latest_terms) == ["cross_entropy", "penalty", "penalty_2", "penalty_3"]
    for term, part in zip(list(loss.latest_terms.values())[1:], parts, strict=True):
        same_bits(term, part(*batch), "the same penalty of the same batch")


def test_image_reaches_only_what_takes_it(batch):
    """Beside a penalty that takes the image, the others see the labels alone."""
    logits, labels = batch
    labels = torch.cat([labels, torch.rand_like(logits)], 1)
    bilateral = NeighborhoodPenalty(prior="bilateral")
    loss = ComposedLoss(DiceCELoss(), [EntropyPenalty(), bilateral])
    expected = DiceCELoss()(*batch) + EntropyPenalty()(*batch) + bilateral(logits, labels)

    torch.testing.assert_close(loss(logits, labels), expected)
    nested = ComposedLoss(loss, [])(logits, labels)
    torch.testing.assert_close(nested, expected, msg="nested compositions pass it on")


def test_image_is_needed_if_a_part_needs_it():
    """A composition needs the image if its base or a penalty does; other losses never do."""
    bilateral = NeighborhoodPenalty(prior="bilateral")

    assert not needs_image(nn.Identity())
    assert not needs_image(ComposedLoss(DiceCELoss(), [EntropyPenalty()]))
    assert needs_image(ComposedLoss(DiceCELoss(), [EntropyPenalty(), bilateral]))
    assert needs_image(ComposedLoss(NACLLoss(prior="bilateral"), [EntropyPenalty()]))


class MeanLogit(SegmentationLoss):
    """A loss whose value is known."""

    def terms(self, logits, labels):  # noqa: ARG002
        return {"logit": logits.mean()}


def test_terms_of_the_latest_call_are_kept():
    """`terms` is pure; only a call of the module keeps them, and a new call replaces them."""
    loss = MeanLogit()
    loss.terms(torch.ones(1, 2, 3), None)
    assert loss.latest_terms == {}
    for value in (4.0, 5.0):
        loss(torch.full((1, 2, 3), value), None)
        assert loss.latest_terms == {"logit": value}


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

    same_values(keep.given, expected)
    assert keep.given.dtype == expected.dtype


def test_label_that_is_no_class_is_left_to_the_loss():
    """Torch's ignores it; one-hot, such a voxel is of no class."""
    labels = LABELS.clone()
    labels[..., :2] = 255
    loss = ForeignLoss(nn.CrossEntropyLoss(ignore_index=255), "indices", ignore_index=255)
    keep = Keep()
    ForeignLoss(keep, "one_hot", ignore_index=255)(LOGITS, labels)

    expected = cross_entropy(LOGITS[..., 2:], LABELS[..., 2:])
    torch.testing.assert_close(loss(LOGITS, labels), expected)
    same_values(keep.given.sum(1), (labels[:, 0] != 255).float())


def test_weights_of_a_loss_go_where_the_logits_are():
    """A loss is made on the CPU; the meta device takes the place of a GPU."""
    loss = ForeignLoss(nn.CrossEntropyLoss(weight=torch.ones(3)))
    labels = LABELS[:, 0].to("meta")

    assert loss(LOGITS.to("meta"), labels).device.type == "meta"


WEIGHTS = [4 / 7, 2 / 7, 1 / 7]


def test_single_output_gives_the_loss_itself(batch):
    """In evaluation there is one output, and the loss is that of the network without heads."""
    loss = DeepSupervisionLoss(NACLLoss(), weights=[0.7, 0.3])

    logits, labels = batch
    for form in (labels, labels.squeeze(1)):
        same_bits(loss(logits, form), NACLLoss()(logits, form), "the same loss of the same batch")


@pytest.mark.parametrize("form", ["with a channel", "without", "soft"])
def test_lists_and_stacks_agree(batch, form):
    """Heads in a list and heads stacked on axis 1 give the same weighted sum and terms."""
    logits, labels = batch
    labels = {"with a channel": labels, "without": labels[:, 0], "soft": logits.softmax(1)}[form]
    heads = [logits, 2 * logits, -logits]
    pairs = zip(WEIGHTS, heads, strict=True)
    expected = sum(weight * DiceCELoss()(head, labels) for weight, head in pairs)
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
    """Whatever their sum is."""
    logits, labels = batch
    loss = DeepSupervisionLoss(CrossEntropyLoss(), weights=[2.0, 1.0])
    expected = 3 * CrossEntropyLoss()(logits, labels)

    torch.testing.assert_close(loss([logits, logits], labels), expected)


def test_labels_with_as_many_channels_as_classes_are_no_heads(batch):
    """A mask beside an image of two channels is not taken for logits of three classes."""
    logits, labels = batch
    labels = torch.cat([labels, torch.rand(2, 2, *labels.shape[2:])], 1)
    loss = NACLLoss(prior="bilateral")
    stacked = torch.stack([logits, logits], 1)

    torch.testing.assert_close(DeepSupervisionLoss(loss)(stacked, labels), loss(logits, labels))
    value = DeepSupervisionLoss(loss)(logits, labels)
    same_bits(value, loss(logits, labels), "the same loss of the same batch")


def test_loss_without_terms_is_its_own_term(batch):
    """As one of MONAI's is."""
    logits, labels = batch
    loss = DeepSupervisionLoss(monai.losses.DiceLoss(to_onehot_y=True, softmax=True))
    value = loss([logits, logits], labels)

    torch.testing.assert_close(value, loss.loss(logits, labels))
    same_bits(loss.latest_terms["loss"], value, "it is handed on")


def one_hot(labels):
    """Label maps with a channel per class, in double."""
    return torch.cat([labels == k for k in range(3)], 1).double()


def test_soft_labels_are_sampled_as_label_maps_are(batch):
    """At every resolution, one-hot labels give the value of the map, and soft labels still sum to 1."""
    logits, labels = batch
    heads = [logits, logits[..., ::2], logits[..., ::3]]
    loss = DeepSupervisionLoss(NACLLoss())

    of_shares = loss(heads, one_hot(labels))
    torch.testing.assert_close(of_shares, loss(heads, labels), rtol=0, atol=1e-12)
    assert loss(heads, logits.softmax(1)).isfinite()


def test_one_hot_labels_of_stacked_heads_are_never_taken_for_a_map():
    """In 2-D they may be a map as deep as there are classes; whichever it is has an unambiguous form."""
    logits = torch.randn(2, 4, 3, 6, 5)
    labels = one_hot(torch.randint(3, (2, 1, 6, 5)))
    loss = DeepSupervisionLoss(CrossEntropyLoss())
    for form in (labels, labels.long()):
        assert refused(loss, logits, form) == (
            "labels: of shape (2, 3, 6, 5) may be one-hot for stacked outputs, or a label map of a "
            "volume; pass the outputs as a list, list(logits.unbind(1)), or labels with a channel"
        )
        value = loss(logits, form.unsqueeze(1))
        same_bits(value, CrossEntropyLoss()(logits, form), "the same loss of the same batch")
        assert loss(list(logits.unbind(1)), form).isfinite()
    labels[:, :, 2, 2] = 2  # as no one-hot label
    value = loss(logits, labels)
    same_bits(value, CrossEntropyLoss()(logits, labels), "the same loss of the same batch")


def test_labels_may_come_one_per_output(batch):
    """nnU-Net's loader samples the labels itself."""
    logits, labels = batch
    heads, each = [logits, logits[..., ::2]], [labels, labels[..., ::2]]
    values = [CrossEntropyLoss()(*pair) for pair in zip(heads, each, strict=True)]
    loss = DeepSupervisionLoss(CrossEntropyLoss())

    torch.testing.assert_close(loss(heads, each), (2 * values[0] + values[1]) / 3)
    torch.testing.assert_close(loss(torch.stack([logits] * 2, 1), [labels] * 2), values[0])


def test_labels_are_sampled_at_the_centers_of_coarse_voxels():
    """At a third of the resolution, the middle of three voxels decides."""
    labels = torch.tensor([0, 1, 0, 2, 0, 2]).expand(1, 1, 6, 6).transpose(2, 3)
    coarse = torch.tensor([1, 0]).expand(1, 1, 2, 2).transpose(2, 3)
    logits = torch.randn(1, 3, 2, 2)
    heads = [torch.zeros(1, 3, 6, 6), logits]
    value = DeepSupervisionLoss(CrossEntropyLoss(), [0.0, 1.0])(heads, labels)

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


SUPERVISED = DeepSupervisionLoss(CrossEntropyLoss(), weights=[2.0, 1.0])
OF_ONE_SPACING = DeepSupervisionLoss(NACLLoss(prior="blur", width_mm=2.0, spacing=[1.0, 1.0]))


@pytest.mark.parametrize(
    ("use", "line"),
    [
        (
            lambda: ForeignLoss(Keep(), "onehot"),
            "labels: is 'onehot'; pass one of whole, indices, one_hot",
        ),
        (lambda: ForeignLoss(Keep(), "indices")(LOGITS, LABELS + 7), "labels: hold 7"),
        (lambda: DeepSupervisionLoss(Keep), "not a torch.nn.Module"),
        (
            lambda: DeepSupervisionLoss(SUPERVISED),
            "loss: is a DeepSupervisionLoss within another; pass the loss inside it, and set "
            "--loss_function::weights",
        ),
        *(
            (
                lambda weights=weights: DeepSupervisionLoss(CrossEntropyLoss(), weights),
                f"weights: is {weights}; pass weights of 0 or more",
            )
            for weights in ([1.0, -1.0], [0.0, 0.0], [])
        ),
        *(
            (
                lambda count=count: SUPERVISED([LOGITS] * count, LABELS),
                f"weights: has 2 values, but the network has {count} outputs; pass one weight per "
                "output",
            )
            for count in (1, 3)
        ),
        (
            lambda: SUPERVISED([LOGITS, LOGITS], [LABELS]),
            "labels: are 1, but the network has 2 outputs; pass labels for each, or one tensor",
        ),
        (
            lambda: OF_ONE_SPACING([LOGITS, LOGITS[..., ::2, ::2]], LABELS),
            "spacing: is that of one output",
        ),
    ],
)
def test_what_does_not_fit_is_refused(use, line):
    """In the words that name it; a spacing of one output would be wrong for one of half the size."""
    assert line in refused(use)


def test_one_spacing_is_that_of_outputs_of_one_size():
    """Which nothing has to be refused for."""
    assert OF_ONE_SPACING([LOGITS, LOGITS], LABELS).isfinite()
