"""The synthetic predictor of lesions: its labels are as they were, its islands real and false."""

import nibabel
import numpy as np

from nacl_monai.metrics.islands import count_islands
from studies.islands.__main__ import main
from tests.same import same_bits


def test_predictions_have_real_and_false_islands_on_the_grid_of_their_labels(tmp_path):
    rng = np.random.default_rng(0)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    masks = rng.uniform(size=(3, 40, 40, 30)) < 1e-3
    masks = np.stack([mask | np.roll(mask, 1, 0) | np.roll(mask, 1, 1) for mask in masks])
    for k, mask in enumerate(masks):
        (tmp_path / "masks").mkdir(exist_ok=True)
        image = nibabel.Nifti1Image(mask.astype(np.uint8), affine)
        nibabel.save(image, tmp_path / f"masks/p{k}.nii.gz")

    assert main([str(tmp_path / "masks"), "--output", str(tmp_path)]) == 0

    for k, mask in enumerate(masks):
        label, probs = (
            nibabel.load(tmp_path / place / f"p{k}.nii.gz") for place in ("labels", "predictions")
        )
        inside = probs.get_fdata()[..., 1]
        labeled = label.get_fdata() > 0
        assert labeled.sum() == mask.sum()
        same_bits(label.affine, probs.affine, "one affine is written twice")
        first = np.argwhere(labeled)[0]
        place = (label.affine @ [*first, 1])[:3] / 2
        assert mask[tuple(np.rint(place).astype(int))]
        rows = count_islands(inside > 0.5, inside, labeled, 8.0)
        hits = rows["hit"][~rows["labeled"]]
        assert hits.any()
        assert not hits.all()
