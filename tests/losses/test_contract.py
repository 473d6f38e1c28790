"""What holds for every loss; a new one is covered by its entry in the menu ``losses``."""

import inspect
import pickle
import pydoc
import re
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from monai.data import MetaTensor

from nacl_monai import losses
from nacl_monai.menus import read_menu
from tests.conftest import refused
from tests.same import same_bits

MENU = read_menu("losses")
METHODS = {name: pydoc.locate(choice.target) for name, choice in MENU.items()}
EXPORTED = [getattr(losses, name) for name in losses.__all__]
ADAPTERS = [losses.ComposedLoss, losses.DeepSupervisionLoss]
#: They adapt any loss from elsewhere; tests/losses/test_composed.py has their contract.
FOREIGN = [losses.ForeignLoss]
PENALTIES = [
    item
    for item in EXPORTED
    if inspect.isclass(item) and issubclass(item, losses.Penalty) and not inspect.isabstract(item)
]
NACL_VARIANTS = [
    *({"prior": prior} for prior in ("gaussian", "bilateral")),
    {"prior": "blur", "kernel_size": 5, "sigma": 0.8},
    *({"penalty": penalty} for penalty in ("l2", "log_barrier")),
    {"space": "softmax"},
    {"border": "replicate", "kernel_size": 5},
    {"where": "mixed", "prior": "bilateral"},
    *({"include_center": False, "prior": prior} for prior in ("mean", "bilateral")),
]
CHOICES = [
    *((losses.NACLLoss, variant) for variant in NACL_VARIANTS),
    (
        losses.DicePlusPlusLoss,
        {"gamma": 1.0, "false_positive_weight": 0.3, "cross_entropy_weight": 1.0},
    ),
    (losses.ML1ACELoss, {"binning": "soft"}),
    (losses.ML1ACELoss, {"ignore_empty_classes": False}),
    (losses.SDCLoss, {"morphology": "closing", "kernel_size": 5}),
]
# The settings with which a loss is cross-entropy. SVLS has no weight; its equation 6 is tested instead.
# mL1-ACE is then CE+DSC, and CRaC's weights are learned: their own tests say so.
NEUTRAL = {
    losses.CrossEntropyLoss: {},
    losses.DiceCELoss: {"dice_weight": 0.0},
    losses.ECPLoss: {"entropy_weight": 0.0},
    losses.FocalLoss: {"gamma": 0.0},
    losses.LabelSmoothingLoss: {"label_smoothing": 0.0},
    losses.MbLSLoss: {"penalty_weight": 0.0},
    losses.NACLLoss: {"penalty_weight": 0.0},
    losses.DCALoss: {"penalty_weight": 0.0},
    losses.SDCLoss: {"morphology_weight": 0.0, "distance_weight": 0.0},
}


ROOT = Path(__file__).parents[2]
RECIPE = (ROOT / "docs/recipes.md").read_text(encoding="utf-8").split("\n## ")[1]


def parameters(item):
    """Names and defaults of the keyword arguments of a function or class."""
    signature = inspect.signature(item).parameters.values()
    return {p.name: p.default for p in signature if p.kind is p.KEYWORD_ONLY}


def build(item, **settings):
    """An instance of a loss; penalties and adapters are given what they need."""
    ignore_index = settings.get("ignore_index")
    if item is losses.DeepSupervisionLoss:
        return item(losses.NACLLoss(**settings))
    if item is losses.ComposedLoss:
        parts = settings.get("parts", PENALTIES)
        penalties = [part(ignore_index=ignore_index) for part in parts]
        return item(losses.DiceCELoss(ignore_index=ignore_index), penalties)
    if issubclass(item, losses.Penalty):
        return losses.ComposedLoss(losses.FocalLoss(ignore_index=ignore_index), [item(**settings)])
    if "ignore_index" not in parameters(item) and settings.pop("ignore_index", None) is not None:
        pytest.skip("cannot ignore a label")
    return item(**settings)


