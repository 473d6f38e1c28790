"""maps/ holds, for every case, the slice that a figure shows."""

import math

import numpy as np
import torch

from tests.training.conftest import CLASSES


def test_maps_show_the_slice_with_most_foreground(evaluated):
    """All pictures are those of the slice with most foreground."""
    output_dir, _, volumes = evaluated
    for case, volume in volumes.items():
        maps = np.load(output_dir / "maps" / f"{case}.npz")
        label = np.rot90(volume["label"][0].numpy())
        foreground = [(label[..., z] > 0).sum() for z in range(label.shape[2])]
        position = int(maps["slice"])
        logits = np.rot90(volume["image"].numpy(), axes=(1, 2))[..., position].copy()
        probabilities = torch.tensor(logits).softmax(dim=0).numpy()

        assert foreground[position] == max(foreground)
        np.testing.assert_array_equal(label[..., position], maps["label"])
        np.testing.assert_array_equal(logits[0], maps["image"])
        np.testing.assert_array_equal(probabilities.argmax(axis=0), maps["prediction"])
        np.testing.assert_allclose(probabilities.max(axis=0), maps["confidence"], atol=1e-6)
        entropy = [
            sum(-p * math.log(p) for p in voxel if p > 0) / math.log(3)
            for voxel in probabilities.reshape(3, -1).T
        ]
        np.testing.assert_allclose(np.reshape(entropy, label.shape[:2]), maps["entropy"], atol=1e-6)
        assert list(maps["classes"]) == CLASSES
