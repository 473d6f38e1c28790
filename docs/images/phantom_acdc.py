"""Draws `phantom_acdc.png`: the cardiac phantom as a cardiologist would page through it.

Usage: python docs/images/phantom_acdc.py
"""

import tempfile
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from PIL import Image

from nacl_monai.phantoms import PHANTOMS

STRUCTURES = {  # Okabe and Ito's palette, which color-blind readers can tell apart
    "right ventricle": (1, "#56B4E9"),
    "myocardium": (2, "#F0E442"),
    "left ventricle": (3, "#D55E00"),
}
DISEASES = {
    "NOR": "healthy",
    "DCM": "dilated",
    "HCM": "hypertrophic",
    "MINF": "infarction",
    "RV": "abnormal RV",
}
GRAYS = 29
FIELD_OF_VIEW = 150  # mm, so that voxels of all patients are drawn to one scale


def main() -> None:
    """Writes the phantom's first five patients and draws them beside this file."""
    with tempfile.TemporaryDirectory() as folder:
        root = PHANTOMS["acdc"].write(Path(folder) / "acdc", cases=len(DISEASES)) / "training"
        patients = sorted(root.iterdir())
        figure, axes = plt.subplots(3, len(patients), figsize=(10, 6.6), dpi=100)
        for column, patient in zip(axes.T, patients, strict=True):
            draw_patient(column, patient)
    rows = ("end diastole,\nmiddle", "end systole,\nmiddle", "end diastole,\nnear the apex")
    for axis, title in zip(axes[:, 0], rows, strict=True):
        axis.set_ylabel(title, fontsize=10)
    handles = [
        Line2D([], [], color=color, linewidth=2.5, label=name)
        for name, (_, color) in STRUCTURES.items()
    ]
    figure.legend(handles=handles, loc="lower center", ncols=3, frameon=False, fontsize=10)
    figure.subplots_adjust(0.06, 0.055, 0.995, 0.955, wspace=0.03, hspace=0.03)
    figure.canvas.draw()
    drawn = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])
    drawn.quantize(palette=palette(), dither=Image.Dither.NONE).save(
        Path(__file__).with_suffix(".png"), optimize=True
    )


def palette() -> Image.Image:
    """Returns few grays and the structures' colors, since noise in all its shades does not compress."""
    grays = np.linspace(0, 255, GRAYS).round().astype(int).repeat(3).tolist()
    colors = [to_rgb(color) for _, color in STRUCTURES.values()]
    image = Image.new("P", (1, 1))
    image.putpalette(grays + [round(255 * part) for color in colors for part in color])
    return image


def draw_patient(column: np.ndarray, folder: Path) -> None:
    """Draws a patient's column: ED and ES in the middle, and ED near the apex."""
    info = dict(line.split(": ") for line in (folder / "Info.cfg").read_text().splitlines())
    images, labels = {}, {}
    for phase in ("ED", "ES"):
        stem = folder / f"{folder.name}_frame{int(info[phase]):02d}"
        images[phase] = nib.load(f"{stem}.nii.gz")
        labels[phase] = np.asarray(nib.load(f"{stem}_gt.nii.gz").dataobj)
    heart = np.flatnonzero((labels["ED"] == 3).any(axis=(0, 1)))
    middle = heart[len(heart) // 2]
    shown = (("ED", middle), ("ES", middle), ("ED", heart[-2]))
    for axis, (phase, index) in zip(column, shown, strict=True):
        draw_slice(axis, images[phase], labels[phase], index)
    column[0].set_title(f"{info['Group']} ({DISEASES[info['Group']]})", fontsize=10)


def draw_slice(axis: Axes, image: nib.Nifti1Image, label: np.ndarray, index: int) -> None:
    """Draws one slice as displayed in a viewer, with the annotator's contours."""
    voxels = np.asarray(image.dataobj)
    width, height = np.array(image.shape[:2]) * image.header.get_zooms()[:2] / 2
    extent = (-width, width, -height, height)
    axis.imshow(
        voxels[..., index].T,
        cmap="gray",
        vmin=0,
        vmax=np.percentile(voxels, 98.5),
        extent=extent,
        origin="lower",  # the axis is turned over below, which turns image and contours alike
    )
    for value, color in STRUCTURES.values():
        mask = (label[..., index] == value).T
        if mask.any():
            axis.contour(mask, [0.5], colors=color, linewidths=1.1, extent=extent, origin="lower")
    half = FIELD_OF_VIEW / 2
    axis.set(xlim=(-half, half), ylim=(half, -half), xticks=[], yticks=[])


if __name__ == "__main__":
    main()
