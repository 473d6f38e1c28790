"""``python -m studies.islands LABELS --output DIR``: synthetic predictions of real lesions' masks.

Each labeled lesion is seen more or less well, and as many false ones are drawn: other patients' lesions
at random places of the same box, seen worse. A blur, a threshold and smooth noise make probabilities of
that. The labels are real, the predictions are not: they show what the tables say where there are many
islands, and nothing of any network.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import nibabel
import numpy as np
import scipy

from nacl_monai.cli import write_files
from nacl_monai.metrics.islands import label_islands
from nacl_monai.progress import progress_bar

_AROUND = 8  # voxels around the box of the lesions


def predicted(mask: np.ndarray, other: np.ndarray, seed: int) -> np.ndarray:
    """Probabilities of a mask, with false islands shaped like those of another."""
    rng = np.random.default_rng(seed)
    numbers, count = label_islands(mask)
    seen = np.append(0, rng.beta(4, 1.5, count))[numbers]
    shapes, false = label_islands(other)
    for island in rng.permutation(scipy.ndimage.find_objects(shapes))[: min(count, false) // 2]:
        shape = other[tuple(island)]
        room = np.subtract(mask.shape, shape.shape)
        if (room > 0).all():
            place = tuple(
                slice(at, at + n) for at, n in zip(rng.integers(room), shape.shape, strict=True)
            )
            seen[place] = np.maximum(seen[place], shape * rng.beta(2.5, 2))
    noise = scipy.ndimage.gaussian_filter(rng.normal(size=mask.shape), 1.5)
    along = 12 * (scipy.ndimage.gaussian_filter(seen.astype(float), 0.7) - 0.4) - 2 * (seen == 0)
    return scipy.special.expit(along + 2 * noise / noise.std())


def study(labels: Path, output: Path) -> Iterator[Path]:
    """Writes ``labels`` and ``predictions`` of the box around the lesions of each patient."""
    files = sorted(labels.glob("*.nii.gz"))
    before = None
    for seed, file in enumerate(progress_bar(files, description="Predicting", unit="case")):
        image = nibabel.load(file)
        mask = np.asarray(image.dataobj) > 0
        ends = np.argwhere(mask)
        low = (ends.min(0) - _AROUND).clip(0)
        box = tuple(map(slice, low, ends.max(0) + _AROUND))
        affine = image.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ low
        mask = mask[box]
        inside = predicted(mask, mask[::-1] if before is None else before, seed)
        before = mask
        name = file.name.partition(".")[0]
        channels = np.stack([1 - inside, inside], -1).astype(np.float32)
        for place, voxels in (("labels", mask.astype(np.uint8)), ("predictions", channels)):
            written = output / place / f"{name}.nii.gz"
            written.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(voxels, affine), written)
            yield written


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the study; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studies.islands", description=__doc__)
    parser.add_argument("labels", type=Path, metavar="LABELS", help="the folder of the masks")
    parser.add_argument("--output", type=Path, default=Path("islands"), help="default: islands")
    return write_files(lambda: study(**vars(parser.parse_args(argv))))


if __name__ == "__main__":
    sys.exit(main())