CASES = [
    *(pytest.param(METHODS[name], MENU[name].settings, id=name) for name in MENU),
    *(pytest.param(item, {}, id=item.__name__) for item in [*PENALTIES, *ADAPTERS]),
]
VARIANTS = [
    pytest.param(item, variant, id="-".join([item.__name__, *map(str, variant.values())]))
    for item, variant in CHOICES
]
nightly = partial(pytest.param, marks=pytest.mark.nightly)
SLOW_VARIANTS = [nightly(*variant.values, id=variant.id) for variant in VARIANTS]
MORE_PRECISIONS = (torch.bfloat16, torch.float64)
every_loss = pytest.mark.parametrize(("item", "settings"), [*CASES, *VARIANTS])
# Compiling takes seconds: penalties are compiled within their losses, and alone where it may take time.
COMPILED = [
    nightly(*case.values, id=case.id) if case.values[0] in PENALTIES else case for case in CASES
]


def labels_for(loss, labels):
    """Labels ``(B, 1, *spatial)``, with an image in further channels if the loss takes one."""
    if not getattr(loss, "needs_image", False):
        return labels
    image = torch.rand(labels.shape[0], 2, *labels.shape[2:], dtype=torch.float64)
    return torch.cat([labels, image], 1)


def function_of(item):
    """The function that a class is a module around: ``NAME_loss`` or ``NAME`` in ``NAME.py``."""
    module = sys.modules[item.__module__]
    name = item.__module__.rpartition(".")[2]
    return getattr(module, f"{name}_loss", None) or getattr(module, name, None)


def test_every_exported_loss_is_in_the_menu_or_a_part():
    """The contract covers whatever the package exports."""
    classes = {
        item
        for item in EXPORTED
        if inspect.isclass(item)
        and issubclass(item, losses.SegmentationLoss | losses.Penalty)
        and not inspect.isabstract(item)
    }

    assert classes <= {*METHODS.values(), *PENALTIES, *ADAPTERS, *FOREIGN}


def test_every_exported_method_has_a_function_and_ignores_labels():
    """Whoever wants no module calls an exported function with the same settings."""
    for item in set(METHODS.values()) & set(EXPORTED):
        assert function_of(item) in EXPORTED
        assert "ignore_index" in parameters(item)


@pytest.mark.parametrize("name", MENU)
def test_module_and_function_share_names_and_defaults(name):
    """A module's settings are its function's, with the same defaults."""
    function = function_of(METHODS[name])
    if function is None:
        pytest.skip("has no function")

    assert parameters(METHODS[name]).items() <= parameters(function).items()


@pytest.mark.parametrize("name", MENU)
def test_menu_states_the_defaults(name):
    """The first entry of a class shows its defaults, so that both are the paper's; others vary it."""
    if METHODS[name] not in EXPORTED:
        pytest.skip("is not the package's own")
    defaults = parameters(METHODS[name])
    first = next(other for other in MENU if METHODS[other] is METHODS[name])

    assert MENU[name].settings.keys() <= defaults.keys()
    assert (MENU[name].settings.items() <= defaults.items()) == (name == first)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_penalty_is_its_function_times_its_weight(penalty, batch):
    """A penalty's module weights its function, whose settings and defaults it shares."""
    stem = penalty.__name__.removesuffix("Penalty").lower()
    function = getattr(losses, f"{stem}_penalty")
    settings = parameters(penalty)

    assert settings.pop("weight") > 0
    assert settings.items() <= parameters(function).items()
    torch.testing.assert_close(penalty(weight=0.3)(*batch), 0.3 * function(*batch))
    value = penalty(weight=0.3).value(*batch)
    same_bits(value, function(*batch), "the same function of the same batch")


@pytest.mark.parametrize(
    ("item", "settings"), [*(case for case in CASES if case.id in MENU), *VARIANTS]
)
@pytest.mark.parametrize("ignore_index", [None, 1])
def test_module_equals_its_function(item, settings, batch, ignore_index):
    """Module and function give the same value and gradient, bit for bit."""
    loss, function = build(item, **settings, ignore_index=ignore_index), function_of(item)
    if function is None:
        pytest.skip("has no function")
    logits, labels = batch
    logits.requires_grad_()
    labels = labels_for(loss, labels)
    image = {"image": labels[:, 1:]} if getattr(loss, "needs_image", False) else {}
    value = function(logits, labels[:, :1], **settings, ignore_index=ignore_index, **image)

    assert type(value) is torch.Tensor
    same_bits(value, loss(logits, labels), "the module calls its function")
    (ours,) = torch.autograd.grad(value, logits)
    (modules,) = torch.autograd.grad(loss(logits, labels), logits)
    same_bits(ours, modules, "the module calls its function")


