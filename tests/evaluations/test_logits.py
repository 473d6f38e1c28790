"""The sums and counts of logits are read as written, or their file is named."""

import numpy as np
import pytest

from nacl_monai.evaluations.logits import EpochLogits, read_class_logits, read_epoch_logits
from tests.conftest import refused


class TestClassLogitsFile:
    def test_absent_class_has_no_mean(self, copies, change_arrays):
        """Nothing is divided by nothing, without a warning."""

        def without_class(arrays):
            arrays["counts"][2], arrays["sums"][2] = 0, 0

        change_arrays(copies[0] / "evaluation" / "logits.npz", without_class)

        means = read_class_logits(copies[0]).means

        assert np.isnan(means).any(axis=1).tolist() == [False, False, True, False]

    def test_cross_validation_has_to_name_a_fold(self, copies):
        """Logits are of one network; the message names a fold to choose."""
        fold = copies[0].rename(copies[0].with_name("unet_nacl_fold=0_seed1"))
        folder = fold.with_name("unet_nacl_seed1")

        assert refused(read_class_logits, folder) == (
            f"{folder}: logits are drawn of single runs; name a fold, such as {fold}"
        )


@pytest.mark.parametrize(
    ("name", "read", "said"),
    [
        ("evaluation/logits.npz", read_class_logits, "and (4,); evaluate the run again"),
        ("logit_histogram.npz", read_epoch_logits, "not (30, 242); train the run again"),
    ],
)
def test_misshapen_file_is_refused(copies, change_arrays, name, read, said):
    """The line names it, and the shape that it should have."""
    path = copies[1] / name
    change_arrays(path, lambda arrays: arrays.update(counts=arrays["counts"][:-1]))

    line = refused(read, copies[1])
    assert line.startswith(f"{path}: ")
    assert line.endswith(said)


class TestEpochLogitsFile:
    logits = EpochLogits(
        epochs=np.arange(1, 3),
        edges=np.array([0.0, 1.0, 3.0]),
        counts=np.array([[1, 2, 3, 4], [0, 0, 10, 0]]),
    )

    def test_shares_are_of_all_voxels_of_the_epoch(self):
        """Those below and above the edges count, but have no bin."""
        np.testing.assert_allclose(self.logits.shares, [[0.2, 0.3], [0.0, 1.0]])

    def test_quantiles_beyond_the_edges_are_the_edges(self):
        """Half of the second bin's ten voxels are below its middle."""
        quantiles = self.logits.quantiles([0.05, 0.5, 0.95])

        np.testing.assert_allclose(quantiles[0], [0, 1 + 2 * 2 / 3, 3])
        assert quantiles[1, 1] == pytest.approx(2)

    def test_quantiles_are_those_of_voxels_spread_evenly(self):
        """Each bin's voxels are at equal distances."""
        counts = np.random.default_rng(0).integers(0, 50, (2, 12))
        counts[:, [0, -1]] = 0
        edges, levels = np.arange(11) / 2, [0.1, 0.5, 0.9]

        quantiles = EpochLogits(np.arange(2), edges, counts).quantiles(levels)

        for row, values in zip(counts[:, 1:-1], quantiles, strict=True):
            bins = zip(edges[:-1], edges[1:], row, strict=True)
            fine = np.concatenate([np.linspace(low, high, 1000 * n) for low, high, n in bins])
            np.testing.assert_allclose(np.quantile(fine, levels), values, atol=1e-3)
