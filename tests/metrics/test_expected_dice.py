"""Expected Dice, of a case without a label; `test_decisions` has the loop that measures it."""

import pytest
import torch
from metric_samples import random_case

from nacl_monai.errors import InputError
from nacl_monai.metrics import expected_dice


def test_calibrated_network_keeps_its_promise():
    """Over labels that are drawn from the probabilities, the mean Dice is the expected one."""
    probs, _ = random_case((1, 3, 40, 50), scale=3.0)
    structures = {"1": [1], "1 or 2": [1, 2]}
    promised = expected_dice(probs, structures, margin=100)[0]
    voxels, predicted = probs[0].flatten(1).T, probs[0].argmax(0).flatten()
    generator = torch.Generator().manual_seed(1)
    drawn = torch.multinomial(voxels, 300, replacement=True, generator=generator).T
    for number, classes in enumerate(structures.values()):
        chosen, true = (torch.isin(x, torch.tensor(classes)) for x in (predicted, drawn))
        dice = 2 * (true & chosen).sum(1) / (true.sum(1) + chosen.sum())
        assert dice.mean().item() == pytest.approx(promised[number].item(), abs=0.002)


def test_half_precision_is_summed_exactly():
    """A float16 sum of these voxels would end at 2048."""
    probs = torch.full((1, 2, 100, 100), 0.5, dtype=torch.float16)
    probs[:, 1] = 0.5

    # All are class 0, the first of two that tie: 2 · 5000 / (5000 + 10000).
    assert expected_dice(probs, {"a": [0]}).item() == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("probs", "structures", "said"),
    [
        (torch.tensor([[[0.5], [0.2]]]), {"a": [1]}, "sum"),
        (torch.tensor([[[0.5], [0.5]]]), {"a": [1], "b": [2]}, "b is of the classes .2.*0 to 1"),
        (torch.tensor([[[0.5], [0.5]]]), {"a": []}, "a is of the classes"),
    ],
    ids=["no probabilities", "unknown class", "no class"],
)
def test_wrong_input_is_one_line(probs, structures, said):
    """Logits, and structures that the network cannot have."""
    with pytest.raises(InputError, match=said) as refused:
        expected_dice(probs, structures)
    assert "\n" not in str(refused.value)
