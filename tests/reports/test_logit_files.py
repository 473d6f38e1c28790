"""The sums and counts of logits as written, or one line that says what is wrong."""

import numpy as np
import pytest

from nacl_monai.errors import InputError
from nacl_monai.reports.logits import EpochLogits, read_class_logits


class TestClassLogits:
    def test_absent_class_has_no_mean(self, copies, change_arrays):
        """Nothing is divided by nothing, without a warning."""
        change_arrays(
            copies[0] / "evaluation" / "logits.npz",
            lambda arrays: (arrays["counts"].__setitem__(2, 0), arrays["sums"].__setitem__(2, 0)),
        )

        means = read_class_logits(copies[0]).means

        assert np.isnan(means).any(axis=1).tolist() == [False, False, True, False]

    def test_cross_validation_has_to_name_a_fold(self, copies):
        """Logits are of one network; the message names a fold to choose."""
        fold = copies[0].rename(copies[0].with_name("unet_nacl_fold=0_seed1"))

        with pytest.raises(
            InputError, match=r"unet_nacl_seed1: logits are drawn .* such as .*fold=0_seed1"
        ):
            read_class_logits(fold.with_name("unet_nacl_seed1"))


class TestEpochLogits:
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
        rng = np.random.default_rng(0)
        counts = rng.integers(0, 50, (2, 12))
        counts[:, [0, -1]] = 0
        edges = np.arange(11) / 2

        quantiles = EpochLogits(np.arange(2), edges, counts).quantiles([0.1, 0.5, 0.9])

        for row, values in zip(counts[:, 1:-1], quantiles, strict=True):
            fine = np.concatenate(
                [
                    edges[m] + (np.arange(1000 * n) + 0.5) / (2000 * n)
                    for m, n in enumerate(row)
                    if n
                ]
            )
            np.testing.assert_allclose(np.quantile(fine, [0.1, 0.5, 0.9]), values, atol=1e-3)
