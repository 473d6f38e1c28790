"""Small data of one's own in every format that `nacl-monai new` knows."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np

from tests.conftest import save_nifti

NAMES = [f"case_{number:03d}" for number in range(6)]
NNUNET = {
    "channel_names": {"0": "MRI"},
    "labels": {"background": 0, "tumor": 1, "edema": 2},
    "numTraining": len(NAMES),
    "file_ending": ".nii.gz",
}


def voxels(seed, shape=(20, 24, 6), values=(0, 1, 2)):
    """An image in which each part of the label has its own intensity, and the label."""
    rng = np.random.default_rng(seed)
    label = np.zeros(shape, np.uint8)
    thirds = np.linspace(4, 16, len(values)).astype(int)
    for value, first, last in zip(values[1:], thirds, thirds[1:], strict=False):
        label[first:last, 6:16, 1:5] = value
    label *= rng.random(shape) < 0.95  # no two cases have the same label
    image = 100.0 * label + rng.normal(0, 5, shape)
    return image.astype(np.float32), label


def write_pair(image_files, label_file, seed, affine=None, **shape):
    """Writes one case, with a channel in each image file."""
    image, label = voxels(seed, **shape)
    for channel, file in enumerate(image_files):
        save_nifti(image + channel * image[::-1], Path(file), affine)
    save_nifti(label, Path(label_file), affine)


IGNORED = 4


def ignore_some(root, value=IGNORED):
    """Voxels of nnU-Net's data that nobody labeled: the last slice, a corner, and some anywhere."""
    content = json.loads((root / "dataset.json").read_text())
    content["labels"]["ignore"] = value
    write_json(root / "dataset.json", content)
    for seed, name in enumerate(NAMES):
        for file in root.glob(f"labelsT[rs]/{name}.nii.gz"):
            image = nibabel.load(file)
            label = np.asarray(image.dataobj).copy()
            hidden = np.random.default_rng(seed).random(label.shape) < 0.2
            hidden[..., -1] = hidden[:8, :12] = True
            label[hidden] = value
            save_nifti(label, file, image.affine)
    return root


def write_json(file, content):
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text(json.dumps(content))


def nnunet(root, channels=1, test=0, affine=None, names=NAMES, **keys):
    """nnU-Net's raw format; the last ``test`` cases are the official test set."""
    content = {**NNUNET, "numTraining": len(names) - test}
    write_json(root / "dataset.json", {**content, **keys})
    for seed, name in enumerate(names):
        kind = "Ts" if seed >= len(names) - test else "Tr"
        images = [root / f"images{kind}/{name}_{k:04d}.nii.gz" for k in range(channels)]
        write_pair(images, root / f"labels{kind}/{name}.nii.gz", seed, affine)
    return root


def decathlon(root):
    """The Decathlon's format, with an image of two modalities in one file and a test case."""
    entries = [
        {"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in NAMES
    ]
    content = {
        "name": "Brain",
        "modality": {"0": "T2", "1": "ADC"},
        "labels": {"0": "background", "1": "PZ", "2": "TZ"},
        "training": entries,
        "test": ["./imagesTs/case_100.nii.gz"],
    }
    write_json(root / "dataset.json", content)
    for seed, name in enumerate(NAMES):
        image, label = voxels(seed)
        save_nifti(np.stack([image, -image], axis=-1), root / f"imagesTr/{name}.nii.gz")
        save_nifti(label, root / f"labelsTr/{name}.nii.gz")
    return root


def datalist(root, file="brain.json", **keys):
    """A datalist with a folder per case, whose files are all called alike."""
    entries = []
    for seed, name in enumerate(NAMES):
        images = [f"{name}/t1.nii.gz", f"{name}/t2.nii.gz"]
        write_pair([root / image for image in images], root / name / "seg.nii.gz", seed)
        entries.append({"image": images, "label": f"{name}/seg.nii.gz"})
    write_json(root / file, {"training": entries, **keys})
    return root


def folders(root, suffixes=("",), ending=".nii.gz", names=NAMES):
    """Two folders of pairs."""
    for seed, name in enumerate(names):
        images = [root / f"images/{name}{suffix}{ending}" for suffix in suffixes]
        write_pair(images, root / f"labels/{name}{ending}", seed)
    return root


def renamed_as_nnunet(task, root):
    """A task of the Decathlon in nnU-Net's raw format, the files being copies."""
    files = sorted((task / "labelsTr").glob("[!.]*.nii.gz"))
    for file in files:
        name = file.name.removesuffix(".nii.gz")
        for source, target in (
            (task / "imagesTr" / file.name, root / f"imagesTr/{name}_0000.nii.gz"),
            (file, root / f"labelsTr/{file.name}"),
        ):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    labels = {"background": 0, "anterior": 1, "posterior": 2}
    write_json(root / "dataset.json", {**NNUNET, "numTraining": len(files), "labels": labels})
    return root


def renamed_as_folders(task, root):
    """A task of the Decathlon as two plain folders."""
    for source, target in (("imagesTr", "images"), ("labelsTr", "labels")):
        (root / target).mkdir(parents=True)
        for file in sorted((task / source).glob("[!.]*.nii.gz")):
            shutil.copyfile(file, root / target / file.name)
    return root


FORMATS = {
    "nnunet": nnunet,
    "decathlon": decathlon,
    "datalist": datalist,
    "folders": folders,
}
