"""Images are changed as each change says, and alike for the same case."""

import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import gaussian_filter

from studies.shift.__main__ import NUMBERS, means, strongest
from studies.shift.corruptions import CHANGES, Corrupt, blur, ghosting, noise
from tests.same import same_bits
from tests.studies.pages import RESULTS

SPACING = (1.0, 1.0, 2.0)


def case(name="a"):
    rng = np.random.default_rng(0)
    voxels = gaussian_filter(rng.normal(size=(24, 20, 12)), 2)[None].astype(np.float32)
    image = MetaTensor(
        torch.from_numpy(voxels * 300 + 900), affine=torch.diag(torch.tensor([*SPACING, 1.0]))
    )
    return {"image": image, "case": name}


def test_clean_images_stay_as_they_are():
    clean = case()

    assert Corrupt("", 0)(clean) is clean


@pytest.mark.parametrize("kind", CHANGES)
def test_every_degree_changes_the_image_more_and_the_same_case_alike(kind):
    """In the range of its intensities, on its grid; another case is changed by other chances."""
    clean = case()
    image = clean["image"].as_tensor()
    changed = [Corrupt(kind, degree)(clean)["image"] for degree in (1, 2, 3, 4)]

    distances = [float((degraded.as_tensor() - image).abs().mean()) for degraded in changed]
    assert distances == sorted(distances)
    assert distances[0] > 0
    for degraded in changed:
        same_bits(degraded.affine, clean["image"].affine, "nothing computes it")
    again = Corrupt(kind, 3)(case())["image"]
    same_bits(again.as_tensor(), changed[2].as_tensor(), "the same chances")
    other = Corrupt(kind, 3)(case("b"))["image"]
    assert bool((other.as_tensor() == changed[2].as_tensor()).all()) != (
        kind in ("noise", "bias field")
    )


def test_noise_has_its_share_of_the_range():
    image = torch.zeros(1, 40, 40, 40)

    # Chance, of 64,000 voxels.
    assert float(noise(image, SPACING, 1, 0.1).std()) == pytest.approx(0.1, rel=0.02)


def test_blur_is_in_mm():
    """A point becomes as wide, along every axis; that of a voxel itself is 1/12."""
    image = torch.zeros(1, 31, 31, 31)
    image[0, 15, 15, 15] = 1

    blurred = blur(image, SPACING, 1, 3.0)[0]
    for axis, size in enumerate(SPACING):
        other_axes = [other for other in range(3) if other != axis]
        steps = (torch.arange(31) - 15) * size
        variance = float((blurred.sum(other_axes) * steps**2).sum() / blurred.sum())
        assert variance == pytest.approx(9 + size**2 / 12, rel=0.05)  # the window ends


def test_ghosts_are_copies_a_quarter_of_the_image_away():
    """A weakened fourth line is the image minus its mean over four shifts; the mean stays."""
    image = torch.rand(1, 6, 16, 5, generator=torch.Generator().manual_seed(0))
    shifted = sum(image.roll(4 * k, 2) for k in range(4)) / 4
    expected = image - 0.6 * (shifted - shifted.mean(2, keepdim=True))

    assert torch.allclose(ghosting(image, SPACING, 1, 0.6), expected, atol=1e-6)


def test_trainings_of_a_method_are_averaged():
    """Change by change, clean images too, whose change has no name in a file."""
    rows = [
        {"method": "nacl", "seed": seed, "kind": kind, "degree": degree}
        | dict.fromkeys(NUMBERS, value)
        for seed, value in ((0, 0.1), (1, 0.3))
        for kind, degree in ((np.nan, 0), ("noise", 4))
    ]

    found = means(pd.DataFrame(rows))

    assert list(found["kind"]) == ["", "noise"]
    assert np.allclose(found[list(NUMBERS)], 0.2)


@pytest.mark.parametrize(
    ("study", "numbers", "methods"),
    [
        ("hippocampus/penalty", "shift.csv", 8),
        ("hippocampus/distance/shift", "shift.csv", 20),
        ("acdc/penalty", "all_patients/shift.csv", 9),
    ],
)
def test_page_shows_the_committed_numbers(study, numbers, methods):
    """Error near the prediction, what the contour misses and NLL, a row for each method."""
    page = (RESULTS / study / "README.md").read_text(encoding="utf-8")

    head, _, *rows = strongest(pd.read_csv(RESULTS / study / numbers)).splitlines()
    assert head in page
    assert len(rows) == methods
    assert all(row.replace("_", " ") in page for row in rows)


def test_verdicts_on_the_page_are_those_of_the_tests():
    """What it counts and what it says of the bias field and of NACL."""
    tests = pd.read_csv(RESULTS / "hippocampus/distance/shift/tests.csv", keep_default_na=False)
    behind = tests[tests["family"] != "choice"]
    near = behind["method"].str.endswith("temperature_near") & (behind["metric"] == "ece_near")
    decisions = behind[near]["decision"].value_counts()
    assert decisions[["better", "slightly better", "equivalent"]].sum() == 26
    assert (decisions["slightly worse"], decisions.sum()) == (1, 35)

    nll = behind[behind["metric"] == "nll_all"]
    worse = nll[nll["decision"] == "worse"]
    assert set(worse["kind"]) == {"bias field"}
    assert set(worse["method"]) == {"cross_entropy+temperature_near", "svls+temperature_near"}
    assert (nll[nll["kind"] != "bias field"]["decision"].str.endswith("better")).all()
    own = behind[(behind["method"] == "nacl") & (behind["metric"] == "ece_near")]
    kinds = set(own[own["decision"] == "worse"]["kind"])
    assert kinds == {"noise", "blur", "bias field", "gamma", "resolution"}