@every_loss
def test_inputs_are_left_alone(item, settings, batch):
    """Neither logits nor labels are written to."""
    loss = build(item, **settings, ignore_index=1)
    logits, labels = batch
    labels = labels_for(loss, labels)
    before = logits.clone(), labels.clone()
    loss(logits, labels)

    same_bits(logits, before[0], "nothing is done to them")
    same_bits(labels, before[1], "nothing is done to them")


@every_loss
def test_scalar_is_the_sum_of_its_terms(item, settings, batch):
    """The value is a scalar, the sum of the detached terms of the same call."""
    loss = build(item, **settings)
    logits, labels = batch
    value = loss(logits.requires_grad_(), labels_for(loss, labels))

    assert type(value) is torch.Tensor
    assert value.shape == ()
    assert not any(term.requires_grad for term in loss.latest_terms.values())
    torch.testing.assert_close(sum(loss.latest_terms.values()), value.detach())


@every_loss
@pytest.mark.parametrize("ignore_index", [None, 1, 255])
def test_gradient_reaches_what_counts_and_nothing_else(item, settings, batch, ignore_index):
    """Finite, non-zero gradient to every logit that is not ignored, none to those that are.

    A class that no voxel of the batch has is no special case.
    """
    loss = build(item, **settings, ignore_index=ignore_index)
    logits, labels = batch
    if ignore_index is None:
        labels.clamp_(max=1)
    if ignore_index == 255:
        labels[..., :2] = 255
    loss(logits.requires_grad_(), labels_for(loss, labels)).backward()

    ignored = torch.isin(labels, torch.tensor([ignore_index or -1])).expand_as(logits)
    assert logits.grad.isfinite().all()
    assert (logits.grad[~ignored] != 0).all()
    assert (logits.grad[ignored] == 0).all()


@every_loss
def test_ignored_voxels_do_not_matter(item, settings, batch):
    """Logits under ignored labels may be anything."""
    loss = build(item, **settings, ignore_index=255)
    logits, labels = batch
    labels[..., 1] = 255
    labels = labels_for(loss, labels)
    other = logits.clone()
    other[..., 1] = 1e3

    torch.testing.assert_close(loss(other, labels), loss(logits, labels))


@every_loss
def test_batch_without_counted_voxels_is_finite_without_gradient(item, settings, batch):
    """A patch whose voxels are all ignored gives a finite value and no gradient."""
    loss = build(item, **settings, ignore_index=255)
    logits, labels = batch
    value = loss(logits.requires_grad_(), labels_for(loss, torch.full_like(labels, 255)))
    value.backward()

    assert value.isfinite()
    assert (logits.grad == 0).all()


@every_loss
def test_invariant_under_flips(item, settings, batch):
    """Mirroring logits and labels along any axis does not change the value."""
    loss = build(item, **settings)
    logits, labels = batch
    labels = labels_for(loss, labels)
    expected = loss(logits, labels)
    for axis in range(2, logits.ndim):
        torch.testing.assert_close(loss(logits.flip(axis), labels.flip(axis)), expected)


@every_loss
def test_invariant_under_renamed_classes(item, settings, batch):
    """Permuting the classes of logits and labels alike does not change the value."""
    loss = build(item, **settings)
    logits, labels = batch
    labels = labels_for(loss, labels)
    expected = loss(logits, labels)
    order = torch.tensor([2, 0, 1])
    labels = labels.clone()
    labels[:, 0] = order[labels[:, 0].long()]

    torch.testing.assert_close(loss(logits[:, order.argsort()], labels), expected)


