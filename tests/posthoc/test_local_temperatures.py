"""Local temperatures: every voxel has its own, which logits and image decide."""

import math

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate

from nacl_monai.errors import InputError
from nacl_monai.inference import Behind
from nacl_monai.posthoc import LocalTemperatures, RegionLogits, fit_local_temperatures, fit_method
from nacl_monai.posthoc.voxels import REACH
from tests.same import same_values


def weights(seed=0, hidden=2, seen=4, size=3, scale=0.5):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"first": (hidden, seen, size, size), "first_bias": (hidden,)}
    shapes |= {"second": (1, hidden, size, size), "second_bias": (1,)}
    return {
        name: (scale * torch.randn(shape, generator=generator)).tolist()
        for name, shape in shapes.items()
    }


LOGITS = 5 * torch.randn(2, 3, 6, 7, generator=torch.Generator().manual_seed(1))
IMAGE = torch.randn(2, 1, 6, 7, generator=torch.Generator().manual_seed(2))


def slow(temperature, first, first_bias, second, second_bias):
    """The definition by SciPy, with zeros around the slice."""

    def convolved(maps, kernels, biases):
        for kernel, bias in zip(np.array(kernels), biases, strict=True):
            seen = zip(maps, kernel, strict=True)
            yield bias + sum(correlate(channel, part, mode="constant") for channel, part in seen)

    found = []
    for logits, image in zip(LOGITS.double().numpy(), IMAGE.double().numpy(), strict=True):
        scaled = logits / temperature
        seen = np.concatenate([scaled - np.log(np.exp(scaled).sum(0)), image])
        hidden = [channel.clip(0) for channel in convolved(seen, first, first_bias)]
        (offset,) = convolved(hidden, second, second_bias)
        found.append(scaled / np.exp(offset.clip(-math.log(10), math.log(10))))
    return torch.tensor(np.array(found))


@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_every_voxel_has_the_temperature_of_the_definition(scale):
    """Within the bound as beyond it."""
    parameters = weights(scale=scale)
    found = LocalTemperatures(1.7, **parameters)(LOGITS, IMAGE)

    torch.testing.assert_close(found.double(), slow(1.7, **parameters), rtol=1e-4, atol=1e-4)


@given(st.integers(0, 1000), st.floats(0.1, 10))
@settings(max_examples=20, deadline=None)
def test_label_maps_stay(seed, temperature):
    """All classes of a voxel share its temperature."""
    found = LocalTemperatures(temperature, **weights(seed, scale=2.0))(LOGITS, IMAGE)

    same_values(found.argmax(1), LOGITS.argmax(1))


def test_half_precision_stays():
    """As the logits of a network in half precision."""
    module = LocalTemperatures(2.0, **weights())

    found = module(LOGITS.bfloat16(), IMAGE.bfloat16())

    assert found.dtype == torch.bfloat16
    # Bfloat16 has three digits, and a sum of them.
    torch.testing.assert_close(found.float(), module(LOGITS, IMAGE), rtol=0.1, atol=0.3)


def test_volume_is_scaled_slice_by_slice():
    """As it was fitted; scripted as well."""
    module = LocalTemperatures(1.5, **weights())
    volume, image = (torch.stack([plane, plane + 1, 2 * plane], -1) for plane in (LOGITS, IMAGE))
    expected = torch.stack([module(volume[..., d], image[..., d]) for d in range(3)], -1)

    for version in (module, torch.jit.script(module)):
        torch.testing.assert_close(version(volume, image), expected)


def test_image_is_needed():
    """Logits alone are not enough."""
    with pytest.raises(ValueError, match="image: local temperatures need the image"):
        LocalTemperatures(1.0, **weights())(LOGITS)


