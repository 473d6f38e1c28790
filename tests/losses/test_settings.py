"""A loss refuses settings, inputs and calls that cannot be meant in one line that names them."""

import inspect
import math

import pytest
import torch

import nacl_monai
from nacl_monai import losses, metrics
from nacl_monai.losses.inputs import check_inputs, split_image, voxel_mean
from nacl_monai.losses.sdc import OPERATIONS
from tests.conftest import refused
from tests.same import same_bits, same_values

NOT_NEGATIVE = "0 or more"
BOTH = "cross_entropy_weight, dice_weight"
WEIGHTS = "weights of 0 or more, not all of them 0"
ODD = "an odd number, 3 or more"
#: For each loss, settings that cannot be used, and what its message says: key, value and remedy.
REFUSED = {
    "CrossEntropyLoss": [
        ("class_weights", bad, WEIGHTS)
        for bad in ([1.0, -1.0, 1.0], [0.0, 0.0, 0.0], [1.0, math.nan, 1.0])
    ],
    "DiceCELoss": [("class_weights", [1.0, -1.0, 1.0], WEIGHTS)],
    "DicePlusPlusLoss": [
        *(("gamma", bad, "1 or more") for bad in (0.9, math.nan)),
        *(("false_positive_weight", bad, "a number from 0 to 1") for bad in (-0.1, 1.1, math.nan)),
        *(("cross_entropy_weight", bad, NOT_NEGATIVE) for bad in (-0.1, math.nan)),
    ],
    "ECPLoss": [("entropy_weight", bad, NOT_NEGATIVE) for bad in (-0.1, math.nan)],
    "MbLSLoss": [("penalty_weight", bad, NOT_NEGATIVE) for bad in (-0.1, math.nan)],
    "DCALoss": [("penalty_weight", bad, NOT_NEGATIVE) for bad in (-0.1, math.nan)],
    "NACLLoss": [
        ("class_weights", [1.0, -1.0, 1.0], WEIGHTS),
        *(("dice_weight", bad, NOT_NEGATIVE) for bad in (-0.1, math.nan)),
        ("penalty_weight", -0.1, NOT_NEGATIVE),
        *(("kernel_size", bad, ODD) for bad in (1, 2, 3.0, [1, 1])),
        *(("sigma", bad, "0.1 voxels or more") for bad in (0.09, math.nan, [1.0, 0.01])),
        ("width_mm", -1, "a positive number of mm"),
        ("prior", "median", "one of mean, gaussian, blur, bilateral"),
        ("border", "zeros", "one of valid, replicate"),
        ("intensity_sigma", 0.0, "a positive number"),
        ("penalty", "l3", "one of l1, l2, log_barrier"),
        ("sharpness", 0.0, "a positive number"),
        ("space", "probabilities", "one of logits, softmax"),
        ("where", "inside", "one of everywhere, mixed"),
        ("mean_over", "none", "one of all, mixed"),
        ("mean_over", "mixed", "where='mixed' with it, or leave it out"),
    ],
    "FocalLoss": [("gamma", bad, NOT_NEGATIVE) for bad in (-0.1, math.nan)],
    "LabelSmoothingLoss": [("label_smoothing", bad, "0 to 1") for bad in (-0.1, 1.1, math.nan)],
    "SDCLoss": [
        *(("morphology_weight", bad, NOT_NEGATIVE) for bad in (-0.1, math.nan)),
        *(("distance_weight", bad, NOT_NEGATIVE) for bad in (-0.1, math.nan)),
        ("morphology", "thinning", f"one of {', '.join(OPERATIONS)}"),
        ("kernel_size", 2, ODD),
    ],
    "CRaCLoss": [
        *(("margin", bad, "a positive number") for bad in (0, math.nan)),
        ("kernel_size", 4, ODD),
    ],
    "SVLSLoss": [
        ("kernel_size", 4, ODD),
        ("sigma", 0.0, "0.1 voxels or more"),
        ("border", "zeros", "one of valid, replicate"),
    ],
    "ML1ACELoss": [
        ("binning", "fuzzy", "one of hard, soft"),
        *(("num_bins", bad, "a whole number, 1 or more") for bad in (0, 2.5, 20.0)),
        *(("penalty_weight", bad, NOT_NEGATIVE) for bad in (-0.1, math.nan)),
    ],
}
#: The function of each module: ``NAME_loss`` or ``NAME`` in ``NAME.py``.
FUNCTIONS = {
    name: function
    for name in losses.__all__
    for stem in [inspect.getmodule(getattr(losses, name)).__name__.rpartition(".")[2]]
    for function in (f"{stem}_loss", stem)
    if name.endswith("Loss") and function in losses.__all__
}
#: The penalty of a module, where it is not called as that is.
PENALTY_OF = {"NACLLoss": "NeighborhoodPenalty", "SDCLoss": "MorphologyPenalty"}
PENALTIES = [name for name in losses.__all__ if name.endswith("Penalty") and "_" not in name]
PENALTIES = [name for name in PENALTIES if name not in ("Penalty", "LearnedPenalty")]