@every_loss
def test_one_slice_equals_the_image(item, settings):
    """A volume of one slice gives the value of the slice, but for kernels that differ in 3-D."""
    if item is losses.SVLSLoss or settings.get("prior") == "gaussian":
        pytest.skip("the center of SVLS's kernel weighs as much as all neighbors, more in 3-D")
    loss = build(item, **settings)
    logits, labels = torch.randn(2, 3, 6, 5), torch.randint(3, (2, 1, 6, 5))
    labels = labels_for(loss, labels)

    torch.testing.assert_close(loss(logits.unsqueeze(2), labels.unsqueeze(2)), loss(logits, labels))


@pytest.mark.parametrize("item", NEUTRAL)
def test_weight_zero_is_cross_entropy(item, batch):
    """With its weight, exponent or smoothing at 0, a loss is cross-entropy."""
    logits, labels = batch
    expected = torch.nn.functional.cross_entropy(logits, labels.squeeze(1))

    torch.testing.assert_close(item(**NEUTRAL[item])(logits, labels), expected)


@every_loss
@pytest.mark.parametrize("ignore_index", [nightly(None), 255])
def test_gradient_is_that_of_finite_differences(item, settings, ignore_index):
    """In double precision, the gradient is that of finite differences."""
    loss = build(item, **settings, ignore_index=ignore_index)
    logits = 4 * torch.randn(1, 3, 3, 4, dtype=torch.float64)
    labels = torch.randint(3, (1, 1, 3, 4))
    if ignore_index is not None:
        labels[..., 0] = ignore_index
    labels = labels_for(loss, labels)

    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), logits, fast_mode=True)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, *map(nightly, MORE_PRECISIONS)])
def test_every_precision_is_finite_and_computed_in_float32(item, settings, dtype):
    """Every precision gives finite values and gradients, computed in float32 at least."""
    loss = build(item, **settings, ignore_index=255)
    logits = (200 * torch.randn(2, 3, 8, 8)).to(dtype).requires_grad_()
    labels = torch.randint(3, (2, 1, 8, 8))
    labels[..., 0] = 255
    labels = labels_for(loss, labels)
    value = loss(logits, labels)
    value.backward()

    assert value.dtype == torch.promote_types(dtype, torch.float32)
    assert value.isfinite()
    assert logits.grad.dtype == dtype
    assert logits.grad.isfinite().all()
    torch.testing.assert_close(value.double(), loss(logits.double(), labels), rtol=1e-4, atol=1e-4)


@every_loss
def test_autocast_changes_nothing(item, settings):
    """Under bfloat16 autocast, values and gradients are finite, and equal float32's."""
    loss = build(item, **settings)
    logits = torch.randn(2, 3, 8, 8, requires_grad=True)
    labels = labels_for(loss, torch.randint(3, (2, 1, 8, 8)))
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(logits, labels)
    value.backward()

    assert logits.grad.isfinite().all()
    torch.testing.assert_close(value, loss(logits, labels))


@pytest.mark.parametrize(("item", "settings"), [*COMPILED, *SLOW_VARIANTS])
@pytest.mark.nightly
def test_compiles_without_graph_breaks(item, settings):
    """``torch.compile`` takes forward and backward in one graph, with equal results."""
    loss = build(item, **settings, ignore_index=1)
    logits, labels = torch.randn(2, 3, 3, 4, 5), torch.randint(3, (2, 1, 3, 4, 5))
    labels = labels_for(loss, labels)
    expected = loss(logits.requires_grad_(), labels)
    (expected_grad,) = torch.autograd.grad(expected, logits)
    torch.compiler.reset()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    value = compiled(logits, labels)
    (grad,) = torch.autograd.grad(value, logits)

    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(grad, expected_grad)


@pytest.mark.parametrize(("item", "settings"), COMPILED)
@pytest.mark.slow
def test_compiles_once_for_all_sizes(item, settings):
    """With dynamic shapes, images of another size need no further compilation."""
    loss = build(item, **settings, ignore_index=1)
    torch.compiler.reset()
    compiled = torch.compile(loss, backend="eager", fullgraph=True, dynamic=True)
    for size in (5, 6, 7):
        logits, labels = torch.randn(2, 3, size, size + 4), torch.randint(3, (2, 1, size, size + 4))
        with torch._dynamo.config.patch(error_on_recompile=size > 5):
            torch.testing.assert_close(compiled(logits, labels), loss(logits, labels))