@pytest.mark.slow
def test_onnx_is_the_same(tmp_path):
    """Behind a network, as models are shipped."""
    torch.manual_seed(0)
    whole = Behind(torch.nn.Conv2d(1, 3, 3, padding=1), LocalTemperatures(2.0, **weights())).eval()
    torch.onnx.export(whole, (IMAGE,), tmp_path / "m.onnx", input_names=["image"])
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")

    (found,) = session.run(None, {"image": IMAGE.numpy()})

    torch.testing.assert_close(torch.from_numpy(found), whole(IMAGE), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"first": [[[[1.0]]]]},
        {"second_bias": [0.0, 1.0]},
        {"first_bias": [0.0, math.nan]},
        {"temperature": 0.0},
    ],
)
def test_weights_that_do_not_fit_are_refused(change):
    """They are of another calibrator, or damaged."""
    with pytest.raises(InputError):
        LocalTemperatures(**{"temperature": 1.0, **weights(), **change})


def volume(seed, shape=(24, 20, 5)):
    """Logits that are too large by a factor that the image tells: 4 where it is 1, and 1 where 0."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(3, *shape, generator=generator)
    labels = torch.multinomial(logits.softmax(0).flatten(1).T, 1, generator=generator)
    image = torch.zeros(1, *shape)
    image[:, : shape[0] // 2] = 1
    return logits * (1 + 3 * image), labels.T.reshape(1, *shape), image


@pytest.fixture(scope="module")
def volumes():
    """The voxels of two patients."""
    with RegionLogits("all") as voxels:
        for seed in range(2):
            logits, labels, image = volume(seed, (40, 36, 8))
            voxels.add(logits, labels, f"patient{seed}", image=image)
        yield voxels


@pytest.fixture(scope="module")
def local(volumes):
    return fit_method("local_temperatures", volumes)


def test_temperature_that_the_image_tells_is_found(local):
    """On a patient that nobody has seen: 4 in one half, 1 in the other; the error is of the draw."""
    module = local.module
    logits, _, image = volume(7)
    found = module(logits.movedim(-1, 0), image.movedim(-1, 0)).movedim(0, -1)

    temperatures = (logits.norm(dim=0) / found.norm(dim=0))[[4, 18]]
    assert temperatures[0].median() == pytest.approx(4, rel=0.15)  # chance, of a few images
    assert temperatures[1].median() == pytest.approx(1, rel=0.15)  # chance, of a few images


def test_fit_is_no_worse_than_one_temperature(volumes, local):
    """It begins there; no class changes."""
    single = fit_method("temperature", volumes)

    assert local.nll < single.nll < single.nll_before
    assert local.nll_before == pytest.approx(single.nll_before, rel=1e-5)
    assert local.moved == 0
    found = f"temperature {local.parameters['temperature']:.4g} over 2 patients, NLL "
    assert local.text().startswith(found)  # of its network nothing is printed


def test_what_is_cut_off_around_a_region_changes_nothing():
    """The NLL of the fit is that of whole slices, patient by patient."""
    cases = [volume(seed, (30, 26, 4)) for seed in range(2)]
    for logits, labels, _ in cases:
        labels[:, :12], labels[:, -9:], labels[:, :, -8:] = 0, 0, 0
        logits[0, :12] += 50
    with RegionLogits("foreground") as voxels:
        for number, (logits, labels, image) in enumerate(cases):
            voxels.add(logits, labels, f"patient{number}", image=image)
        shapes = [volume.logits.shape[2:] for volume in voxels.volumes()]
        fit = fit_method("local_temperatures", voxels)

    assert all(height <= 9 + 2 * REACH and width <= 18 + REACH for height, width in shapes)
    nll = []
    for logits, labels, image in cases:
        after = fit.module(logits.movedim(-1, 0), image.movedim(-1, 0)).movedim(1, -1)
        of_slices = labels[0].movedim(-1, 0)
        kept = of_slices > 0
        nll.append(F.cross_entropy(after[kept], of_slices[kept]).item())
    assert fit.nll == pytest.approx(np.mean(nll), rel=1e-5)


def test_image_must_have_been_added():
    """One line names the patient."""
    logits, labels, _ = volume(0)
    with RegionLogits("all") as voxels:
        voxels.add(logits, labels, "p7")
        with pytest.raises(InputError, match="image of p7: is missing"):
            fit_local_temperatures(voxels)