def arguments_of(name):
    return inspect.signature(getattr(losses, name)).parameters


@pytest.mark.parametrize(
    ("name", "key", "value", "remedy"),
    [(name, *refused) for name, table in REFUSED.items() for refused in table],
)
def test_module_function_and_penalty_refuse_a_setting_by_its_name(batch, name, key, value, remedy):
    """A module when it is made, a function when it is called, a penalty where it has that setting."""
    makers = [
        lambda: getattr(losses, name)(**{key: value}),
        lambda: getattr(losses, FUNCTIONS[name])(*batch, **{key: value}),
    ]
    penalty = PENALTY_OF.get(name, name.replace("Loss", "Penalty"))
    if key in inspect.signature(getattr(losses, penalty, losses.Penalty)).parameters:
        makers.append(lambda: getattr(losses, penalty)(**{key: value}))
    for make in makers:
        assert refused(make) == f"{key}: is {value!r}; pass {remedy}"


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("weight", [-0.1, math.nan])
def test_weight_of_a_penalty_is_not_negative(name, weight):
    """Whoever has it in a configuration is told its key."""
    assert refused(getattr(losses, name), weight=weight) == f"weight: is {weight}; pass 0 or more"


@pytest.mark.parametrize("weights", [(-1.0, 1.0), (1.0, -0.5), (0.0, 0.0)])
def test_weights_of_cross_entropy_and_dice_are_not_negative_and_not_both_zero(batch, weights):
    """A training would raise what it is to lower; zeros leave nothing to learn."""
    settings = dict(zip(BOTH.split(", "), weights, strict=True))
    for make, *arguments in ([losses.DiceCELoss], [losses.dice_ce_loss, *batch]):
        line = f"{BOTH}: is {list(weights)}; pass {WEIGHTS}"
        assert refused(make, *arguments, **settings) == line


@pytest.mark.parametrize("name", [*FUNCTIONS, *PENALTIES])
def test_every_setting_is_printed_as_it_would_be_passed(name):
    """Of a loss that is composed, by its parts; what the others print evaluates to them again."""
    settings = {key: parameter.default for key, parameter in arguments_of(name).items()}
    settings |= {"ignore_index": 255}
    module = getattr(losses, name)(**settings)
    printed = repr(module)

    weights = {"entropy_weight", "penalty_weight", "morphology_weight", "distance_weight"}
    for key, value in settings.items():
        if not isinstance(module, losses.ComposedLoss) or key not in {*weights, "dice_weight"}:
            assert f"{key}={value!r}" in printed
        elif key in weights:
            assert f"weight={value!r}" in printed
    if not isinstance(module, losses.ComposedLoss):
        assert repr(eval(f"losses.{printed}")) == printed


WEIGHTED = [name for name in FUNCTIONS if "class_weights" in arguments_of(name)]


@pytest.mark.parametrize("name", WEIGHTED)
def test_class_weights_are_cross_entropys(batch, name):
    """They change cross-entropy and leave all other terms alone, in module and function."""
    weights = [1.0, 2.0, 5.0]
    plain, loss = getattr(losses, name)(), getattr(losses, name)(class_weights=weights)
    plain(*batch)
    value = loss(*batch)
    entropy = losses.CrossEntropyLoss(class_weights=weights)(*batch)

    of_function = getattr(losses, FUNCTIONS[name])(*batch, class_weights=weights)
    same_bits(of_function, value, "the module calls its function")
    assert loss.latest_terms.pop("cross_entropy") == entropy
    assert plain.latest_terms.pop("cross_entropy") != entropy
    assert loss.latest_terms == plain.latest_terms


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("CrossEntropyLoss", ["cross_entropy"]),
        ("LabelSmoothingLoss", ["cross_entropy"]),
        ("SVLSLoss", ["cross_entropy"]),
        ("FocalLoss", ["focal"]),
        ("DiceCELoss", ["cross_entropy", "dice"]),
        ("DicePlusPlusLoss", ["dice_plus_plus"]),
        ("NACLLoss", ["cross_entropy", "penalty"]),
        ("ML1ACELoss", ["cross_entropy", "dice", "penalty"]),
        ("SDCLoss", ["cross_entropy", "penalty", "penalty_2"]),
    ],
)
def test_terms_have_the_names_that_curves_show(batch, name, terms):
    """In their order."""
    assert list(getattr(losses, name)().terms(*batch)) == terms