@pytest.mark.nightly
def test_compiles_with_the_default_backend():
    """The machine code of ``torch.compile`` gives the same value and gradient for NACL."""
    loss = losses.NACLLoss()
    logits = torch.randn(2, 3, 16, 16, requires_grad=True)
    labels = torch.randint(3, (2, 1, 16, 16))
    expected = torch.autograd.grad(loss(logits, labels), logits)
    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True)

    torch.testing.assert_close(torch.autograd.grad(compiled(logits, labels), logits), expected)


@every_loss
def test_pickled_copy_is_equal(item, settings, batch):
    """A loss survives pickling, has a loadable state, and prints its name."""
    loss = build(item, **settings)
    logits, labels = batch
    labels = labels_for(loss, labels)
    again = pickle.loads(pickle.dumps(loss))
    again.load_state_dict(loss.state_dict())

    same_bits(again(logits, labels), loss(logits, labels), "the same loss of the same batch")
    assert repr(again) == repr(loss)
    assert item.__name__ in repr(loss)


@every_loss
def test_labels_of_any_form_give_the_same_value(item, settings, batch):
    """Labels may leave out the channel, have any dtype, and be MetaTensors, as may logits."""
    loss = build(item, **settings)
    logits, labels = batch
    if getattr(loss, "needs_image", False):
        pytest.skip("labels share the image's tensor")
    expected = loss(logits, labels)

    assert type(loss(MetaTensor(logits), MetaTensor(labels.double()))) is torch.Tensor
    plain = labels[:, 0]
    for form in (labels.byte(), plain.int(), MetaTensor(labels.half()), plain.double()):
        same_bits(loss(logits, form), expected, "the same loss of the same classes")


@every_loss
def test_label_that_is_no_class_is_named(item, settings, batch):
    """A label that is not a class is named, with the number of classes."""
    loss = build(item, **settings)
    logits, labels = batch
    labels = labels.double()
    for value, line in ((3, "3, but there are 3 classes"), (-1, "-1"), (0.5, "0.5, which is not")):
        labels[1, 0, 2, 2] = value
        assert f"labels: hold {line}" in refused(loss, logits, labels_for(loss, labels))


@pytest.mark.slow
@pytest.mark.parametrize("name", MENU)
def test_label_that_is_no_class_never_becomes_a_number_when_compiled(name):
    """The device raises, since a compiled graph cannot look at values."""
    torch.compiler.reset()
    compiled = torch.compile(METHODS[name](**MENU[name].settings), backend="eager", fullgraph=True)
    logits, labels = torch.randn(1, 3, 4, 5), torch.zeros(1, 1, 4, 5)
    compiled(logits, labels)
    for value in (3, -1, 0.5):
        labels[0, 0, 2, 2] = value
        with pytest.raises((RuntimeError, IndexError)):
            compiled(logits, labels)


@every_loss
def test_shapes_that_do_not_fit_are_refused(item, settings, batch):
    """Labels of another size with both shapes, label maps per class by their sums, and no voxel."""
    loss = build(item, **settings)
    logits, labels = batch
    wrong = labels[..., :-1] if not isinstance(loss, losses.DeepSupervisionLoss) else labels[:1]
    assert "shape" in refused(loss, logits, labels_for(loss, wrong))
    if not getattr(loss, "needs_image", False):
        line = "labels: have a channel per class, which hold"
        assert refused(loss, logits, labels.expand_as(logits)).startswith(line)
    for empty in (slice(0), (..., slice(0))):  # whose mean would be NaN
        line = "without a voxel; leave empty batches out"
        assert line in refused(loss, logits[empty], labels_for(loss, labels[empty]))


@pytest.mark.parametrize("name", MENU)
def test_pages_of_the_recipe_name_every_loss_of_the_menu(name):
    """By its name in the menu, or by that of its class."""
    pages = re.findall(r'title="(docs/.*?)"', RECIPE)

    assert RECIPE.startswith("Add a loss\n")
    assert len(pages) > 1
    for page in pages:
        text = (ROOT / page).read_text(encoding="utf-8")
        assert f"`{name}`" in text or f"`{METHODS[name].__name__}`" in text, page
