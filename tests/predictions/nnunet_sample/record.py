"""Cuts a small sample out of what nnU-Net wrote: ``python record.py SOURCE TARGET CASE [CASE …]``.

SOURCE is a folder of predictions, or the ``fold_0/validation`` of a training. For each case the npz file
(as float16), the segmentation and the geometry are cut to the middle of the segmented voxels; the places
of the classes, which are most of a pkl file, are left out of it.
"""

import json
import pickle
import shutil
import sys
from pathlib import Path

import nibabel
import numpy as np

SIZE = np.array([20, 24, 20])


def record(source, target, case):
    """Cuts one case."""
    image = nibabel.load(source / f"{case}.nii.gz")
    middle = np.argwhere(np.asarray(image.dataobj)).mean(0).astype(int)
    start = np.clip(middle - SIZE // 2, 0, np.array(image.shape) - SIZE)
    box = tuple(slice(low, low + size) for low, size in zip(start, SIZE, strict=True))
    cut = image.slicer[box]
    nibabel.save(cut, target / f"{case}.nii.gz")

    probs = np.load(source / f"{case}.npz")["probabilities"][(slice(None), *box[::-1])]
    np.savez_compressed(target / f"{case}.npz", probabilities=probs.astype(np.float16))

    geometry = pickle.loads((source / f"{case}.pkl").read_bytes())
    geometry.pop("class_locations", None)
    origin = np.diag([-1, -1, 1, 1]) @ cut.affine[:, 3]
    geometry["sitk_stuff"]["origin"] = tuple(origin[:3].tolist())
    (target / f"{case}.pkl").write_bytes(pickle.dumps(geometry))


def main(source, target, *cases):
    """Cuts the cases, and copies what is beside them."""
    source, target = Path(source), Path(target)
    model = source.parents[1] if source.name == "validation" else source
    place = target / "fold_0" / "validation" if model != source else target
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(model / "dataset.json", target)
    plans = json.loads((model / "plans.json").read_text())
    kept = {key: plans[key] for key in ("dataset_name", "plans_name", "image_reader_writer")}
    (target / "plans.json").write_text(json.dumps(kept, indent=4) + "\n")
    for case in cases:
        record(source, place, case)


if __name__ == "__main__":
    main(*sys.argv[1:])
