"""Makes the lesion case of the site: ``python docs/lesions/make.py MS_LESIONS``.

The folder has ``flair/patient26.nii.gz`` and ``labels/patient26.nii.gz`` of Lesjak et al. (2017). No
network is behind the prediction. It is the smoothed label with noise: small lesions fade, and some of
the bright voxels elsewhere take their place.
"""

import sys
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

BOX = (slice(36, 148), slice(60, 186), slice(76, 108))


def main() -> None:
    """Writes an image, a label and probabilities, cropped to the ventricles."""
    here, source = Path(__file__).parent, Path(sys.argv[1])
    files = [nibabel.load(source / kind / "patient26.nii.gz") for kind in ("flair", "labels")]
    image, label = (np.asarray(file.dataobj)[BOX] for file in files)
    affine = files[0].affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in BOX]
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=label.shape), 2)
    smooth = ndimage.gaussian_filter(label.astype(float), 1)
    bright = ndimage.gaussian_filter(image, 1) / np.percentile(image, 99)
    logit = 9 * smooth - 6 + 12 * (noise / noise.std() / 10) + 3 * (bright - 0.8)
    lesion = 1 / (1 + np.exp(-logit))
    probs = np.stack([1 - lesion, lesion], -1)
    stored = {
        "images": np.rint(image.clip(0) / image.max() * 127).astype(np.uint8),
        "labels": label.astype(np.uint8),
        "maps": np.rint(probs * 255).astype(np.uint8),
    }
    for kind, voxels in stored.items():
        file = nibabel.Nifti1Image(voxels, affine)
        file.header.set_slope_inter(1 / 255 if kind == "maps" else 1, 0)
        (here / kind).mkdir(exist_ok=True)
        nibabel.save(file, here / kind / "patient26.nii.gz")


if __name__ == "__main__":
    main()
