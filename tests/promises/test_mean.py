"""The mean of a cohort of whom few are labeled: sums by hand, ppi-python, coverage, and the command."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean, variance

import nibabel
import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_ind

from nacl_monai.cli import main
from nacl_monai.errors import InputError
from nacl_monai.promises import read_promise
from nacl_monai.promises.mean import MIN_LABELS, Volumes, cohort_mean, known_volumes, labels_alone
from tests.promises.test_commands import PATIENTS, promised_and_new

SIMULATED = 4000


def volumes(labels, new, seed=0, bias=0.3, noise=0.2):
    """Skewed volumes, of which a network marks too much."""
    rng = np.random.default_rng(seed)
    truth = rng.lognormal(0, 0.4, labels + new)
    predicted = truth * (1 + bias) + rng.normal(0, noise, labels + new)
    return Volumes(truth[:labels], predicted[:labels], predicted[labels:])


@pytest.mark.parametrize(("labels", "new"), [(20, 21), (30, 400), (200, 2)])
def test_mean_and_error_are_sums_over_patients(labels, new):
    part = volumes(labels, new)
    errors = [y - f for y, f in zip(part.labeled, part.predicted, strict=True)]
    share = new / (new + labels)
    rest = [y - share * f for y, f in zip(part.labeled, part.predicted, strict=True)]

    found = cohort_mean(part)

    # Sums in another order differ by rounding.
    everybody = fmean([*part.predicted, *part.new])
    assert found.mean == pytest.approx(everybody + fmean(errors), rel=1e-12)
    squared = share**2 * variance(part.new) / new + variance(rest) / labels
    assert found.error**2 == pytest.approx(squared, rel=1e-12)


def test_labels_alone_and_their_difference_are_those_of_scipy():
    first, second = (volumes(*sizes, seed=seed) for seed, sizes in enumerate([(25, 9), (40, 9)]))
    expected = ttest_ind(first.labeled, second.labeled, equal_var=False)

    found = labels_alone(first, second)

    # SciPy computes the same by other sums.
    assert found.p_different() == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.interval() == pytest.approx([*expected.confidence_interval()], rel=1e-9)


def test_difference_is_that_of_both_means_with_both_errors():
    parts = [volumes(25, 90), volumes(40, 60, seed=1)]
    first, second = map(cohort_mean, parts)

    found = cohort_mean(*parts)

    # Sums in another order differ by rounding.
    assert found.mean == pytest.approx(first.mean - second.mean, rel=1e-12)
    assert found.error == pytest.approx(np.hypot(first.error, second.error), rel=1e-12)


@pytest.mark.parametrize("part", [volumes(MIN_LABELS - 1, 100), volumes(100, 1)])
def test_few_labels_or_a_single_new_patient_have_no_interval(part):
    assert np.isfinite(cohort_mean(part).mean)
    assert np.isnan(cohort_mean(part).interval()).all()
    assert np.isnan(cohort_mean(volumes(50, 50), part).interval()).all()


def test_volumes_that_are_all_alike_are_certain():
    found = cohort_mean(Volumes(np.full(20, 2.0), np.full(20, 3.0), np.full(20, 3.0)))

    assert (found.mean, found.interval()) == (2.0, (2.0, 2.0))


@pytest.mark.slow
@pytest.mark.parametrize("labels", [20, 50, 200])
def test_interval_covers_the_mean_whatever_the_network_adds(labels):
    """95 % of 4,000 cohorts, but for chance (four standard errors) and what skewed volumes take."""
    truth = np.exp(0.4**2 / 2)
    hits = narrower = 0
    for seed in range(SIMULATED):
        part = volumes(labels, 300, seed, bias=0.5)
        low, high = cohort_mean(part).interval()
        hits += low <= truth <= high
        narrower += high - low < np.subtract(*labels_alone(part).interval()[::-1])

    # Four standard errors, and a hundredth for the skew.
    assert hits / SIMULATED == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / SIMULATED) + 0.01)
    assert narrower > 0.9 * SIMULATED


@pytest.mark.nightly
def test_point_and_variance_are_those_of_ppi_python(tmp_path):
    """In an environment of its own; it divides by n and takes a normal interval."""
    part = volumes(30, 30)
    file = tmp_path / "volumes.json"
    file.write_text(json.dumps([array.tolist() for array in part]))
    code = (
        "import json, sys, numpy as np\n"
        "from ppi_py import ppi_mean_ci, ppi_mean_pointestimate\n"
        "parts = [np.array(part) for part in json.load(open(sys.argv[1]))]\n"
        "low, high = ppi_mean_ci(*parts, alpha=0.05, lam=0.5)\n"
        "point = ppi_mean_pointestimate(*parts, lam=0.5)\n"
        "print(json.dumps([float(np.squeeze(x)) for x in (point, low, high)]))\n"
    )
    command = [Path(sys.executable).with_name("uv"), "run", "--isolated", "--no-project"]
    command += ["--with", "ppi-python==0.2.3", "python", "-c", code, file]
    ran = subprocess.run(command, capture_output=True, check=True)
    point, low, high = json.loads(ran.stdout)

    found = cohort_mean(part)

    # The quantile of the normal law is 1.959964; both sums round.
    assert found.mean == pytest.approx(point, rel=1e-9)
    assert found.error * np.sqrt(29 / 30) == pytest.approx((high - low) / 2 / 1.959964, rel=1e-6)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Forty labeled cases of twenty patients with their promise, and twelve cases of six others."""
    root = tmp_path_factory.mktemp("cohort")
    _, new = promised_and_new(root, 40, 12, "--no-pictures")
    new.nnunet()
    return root