def test_ignored_values_may_be_infinite():
    """What is ignored reaches neither the mean nor its gradient."""
    values = torch.tensor([[[1.0, torch.inf, torch.nan]]], requires_grad=True)
    mean = voxel_mean(values, torch.tensor([[0, 9, 9]]), 9)
    mean.backward()

    assert mean == 1
    same_values(values.grad, torch.tensor([[[1.0, 0.0, 0.0]]]))


@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (2, 4, 4), (2, 3, 4, 4, 4)])
def test_labels_without_image_are_refused(shape):
    """Labels of one channel, without channel, or with another number of axes carry no image."""
    assert refused(split_image, torch.zeros(shape), 4) == (
        f"labels: have the shape {shape}, but prior 'bilateral' needs the image; "
        "pass (batch, 1 + image channels, *spatial): the class indices, then the image"
    )


@pytest.mark.parametrize("value", [7, -1, 0.5])
def test_the_device_checks_values_while_compiling(monkeypatch, value):
    """The check of values waits for the device, which would break a compiled graph."""
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    logits, labels = torch.zeros(1, 2, 3), torch.tensor([[0.0, 1.0, value]])

    with pytest.raises(RuntimeError, match="labels: hold a value that is not a class"):
        check_inputs(logits, labels, None)
    if value == 7:
        check_inputs(logits, labels, 7)


ANY_LOSS = [name for name in losses.__all__ if name.endswith("_loss") or name == "cross_entropy"]
ERRORS = [name for name in metrics.__all__ if name.endswith(("_error", "_gap", "_score"))]
ERRORS = [*ERRORS, "negative_log_likelihood"]
ERRORS = [name for name in ERRORS if not name.startswith("pooled_")]  # which take bins
LOGITS = torch.randn(2, 3, 8, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(3, (2, 1, 8, 6), generator=torch.Generator().manual_seed(1))
PROBS = LOGITS.softmax(1)


#: Every loss and every metric of probabilities, with the word for what it takes.
CALLS = [
    *(pytest.param(getattr(losses, name), LOGITS, "logits", id=name) for name in ANY_LOSS),
    *(pytest.param(getattr(metrics, name), PROBS, "probs", id=name) for name in ERRORS),
]


@pytest.mark.parametrize(("function", "outputs", "word"), CALLS)
def test_mistake_is_one_line_with_its_remedy(function, outputs, word):
    """A dictionary, a generator, channels last, one sigmoid channel, a label that is no class."""
    function(outputs, LABELS)

    assert refused(function, {"out": outputs}, LABELS) == (
        f"{word}: are a dict, not a tensor; pass the tensor in it, as {word}['out']"
    )
    assert refused(function, (output for output in outputs), LABELS) == (
        f"{word}: are a generator, not a tensor; pass one batch after the other"
    )
    for labels in (LABELS, LABELS[:, 0]):
        line = f"so that the classes are last; pass {word}.movedim(-1, 1)"
        assert refused(function, outputs.movedim(1, -1), labels).endswith(line)
    line = "one channel, as of a sigmoid; pass at least 2 classes, background first: torch.cat(["
    assert line in refused(function, outputs[:, :1], LABELS.clamp_max(1))
    if "penalty" not in function.__name__:
        assert "ignore_index=255" in refused(function, outputs, LABELS.where(LABELS != 2, 255))


@pytest.mark.parametrize("name", ANY_LOSS)
def test_arrays_are_for_metrics(name):
    """A loss has a gradient, which NumPy knows nothing of."""
    function = getattr(losses, name)
    assert refused(function, LOGITS.numpy(), LABELS).endswith("pass torch.as_tensor(logits)")
    assert refused(function, LOGITS, LABELS.numpy()).endswith("pass torch.as_tensor(labels)")


def test_label_to_be_ignored_is_an_option_of_arrays_alone():
    """``dataset.json`` says it of folders."""
    line = refused(nacl_monai.audit, "predictions", "labels", ignore_index=255)
    assert "ignore_index: is an option for arrays alone" in line
