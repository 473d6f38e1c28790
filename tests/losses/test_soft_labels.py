"""What holds for the soft labels of every loss of the menu."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nacl_monai import losses
from nacl_monai.errors import InputError
from tests.conftest import refused
from tests.losses.test_contract import CASES, PENALTIES, VARIANTS, build

ONE_HOT = [case for case in (*CASES, *VARIANTS) if "bilateral" not in case.values[1].values()]
# Only whole voxels have a border to which a distance can be measured.
WHOLE = {losses.SDCLoss, losses.DistancePenalty}
PARTS = {"parts": [part for part in PENALTIES if part not in WHOLE]}
SOFT = [
    pytest.param(item, PARTS if item is losses.ComposedLoss else settings, id=case.id)
    for case in ONE_HOT
    for item, settings in [case.values]
    if item not in WHOLE
]
every_loss = pytest.mark.parametrize(("item", "settings"), SOFT)


def one_hot(labels, classes=3):
    """Label maps ``(B, 1, *spatial)`` with a channel per class; no 1 where there is no such class."""
    return torch.cat([labels == k for k in range(classes)], 1)


def soft(*shape, sharpness=2.0):
    """Random shares ``(B, C, *spatial)`` in double."""
    return (sharpness * torch.randn(*shape, dtype=torch.float64)).softmax(1)


def value_and_gradient(loss, logits, labels):
    """The loss, and its gradient of the logits."""
    logits = logits.clone().requires_grad_()
    value = loss(logits, labels)
    return value.detach(), torch.autograd.grad(value, logits)[0]


# The mean is over the weights of the voxels, not over their number as in torch.
WEIGHTED = pytest.param(losses.CrossEntropyLoss, {"class_weights": [0.5, 1.0, 3.0]}, id="weighted")


@pytest.mark.parametrize(("item", "settings"), [*ONE_HOT, WEIGHTED])
@pytest.mark.parametrize(
    ("ignore_index", "columns", "dtype"),
    [
        *((None, 0, torch.bool), (1, 0, torch.uint8)),
        *((255, 2, torch.float32), (255, None, torch.float64)),
    ],
)
def test_one_hot_labels_give_what_class_indices_give(
    item, settings, ignore_index, columns, dtype, batch
):
    """Value and gradient are the same, whether the ignored label is a class, none, or all there is."""
    loss = build(item, **settings, ignore_index=ignore_index)
    logits, labels = batch
    labels[..., :columns] = 255
    expected = value_and_gradient(loss, logits, labels)
    found = value_and_gradient(loss, logits, one_hot(labels).to(dtype))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("ignore_index", [None, 255])
def test_class_weights_are_summed_in_full_precision_under_autocast(ignore_index, dtype):
    """100,000 voxels of weight 1 sum to infinity in float16, by which the loss was divided."""
    loss = losses.CrossEntropyLoss(class_weights=[1.0, 1.01, 1.0], ignore_index=ignore_index)
    logits, labels = torch.randn(1, 3, 400, 250), torch.randint(3, (1, 1, 400, 250))
    expected = loss(logits, labels)
    with torch.autocast("cpu", dtype):
        found = loss(logits, one_hot(labels).float())

    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def nacl_oracle(reference, logits, labels):
    """The mean distance of logits from the proportions of shares, plus cross-entropy."""
    tau = torch.stack([reference.proportions(y, reference.mean_weight) for y in labels])
    gaps = (logits - tau).abs()[labels.any(1, keepdim=True).expand_as(logits)]
    return reference.cross_entropy(logits, labels) + 0.1 * gaps.mean()


def svls_oracle(kernel_size=3, border="replicate"):
    """Cross-entropy of the shares that a window with a heavy center smooths."""

    def oracle(reference, logits, labels):
        radius = kernel_size // 2
        weight = reference.svls_weight(2.0, radius, logits.ndim - 2)
        smoothed = torch.stack([reference.proportions(y, weight, border, radius) for y in labels])
        return reference.cross_entropy(logits, smoothed * labels.any(1, keepdim=True))

    return oracle


def smoothing_oracle(alpha):
    """Cross-entropy with a part of the shares spread over the classes."""
    return lambda reference, *pair: reference.cross_entropy(*pair, alpha=alpha)


def focal_oracle(gamma):
    """The focal loss alone."""
    return lambda reference, *pair: reference.focal(*pair, gamma)


def dice_ce_oracle(reference, logits, labels):
    """Cross-entropy and Dice."""
    return reference.cross_entropy(logits, labels) + reference.dice(logits, labels)


def dice_plus_plus_oracle(entropy=0.0, **settings):
    """DSC++ with a share of cross-entropy."""

    def oracle(reference, *pair):
        value = reference.dice_plus_plus(*pair, **settings)
        return value + entropy * reference.cross_entropy(*pair)

    return oracle


def margin_oracle(margin):
    """The mean over classes of what is more than a margin below the largest logit."""
    return lambda _, scores: (scores.max() - scores - margin).clamp_min(0).mean()


def dca_oracle(reference, logits, labels):
    """Cross-entropy and 10 times |mean confidence - mean share of the predicted class|."""
    voxels = list(reference.voxels(logits, labels))
    gap = reference.mean(p.max() - y[p.argmax()] for p, _, y in voxels)
    return reference.cross_entropy(logits, labels) + 10 * abs(gap)


def ml1ace_oracle(reference, logits, labels):
    """Cross-entropy, Dice and the error of 20 hard bins."""
    error = reference.ml1ace(logits, labels, 20, "hard")
    return dice_ce_oracle(reference, logits, labels) + error


def crac_oracle(reference, logits, labels):
    """Cross-entropy and the Lagrangian of the multipliers with which a training starts."""
    penalty = reference.crac(logits, labels, [[1e-6] * 3] * 2, [[0.1] * 3] * 2)
    return reference.cross_entropy(logits, labels) + penalty


def penalty_oracle(penalty):
    """Cross-entropy and a tenth of a penalty that disregards the labels."""

    def oracle(reference, logits, labels):
        scores = (penalty(p, scores) for p, scores, _ in reference.voxels(logits, labels))
        return reference.cross_entropy(logits, labels) + 0.1 * reference.mean(scores)

    return oracle


ORACLES = [
    (losses.CrossEntropyLoss, {}, lambda reference, *pair: reference.cross_entropy(*pair)),
    (losses.DiceCELoss, {}, dice_ce_oracle),
    (losses.DicePlusPlusLoss, {}, dice_plus_plus_oracle()),
    (
        losses.DicePlusPlusLoss,
        {"gamma": 1.5, "false_positive_weight": 0.3, "cross_entropy_weight": 0.7},
        dice_plus_plus_oracle(0.7, gamma=1.5, alpha=0.3),
    ),
    (losses.ECPLoss, {}, penalty_oracle(lambda p, _: sum(x * x.log() for x in p))),
    *((losses.FocalLoss, {"gamma": gamma}, focal_oracle(gamma)) for gamma in (0.5, 1.0, 3.0)),
    *(
        (losses.LabelSmoothingLoss, {"label_smoothing": alpha}, smoothing_oracle(alpha))
        for alpha in (0.1, 0.3, 1.0)
    ),
    *(
        (losses.MbLSLoss, {"margin": margin}, penalty_oracle(margin_oracle(margin)))
        for margin in (0.0, 5.0)
    ),
    (losses.NACLLoss, {}, nacl_oracle),
    (losses.SVLSLoss, {}, svls_oracle()),
    (losses.SVLSLoss, {"border": "valid"}, svls_oracle(border="valid")),
    (losses.SVLSLoss, {"kernel_size": 5}, svls_oracle(kernel_size=5)),
    (losses.DCALoss, {}, dca_oracle),
    (losses.ML1ACELoss, {}, ml1ace_oracle),
    (losses.CRaCLoss, {}, crac_oracle),
]


@pytest.mark.parametrize(("item", "settings", "oracle"), ORACLES)
@pytest.mark.parametrize("ignore", [False, True], ids=["all", "some ignored"])
@pytest.mark.parametrize("hard", [False, True], ids=["soft", "one class a voxel"])
@pytest.mark.parametrize("shape", [(4, 3), (3, 2, 3)], ids=["2-D", "3-D"])
def test_loss_equals_the_loop_over_voxels(item, settings, oracle, ignore, hard, shape, reference):
    """Each loss equals its slow form, in double, of soft labels and of class indices."""
    logits, labels = 4 * torch.randn(2, 3, *shape, dtype=torch.float64), soft(2, 3, *shape)
    indices = torch.randint(3, (2, 1, *shape))
    if ignore:
        labels[0, :, 0], indices[0, :, 0] = 0, 9
    if hard:
        labels = one_hot(indices).double()
    loss = item(**settings, ignore_index=9 if ignore else None)
    found = loss(logits, indices if hard else labels)

    assert abs(float(found) - float(oracle(reference, logits, labels))) < 1e-12


seeds = st.integers(0, 2**16)


@settings(max_examples=40, deadline=None)
@given(seeds, st.floats(0, 1), st.sampled_from([0.0, 0.3]))
def test_cross_entropy_is_linear_in_the_labels(seed, share, smoothing):
    """The loss of a mixture of labels is the mixture of the losses, and least at the labels."""
    torch.manual_seed(seed)
    logits, labels, other = 4 * torch.randn(2, 3, 4, 5).double(), soft(2, 3, 4, 5), soft(2, 3, 4, 5)

    def loss(labels, scores=logits):
        return losses.cross_entropy(scores, labels, label_smoothing=smoothing)

    mixed = share * labels + (1 - share) * other
    expected = share * loss(labels) + (1 - share) * loss(other)
    torch.testing.assert_close(loss(mixed), expected, rtol=0, atol=1e-12)
    assert loss(labels, ((1 - smoothing) * labels + smoothing / 3).log()) <= loss(labels)


NO_SHARES = {
    (0.5, 0.5, 0.5): "hold 0.5, 0.5, 0.5 in a voxel; one-hot and soft labels are 0 or more",
    (1.2, -0.2, 0.0): "hold 1.2, -0.2, 0 in a voxel",
    (0.0, 0.0, 0.0): "hold 0, 0, 0 in a voxel",
    (torch.nan, 1.0, 0.0): "hold nan, 1, 0 in a voxel",
}


@every_loss
def test_shares_that_do_not_sum_to_one_are_refused(item, settings, batch):
    """One line names what a voxel holds; a part of a voxel for the ignored class has no meaning."""
    logits, _ = batch
    labels = soft(*logits.shape)
    line = refused(build(item, **settings, ignore_index=1), logits, labels)
    assert "sum to 1, or are all 0, or all of the class to be ignored" in line
    for shares, message in NO_SHARES.items():
        labels[1, :, 2, 2] = torch.tensor(shares).view(3, *[1] * (logits.ndim - 4))
        assert message in refused(build(item, **settings), logits, labels)


@every_loss
def test_gradient_is_that_of_finite_differences(item, settings):
    """In double precision, the gradient of soft labels is that of finite differences."""
    loss = build(item, **settings, ignore_index=9)
    logits, labels = 4 * torch.randn(1, 3, 3, 4, dtype=torch.float64), soft(1, 3, 3, 4)
    labels[..., 0] = 0

    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), logits, fast_mode=True)
    assert (value_and_gradient(loss, logits, labels)[1][..., 0] == 0).all()


@pytest.mark.parametrize("item", [losses.FocalLoss, losses.NACLLoss])
@pytest.mark.slow
def test_compiled_loss_takes_soft_labels_and_refuses_others(item):
    """One graph, the same value and gradient; sums other than 1 end on the device."""
    loss, logits, labels = item(ignore_index=9), torch.randn(2, 3, 4, 5), soft(2, 3, 4, 5).float()
    labels[..., 0] = 0
    torch.compiler.reset()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    values = (value_and_gradient(form, logits, labels) for form in (compiled, loss))
    torch.testing.assert_close(*values)
    labels[0, 0, 2, 2] += 0.5
    with pytest.raises(RuntimeError, match="labels: do not sum to 1"):
        compiled(logits, labels)
    if item is losses.FocalLoss:
        torch.compiler.reset()
        whole = torch.compile(losses.DistancePenalty(), backend="eager", fullgraph=True)
        with pytest.raises(RuntimeError, match="labels: are soft"):
            whole(logits, soft(2, 3, 4, 5))


@pytest.mark.parametrize("prior", ["mean", "bilateral"])
def test_image_beside_soft_labels_is_an_argument_of_the_function(prior, batch):
    """The module reads channels as index and image, for which one-hot labels could be taken."""
    logits, labels = batch
    image = torch.rand(2, 2, *logits.shape[2:], dtype=torch.float64)
    settings = {"prior": prior, "image": image}

    forms = (one_hot(labels).double(), labels)
    values = (losses.nacl_loss(logits, form, **settings) for form in forms)
    torch.testing.assert_close(*values, rtol=0, atol=1e-12)
    if prior == "bilateral":
        with pytest.raises(InputError, match="labels: sum to 1 over the channels of every voxel"):
            losses.NeighborhoodPenalty(prior=prior)(logits, one_hot(labels))


@every_loss
def test_list_of_outputs_is_refused_by_name(item, settings, batch):
    """Who trains with deep supervision is told which loss weights the outputs."""
    loss = build(item, **settings)
    logits, labels = batch
    if isinstance(loss, losses.DeepSupervisionLoss):
        return
    for outputs in ([logits, logits], (logits,)):
        line = f"are a list of {len(outputs)} outputs; wrap the loss in DeepSuper"
        assert line in refused(loss, outputs, labels)


@pytest.mark.parametrize("item", sorted(WHOLE, key=str), ids=lambda item: item.__name__)
def test_soft_labels_are_refused_where_a_border_is_needed(item, batch):
    """One line says so; a compiled graph asserts it."""
    logits, _ = batch
    labels = soft(*logits.shape)
    line = "^labels: are soft, 0.* of a class in a voxel, and have no"
    with pytest.raises(InputError, match=line):
        item()(logits, labels)
