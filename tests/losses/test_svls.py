"""SVLS, and the paper's reading of it as a constraint."""

import pytest
import torch

from nacl_monai.errors import InputError
from nacl_monai.losses import CrossEntropyLoss, SVLSLoss, svls_loss


def neighbors_only(reference, sigma, radius, dims):
    """SVLS's weights without the center: those of the constraint's τ in equation 6."""
    weight = reference.svls_weight(sigma, radius, dims)
    return lambda j, i: 0.0 if i == j else weight(j, i)


@pytest.mark.parametrize("ignore_index", [None, 1])
@pytest.mark.parametrize("border", ["valid", "replicate"])
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_equals_the_loop(reference, batch, kernel_size, border, ignore_index):
    """Equation 3: cross-entropy with labels smoothed over the neighborhood."""
    logits, labels = batch
    radius, dims = kernel_size // 2, logits.ndim - 2
    weight = reference.svls_weight(2.0, radius, dims)
    smoothed = torch.stack(
        [reference.proportions(y[0], 3, weight, border, ignore_index, radius) for y in labels]
    )
    entropy = -(smoothed * logits.log_softmax(1)).sum(1, keepdim=True)
    expected = entropy[labels != ignore_index if ignore_index is not None else labels >= 0].mean()
    loss = SVLSLoss(kernel_size=kernel_size, border=border, ignore_index=ignore_index)

    torch.testing.assert_close(loss(logits, labels), expected)


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_value_is_that_of_equations_6_and_7(reference, batch, kernel_size):
    """SVLS is half of CE + KL(τ ‖ p) plus a constant, the entropy of the neighbors' τ.

    Equation 6 holds exactly, with the cross-entropy of p relative to τ as its constraint; equation
    7 replaces that by KL, so its values differ by a constant, and its gradients not at all.
    """
    logits, labels = batch
    radius, dims = kernel_size // 2, logits.ndim - 2
    weight = neighbors_only(reference, 2.0, radius, dims)
    tau = torch.stack(
        [reference.proportions(y[0], 3, weight, "replicate", None, radius) for y in labels]
    )
    logits.requires_grad_()
    svls = 2 * SVLSLoss(kernel_size=kernel_size)(logits, labels)
    base = CrossEntropyLoss()(logits, labels)
    log_p = logits.log_softmax(1)
    equation_6 = base - (tau * log_p).sum(1).mean()
    equation_7 = base + (torch.xlogy(tau, tau) - tau * log_p).sum(1).mean()
    constant = -torch.xlogy(tau, tau).sum(1).mean()

    torch.testing.assert_close(svls, equation_6)
    torch.testing.assert_close(svls, equation_7 + constant)
    for equation in (equation_6, equation_7):
        torch.testing.assert_close(
            *(torch.autograd.grad(x, logits, retain_graph=True) for x in (svls, equation))
        )


def test_equals_cross_entropy_on_a_constant_map():
    """Without a boundary there is nothing to smooth."""
    logits, labels = torch.randn(1, 3, 6, 6), torch.ones(1, 1, 6, 6)

    torch.testing.assert_close(SVLSLoss()(logits, labels), CrossEntropyLoss()(logits, labels))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_size": 4}, "kernel_size: is 4; pass an odd number, 3 or more"),
        ({"sigma": 0.0}, "sigma: is 0.0; pass 0.1 voxels or more"),
        ({"border": "zeros"}, "border: is 'zeros'; pass one of valid, replicate"),
    ],
)
def test_unusable_settings_are_refused(batch, settings, message):
    """Module and function name the setting."""
    for make in (lambda: SVLSLoss(**settings), lambda: svls_loss(*batch, **settings)):
        with pytest.raises(InputError) as caught:
            make()
        assert str(caught.value) == message


@pytest.mark.parametrize(
    "settings",
    [{"kernel_size": 5}, {"sigma": 0.5}, {"border": "valid"}, {"ignore_index": 1}],
    ids=str,
)
def test_every_setting_matters_alike_to_module_and_function(batch, settings):
    """A setting changes the value, and by the same amount in both."""
    value = svls_loss(*batch, **settings)

    assert torch.equal(SVLSLoss(**settings)(*batch), value)
    assert not torch.isclose(svls_loss(*batch), value)


def test_settings_are_printed():
    """What is printed is what would be passed."""
    default = "SVLSLoss(kernel_size=3, sigma=2.0, border='replicate', ignore_index=None)"
    assert repr(SVLSLoss()) == default
    loss = "SVLSLoss(kernel_size=5, sigma=1.0, border='valid', ignore_index=255)"
    assert repr(eval(loss)) == loss


def test_term_is_named_cross_entropy(batch):
    """Curves show one term."""
    assert list(SVLSLoss().terms(*batch)) == ["cross_entropy"]


def test_double_precision_is_kept(reference, batch):
    """For logits in float64, the smoothed labels are in float64 as well."""
    logits, labels = batch
    weight = reference.svls_weight(2.0, 1, logits.ndim - 2)
    smoothed = torch.stack([reference.proportions(y[0], 3, weight, "replicate") for y in labels])
    expected = -(smoothed * logits.log_softmax(1)).sum(1).mean()

    torch.testing.assert_close(svls_loss(logits, labels), expected, rtol=1e-13, atol=0)
