"""The fit finds the temperature that was put into the logits, and says when there is none."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from nacl_monai.errors import InputError
from nacl_monai.posthoc import RegionLogits, fit_temperature
from nacl_monai.posthoc.fit import mean_nll


def drawn(temperature, foreground=0.5, voxels=400_000, seed=0):
    """Logits and labels that are drawn from their softmax, after which the logits are multiplied.

    Voxels of the background are certain and right.
    """
    rng = np.random.default_rng(seed)
    logits = 3 * rng.standard_normal((3, voxels))
    logits[0, rng.random(voxels) > foreground] += 60
    probs = torch.softmax(torch.from_numpy(logits), 0).numpy()
    labels = (rng.random(voxels) > probs.cumsum(0)).sum(0).clip(max=2)
    return torch.from_numpy(temperature * logits)[:, :, None], torch.from_numpy(labels)[
        None, :, None
    ]


@contextmanager
def collected(*volumes, region="all"):
    """The voxels of volumes, each of another patient."""
    with RegionLogits(region) as voxels:
        for number, (logits, labels) in enumerate(volumes):
            voxels.add(logits, labels, f"patient{number}")
        yield voxels


def fitted(*volumes, region="all"):
    """The fit on volumes, each of another patient."""
    with collected(*volumes, region=region) as voxels:
        return fit_temperature(voxels)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("foreground", [0.5, 0.01])
def test_temperature_that_was_put_in_is_found(temperature, foreground):
    """From one percent of foreground as from half; the error is that of the draw."""
    fit = fitted(drawn(temperature, foreground, voxels=1_000_000))

    assert fit.temperature == pytest.approx(temperature, rel=0.01 if foreground > 0.1 else 0.05)
    assert fit.nll <= fit.nll_before


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 5))
def test_no_other_temperature_has_a_smaller_nll(seed, scale):
    """An independent search over the mean NLL, computed patient by patient, ends at the same place."""
    volumes = [drawn(scale, voxels=200 + 300 * k, seed=seed + k) for k in range(3)]
    fit = fitted(*volumes)

    def slow(log):
        nll = torch.nn.functional.cross_entropy
        of_patients = [nll(logits[None] / np.exp(log), labels).item() for logits, labels in volumes]
        return np.mean(of_patients)

    found = minimize_scalar(
        slow, bounds=(np.log(0.01), np.log(100)), method="bounded", options={"xatol": 1e-9}
    )
    assert fit.temperature == pytest.approx(np.exp(found.x), rel=1e-4)
    assert fit.nll == pytest.approx(found.fun, rel=1e-7)
    assert fit.nll_before == pytest.approx(slow(0.0), rel=1e-6)


def test_fit_names_what_it_saw():
    """The patients, so that none of them is tested; the region, which is part of the method's name."""
    fit = fitted(drawn(2.0, voxels=500), drawn(2.0, voxels=700), region="union")

    assert fit.region == "union"
    assert fit.patients == ("patient0", "patient1")
    assert 0 < fit.voxels < 1200


def test_mean_is_over_patients():
    """A patient of a thousand voxels counts as much as one of ten."""
    small, large = drawn(1.0, voxels=10), drawn(1.0, voxels=1000, seed=1)

    def nll(*volumes):
        with collected(*volumes) as voxels:
            return mean_nll(voxels, 1.0)

    assert nll(small, large) == pytest.approx((nll(small) + nll(large)) / 2)


def uniform(label):
    """A volume with the same logits in every voxel, of which class 0 has the largest."""
    logits = torch.tensor([5.0, 1.0, -1.0])[:, None, None].expand(3, 4, 4)
    return logits, torch.full((1, 4, 4), label)


def test_where_every_voxel_is_right_there_is_no_fit():
    """Colder is always better there, and the coldest would be certain of whatever it is shown."""
    with pytest.raises(InputError, match="temperature: none .* since colder is always better"):
        fitted(uniform(0))


def test_where_the_logits_are_worse_than_chance_the_hottest_is_taken():
    """Hotter is always better there, and the hottest is nearly uniform."""
    fit = fitted(uniform(2))

    assert (fit.temperature, fit.at_end) == (100.0, True)
    assert fit.nll == pytest.approx(np.log(3), abs=0.05)
    assert fit.nll < fit.nll_before


def test_a_best_temperature_is_not_at_the_end():
    """The flag is for the end of the range alone."""
    assert not fitted(drawn(2.0, voxels=500)).at_end


def test_empty_region_is_refused():
    """No patient has a foreground."""
    logits, labels = drawn(1.0, voxels=10)

    with pytest.raises(InputError, match="region foreground: has no voxel in any patient"):
        fitted((logits, torch.zeros_like(labels)), region="foreground")
