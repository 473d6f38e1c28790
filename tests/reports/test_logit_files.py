"""The sums and counts of logits as written, or one line that says what is wrong."""

import numpy as np
import pytest

from nacl_monai.errors import InputError
from nacl_monai.reports.logits import EpochLogits, read_class_logits, read_epoch_logits


class TestClassLogits:
    def test_means_are_sums_over_counts(self, folders):
        """Per true class and output."""
        with np.load(folders[0] / "evaluation" / "logits.npz") as archive:
            sums, counts, classes = (archive[key] for key in ("sums", "counts", "classes"))

        logits = read_class_logits(folders[0])

        assert logits.classes == classes.tolist()
        for true in range(4):
            for output in range(4):
                expected = sums[true, output] / counts[true]
                assert logits.means[true, output] == pytest.approx(expected)

    def test_absent_class_has_no_mean(self, copies, change_arrays):
        """Nothing is divided by nothing, without a warning."""
        change_arrays(
            copies[0] / "evaluation" / "logits.npz",
            lambda arrays: (arrays["counts"].__setitem__(2, 0), arrays["sums"].__setitem__(2, 0)),
        )

        means = read_class_logits(copies[0]).means

        assert np.isnan(means).any(axis=1).tolist() == [False, False, True, False]

    @pytest.mark.parametrize("key", ["sums", "counts"])
    def test_array_of_another_shape_is_refused(self, copies, change_arrays, key):
        """Sums and counts must be of the classes."""
        path = copies[0] / "evaluation" / "logits.npz"
        change_arrays(path, lambda arrays: arrays.update({key: arrays[key][:-1]}))

        with pytest.raises(InputError, match=r"logits\.npz: sums is .*not \(4, 4\) and \(4,\)"):
            read_class_logits(copies[0])

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

    def test_content_is_that_of_the_file(self, folders):
        """Epochs, edges and counts."""
        logits = read_epoch_logits(folders[0])

        with np.load(folders[0] / "logit_histogram.npz") as archive:
            for key in ("epochs", "edges", "counts"):
                np.testing.assert_array_equal(getattr(logits, key), archive[key])

    def test_shares_are_of_all_voxels_of_the_epoch(self):
        """Those below and above the edges count, but have no bin."""
        np.testing.assert_allclose(self.logits.shares, [[0.2, 0.3], [0.0, 1.0]])

    def test_outside_is_the_share_beyond_the_edges(self):
        """Over all epochs."""
        assert self.logits.outside == pytest.approx((1 + 4) / 20)

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

    @pytest.mark.parametrize(
        "edit",
        [
            lambda arrays: arrays.update(counts=arrays["counts"][:-1]),
            lambda arrays: arrays.update(edges=arrays["edges"][:-1]),
            lambda arrays: arrays.update(counts=arrays["counts"][:0], epochs=arrays["epochs"][:0]),
        ],
    )
    def test_array_of_another_shape_is_refused(self, copies, change_arrays, edit):
        """Counts must be of the epochs and bins, and there must be an epoch."""
        change_arrays(copies[0] / "logit_histogram.npz", edit)

        with pytest.raises(InputError, match=r"histogram\.npz: counts is .*train the run again"):
            read_epoch_logits(copies[0])
