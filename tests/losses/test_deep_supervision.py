"""Several outputs of one network, in whatever form they are."""

import monai
import pytest
import torch
from monai.data import MetaTensor
from monai.networks.nets import BasicUNetPlusPlus, DynUNet

from nacl_monai.errors import InputError
from nacl_monai.losses import CrossEntropyLoss, DeepSupervisionLoss, DiceCELoss, NACLLoss

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
