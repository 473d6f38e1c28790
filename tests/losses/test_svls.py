"""SVLS, and the paper's reading of it as a constraint."""

import pytest
import torch

from nacl_monai.losses import CrossEntropyLoss, SVLSLoss


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