def mean(root, output, *more):
    """The exit code of the command."""
    command = ["promise", "--mean", root / "promise/promise.json", root / "new/nnunet", *PATIENTS]
    return main([*map(str, [*command, "--output", output, *more])])


def by_hand(folder, file, value):
    """Patient → the mean volume in ml over the cases, voxel by voxel."""
    found = {}
    for path in sorted(folder.glob(file)):
        image = nibabel.load(path)
        size = abs(np.linalg.det(image.affine[:3, :3])) / 1000
        count = sum(int(voxel) == value for voxel in np.asarray(image.dataobj).ravel().tolist())
        found.setdefault(path.name.split("_")[0], []).append(count * size)
    return {patient: fmean(parts) for patient, parts in found.items()}


def test_command_counts_the_voxels_of_files(cohort, tmp_path, capsys):
    groups = tmp_path / "groups.csv"
    sites = {f"p{k:02d}": "ab"[k % 2] for k in range(26)}
    groups.write_text("patient,site\n" + "".join(f"{p},{s}\n" for p, s in sites.items()))

    assert mean(cohort, tmp_path / "out", "--chosen", "random", "--groups", groups) == 0
    assert "it takes 20 labeled patients of each group" in capsys.readouterr().out

    table = pd.read_csv(tmp_path / "out/mean.csv", keep_default_na=False)
    table = table.set_index(["structure", "value"])
    for value, structure in ((1, "anterior"), (2, "posterior")):
        labeled = by_hand(cohort / "old/labels", "*.nii.gz", value)
        predicted = by_hand(cohort / "old/nnunet", "*.nii.gz", value)
        new = by_hand(cohort / "new/nnunet", "*.nii.gz", value)
        means = {}
        for site in ("", "a", "b"):
            names = [name for name in labeled if site in ("", sites[name])]
            rest = [name for name in new if site in ("", sites[name])]
            error = fmean(labeled[name] - predicted[name] for name in names)
            everybody = [predicted[name] for name in names] + [new[name] for name in rest]
            means[site] = error + fmean(everybody)
            row = table.loc[structure, site]
            # A table keeps six decimals.
            assert float(row["mean_ml"]) == pytest.approx(means[site], abs=1e-6)
            assert (int(row["labeled"]), int(row["new"])) == (len(names), len(rest))
            alone = fmean(labeled[name] for name in names)
            assert float(row["labels_alone_ml"]) == pytest.approx(alone, abs=1e-6)
        difference = table.loc[structure, "a − b"]
        assert float(difference["mean_ml"]) == pytest.approx(means["a"] - means["b"], abs=2e-6)
        assert difference["mean_low_ml"] == ""  # ten of each are too few
        assert float(table.loc[structure, ""]["mean_low_ml"]) < means[""]


def test_table_without_groups_has_no_columns_of_them(cohort, tmp_path, capsys):
    assert mean(cohort, tmp_path / "out", "--chosen", "random") == 0

    header = next(line for line in capsys.readouterr().out.splitlines() if "structure" in line)
    assert header.split()[:4] == ["structure", "labeled", "new", "mean_ml"]


@pytest.mark.parametrize("chosen", [[], ["--chosen", "all"], ["--chosen", "triage"]])
def test_labels_that_chance_has_not_drawn_are_refused(cohort, tmp_path, capsys, chosen):
    assert mean(cohort, tmp_path / "out", *chosen) == 2
    assert "chance has drawn who is labeled" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fault", ["promise.npz is not beside it", "was fitted on p00"])
def test_sums_that_are_missing_and_new_patients_who_are_labeled_are_refused(
    cohort, tmp_path, capsys, fault
):
    shutil.copytree(cohort / "promise", tmp_path / "promise")
    labeled = "fitted" in fault
    shutil.copytree(cohort / ("old" if labeled else "new") / "nnunet", tmp_path / "new/nnunet")
    if not labeled:
        (tmp_path / "promise/promise.npz").unlink()

    assert mean(tmp_path, tmp_path / "out", "--chosen", "random") == 1
    assert fault in capsys.readouterr().err


def test_volumes_of_parts_of_images_are_refused(cohort):
    """A label to ignore has taken voxels out of the sums, and out of no new prediction."""
    file = cohort / "promise/promise.json"
    promised = read_promise(file)
    part = replace(promised, definition={**promised.definition, "ignored": 3})

    assert known_volumes(file, promised)
    with pytest.raises(InputError, match="voxels without a label were ignored"):
        known_volumes(file, part)
