"""The layouts in which tools save probabilities, and the one that a folder has.

nnU-Net writes ``CASE.npz`` with ``--save_probabilities``, and a training with ``--npz``. It holds
``probabilities``, ``(C, z, y, x)`` on the image's own grid as the reader of ``plans.json`` turned it;
``CASE.pkl`` holds the geometry, ``CASE.nii.gz`` the segmentation. Predictions have ``dataset.json`` and
``plans.json`` beside them, a training above its ``fold_*/validation``. TotalSegmentator's
``--save_probabilities CASE.npz`` copies only npz and pkl, on the grid that it resamples to; where a task
has several networks, each overwrites what the one before has left.
"""

from __future__ import annotations

import pickle
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.lib.npyio import NpzFile

from nacl_monai.data.faults import on_one_grid
from nacl_monai.errors import InputError
from nacl_monai.files import read_object
from nacl_monai.inference.grids import itk_affine
from nacl_monai.inference.promised import Array
from nacl_monai.metrics.sums_file import UNREADABLE_NPZ
from nacl_monai.metrics.voxels import native
from nacl_monai.predictions.channels import Channels
from nacl_monai.predictions.images import (
    Affine,
    Image,
    Prediction,
    Probabilities,
    read_image,
    stored_as,
)
from nacl_monai.predictions.names import (
    CHANNEL,
    ENDINGS,
    images_by_name,
    images_in,
    named_once,
    stem_of,
)
from nacl_monai.runs import EvaluationFolder

_KEY, _KEY_OF_FIRST_VERSION = "probabilities", "softmax"
_REAL_KINDS = "fiub"  # NumPy's letters for floats, integers and booleans
# Constructors of NumPy's numbers and arrays; everything else that a pickle might call is refused.
_HARMLESS = re.compile(
    r"collections\.OrderedDict|numpy\.(dtype|ndarray"
    r"|_?core\.(multiarray\.(scalar|_reconstruct)|numeric\._frombuffer))"
)
_OWN = "_probabilities"


def find_npz(folder: Path, names: Collection[str] = ()) -> list[Prediction]:
    """The cases of a folder of npz or npy files; for a training of nnU-Net, those of all folds.

    Other things are kept as npy, too: such a file has the name of a label map, where these are known.
    """
    places = ("", "validation/", "fold_*/validation/")
    files = [file for place in places for file in folder.glob(f"{place}*.np[yz]")]
    labeled = {name.removesuffix(CHANNEL) for name in names}
    return [
        Prediction(file.stem, {"": file})
        for file in sorted(files)
        if not file.name.startswith(".")
        and (file.suffix == ".npz" or not names or file.stem.removesuffix(CHANNEL) in labeled)
    ]


def find_nnunet(folder: Path, names: Collection[str] = ()) -> list[Prediction]:
    """The same, where nnU-Net says what the channels mean."""
    return find_npz(folder, names) if dataset_json(folder) else []


def dataset_json(folder: Path) -> Path | None:
    """The ``dataset.json`` of predictions, or of the training that a ``validation`` belongs to."""
    return _beside(folder, "dataset.json")


def _beside(folder: Path, name: str) -> Path | None:
    folder = folder.resolve()
    above = {"validation": folder.parents[1:2]}.get(folder.name, folder.parents[:1])
    is_fold = folder.name == "validation" or folder.name.startswith("fold_")
    places = (folder, *(above if is_fold else ()))
    return next((place / name for place in places if (place / name).is_file()), None)


def read_npz(prediction: Prediction) -> Probabilities:
    """Reads the npz file of a case.

    Raises:
        InputError: If it is damaged, of nnU-Net's first version, or something else.
    """
    file = prediction.file
    array, segmentation = _array(file), _segmentation(file)
    plans, geometry = _beside(file.parent, "plans.json"), file.with_suffix(".pkl")
    known = segmentation is not None and plans is not None
    record = {} if known or not geometry.is_file() else read_plain(geometry)
    turned = _is_turned(plans, record)
    if segmentation is not None:
        image = read_image(segmentation)
        return Probabilities(array, image.affine, file, segmentation, turned, segmentation=image)
    if not record:
        return Probabilities(array, None, file, file, turned)
    affine = _affine(geometry, record, array.shape[:0:-1])
    return Probabilities(array, affine, file, geometry, turned)


def is_placed(prediction: Prediction) -> bool:
    """Whether a file beside the npz file says where its voxels are."""
    geometry = prediction.file.with_suffix(".pkl")
    return geometry.is_file() or _segmentation(prediction.file) is not None


def _is_turned(plans: Path | None, record: Mapping[str, Any]) -> bool:
    """Whether the reader turned the image, by its name in the plans or by what it recorded."""
    reader = read_object(plans, "predict again").get("image_reader_writer", "") if plans else ""
    recorded = {*record.get("sitk_stuff", ()), *record.get("nibabel_stuff", ())}
    turned = {"original_orientation", "reoriented_affine"}
    return "Reorient" in str(reader) or bool(recorded & turned)


def _array(file: Path) -> np.ndarray[Any, Any]:
    try:
        with file.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            arrays = loaded if isinstance(loaded, NpzFile) else {_KEY: loaded}
            array = arrays[_key(file, list(arrays))]
    except InputError:
        raise
    except (KeyError, *UNREADABLE_NPZ) as error:
        cause = " ".join(str(error).split())
        raise InputError(f"{file}: cannot be read ({cause}); predict the case again") from error
    if array.ndim != 4 or not array.size or array.dtype.kind not in _REAL_KINDS:
        raise InputError(
            f"{file}: holds {array.dtype} of the shape {array.shape}; probabilities are numbers "
            "(classes, z, y, x)"
        )
    return native(array)


def _key(file: Path, names: Sequence[str]) -> str:
    """Under which name a file holds probabilities."""
    if _KEY in names:
        return _KEY
    if _KEY_OF_FIRST_VERSION in names:
        raise InputError(
            f"{file}: is of nnU-Net's first version, which crops its probabilities to a part of the "
            "image; predict with nnUNetv2_predict --save_probabilities"
        )
    if len(names) != 1:
        raise InputError(
            f"{file}: holds no array {_KEY!r}, but {', '.join(names) or 'nothing'}; save probabilities "
            "(classes, z, y, x) alone, or under this name"
        )
    return names[0]


def _segmentation(file: Path) -> Path | None:
    beside = (file.with_name(file.stem + ending) for ending in ENDINGS)
    return next((path for path in beside if path.is_file()), None)


def _affine(geometry: Path, record: Mapping[str, Any], shape: Sequence[int]) -> Affine:
    """The affine of the image, as it was before a reader turned it; ``shape`` is of the voxels."""
    try:
        if "nibabel_stuff" in record:
            return np.asarray(record["nibabel_stuff"]["original_affine"], np.float64)
        itk = record["sitk_stuff"]
        affine = itk_affine(itk["spacing"], itk["origin"], itk["direction"])
        return _turned_back(affine, itk.get("original_orientation"), shape)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{geometry}: says nothing of spacing, origin and direction; predict the case again"
        ) from error


def _turned_back(affine: Affine, orientation: str | None, shape: Sequence[int]) -> Affine:
    """The affine of the image whose axes ran as three letters say, such as "LPS"."""
    if affine is None or orientation is None:
        return affine
    turns: Any = nibabel.orientations
    now, before = turns.io_orientation(affine), turns.axcodes2ornt(tuple(orientation))
    back = turns.inv_ornt_aff(turns.ornt_transform(now, before), tuple(shape))
    return np.asarray(affine @ back, np.float64)


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if not _HARMLESS.fullmatch(f"{module}.{name}"):
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def read_plain(file: Path) -> dict[str, Any]:
    """The dictionary in a pickle of numbers, text, lists, tuples, dictionaries and arrays of numbers.

    Raises:
        InputError: If it holds or asks for anything else, or is damaged.
    """
    try:
        with file.open("rb") as stream:
            content = _Reader(stream).load()
    except (pickle.UnpicklingError, EOFError, OSError, ValueError, TypeError) as error:
        cause = " ".join(str(error).split())
        raise InputError(
            f"{file}: is not a plain record of an image's geometry ({cause}) and is not loaded; predict "
            "the case again"
        ) from error
    except (AttributeError, ImportError, IndexError, KeyError, MemoryError) as error:
        raise InputError(f"{file}: is damaged; predict the case again") from error
    if not isinstance(content, dict):
        raise InputError(f"{file}: is not a record of an image's geometry; predict the case again")
    return content


def find_own(folder: Path, _: Collection[str] = ()) -> list[Prediction]:
    """The maps of ``make infer``: ``NAME_probabilities.nii.gz``, in folders like those of the images.

    The maps of an earlier audit have the same names, but are not predictions of its parent folder.
    """
    files = sorted(folder.rglob(f"*{_OWN}.nii.gz"))
    found = (file for file in files if not _set_apart(file, folder))
    return [Prediction(stem_of(file).removesuffix(_OWN), {"": file}) for file in found]


def _set_apart(file: Path, folder: Path) -> bool:
    """Whether a file is hidden, or in an audit below the folder."""
    path = file.relative_to(folder)
    below = [folder / place for place in path.parents[:-1]]
    hidden = any(part.startswith(".") for part in path.parts)
    return hidden or any(EvaluationFolder(place).record.is_file() for place in below)


def find_channels(folder: Path, _: Collection[str] = ()) -> list[Prediction]:
    """Files with several channels, or with fractions where there is a single one.

    The first readable file decides for all; each file is a case.
    """
    files = images_in(folder)
    for file in files:
        with suppress(InputError):
            axes, whole = stored_as(file)
            are_probabilities = axes == 4 or not whole
            return [Prediction(stem_of(image), {"": image}) for image in files if are_probabilities]
    return []


def find_folders(folder: Path, _: Collection[str] = ()) -> list[Prediction]:
    """A folder per case, with a file per class: ``CASE/CLASS.nii.gz``."""
    cases = {place.name: images_by_name(place) for place in sorted(folder.glob("[!.]*/"))}
    return [Prediction(case, files) for case, files in cases.items() if files]


def find_per_class(folder: Path, names: Collection[str]) -> list[Prediction]:
    """A file per case and class, ``CASE_CLASS.nii.gz``, where ``CASE`` is the name of a label map."""
    cases: dict[str, dict[str, Path]] = defaultdict(dict)
    known = frozenset(names)
    for stem, file in images_by_name(folder).items():
        case = next((start for start in reversed(_starts(stem)) if start in known), None)
        if case is None or stem in known:
            return []
        cases[case][stem[len(case) + 1 :]] = file
    if _are_images(cases):
        return []
    return [Prediction(case, files) for case, files in sorted(cases.items())]


def _are_images(cases: Mapping[str, Mapping[str, Path]]) -> bool:
    """Whether files are nnU-Net's images, or the first has all channels, whatever its name says."""
    if all(files.keys() <= {CHANNEL[1:]} for files in cases.values()):
        return True
    for file in (file for files in cases.values() for file in files.values()):
        with suppress(InputError):
            return stored_as(file)[0] == 4
    return False


def numbered_cases(folder: Path) -> set[str]:
    """The cases of a folder in which every one has the files ``CASE_0`` to ``CASE_N``; else none."""
    cases: dict[str, set[str]] = defaultdict(set)
    for start, _, number in (name.rpartition("_") for name in images_by_name(folder)):
        cases[start].add(number)
    found = {frozenset(numbers) for numbers in cases.values()}
    count = len(next(iter(found), ()))
    return {*cases} if found == {frozenset(map(str, range(count)))} and count > 1 else set()


def _starts(stem: str) -> list[str]:
    """The beginnings of a name before each underscore, the shortest first."""
    return [stem[: part.start()] for part in re.finditer("_", stem)]


def read_channels(prediction: Prediction) -> Probabilities:
    """Reads the file of a case, with all its channels.

    Raises:
        InputError: If it cannot be read.
    """
    image = read_image(prediction.file)
    voxels = image.voxels if image.voxels.ndim == 4 else image.voxels[None]
    return _probabilities(voxels, [image], prediction.file)


def read_per_class(prediction: Prediction) -> Probabilities:
    """Reads the files of a case, one per class in their order.

    Raises:
        InputError: If one cannot be read, has channels, or is elsewhere than the first.
    """
    first, *rest = prediction.files.values()
    images = [_one_channel(first)]
    for file in rest:
        images.append(_one_channel(file))
        _check_alike(file, images[-1], first, images[0])
    return _probabilities(np.stack([image.voxels for image in images]), images, first)


def _probabilities(voxels: Array, images: Sequence[Image], file: Path) -> Probabilities:
    """The voxels of one image or several; the coarsest step is that of all."""
    whole = all(image.whole for image in images)
    step = max((image.step for image in images if image.step is not None), default=None)
    if step is not None:  # a scale may round 0 and 1 beyond themselves, by half a step at most
        nearest = voxels.clip(0, 1)
        voxels = np.where(abs(voxels - nearest) <= step / 2, nearest, voxels)
    affine, behind = images[0].affine, images[0].behind or {}
    return Probabilities(voxels, affine, file, file, whole=whole, step=step, behind=behind)


def _check_alike(file: Path, image: Image, first_file: Path, first: Image) -> None:
    alike = image.shape == first.shape and on_one_grid(first.shape, image.affine, first.affine)
    if not alike:
        raise InputError(f"{file}: is on another grid than {first_file}; predict the case again")
    if image.voxels.dtype != first.voxels.dtype:
        raise InputError(f"{file}: is stored in another way than {first_file}; save both alike")


def _one_channel(file: Path) -> Image:
    image = read_image(file)
    if image.voxels.ndim != 3:
        raise InputError(f"{file}: has {len(image.voxels)} channels; a file of one class has one")
    return image


@dataclass(frozen=True)
class Layout:
    """One way to keep probabilities.

    Attributes:
        label: What is printed.
        find: Folder and names of the label maps → its cases; empty if the folder has another layout.
        read: Reads the probabilities of a case.
        dataset: Folder → the ``dataset.json`` that belongs to it, or None.
        is_placed: Whether a file says where the voxels of a case are.
    """

    label: str
    find: Callable[[Path, Collection[str]], list[Prediction]]
    read: Callable[[Prediction], Probabilities]
    dataset: Callable[[Path], Path | None] = dataset_json
    is_placed: Callable[[Prediction], bool] = bool  # every case is


#: The layouts by name; a folder has the first that finds a case in it.
LAYOUTS: dict[str, Layout] = {
    "nnunet": Layout("nnU-Net v2", find_nnunet, read_npz, is_placed=is_placed),
    "npz": Layout(
        "npz files of nnU-Net or TotalSegmentator, or npy files",
        find_npz,
        read_npz,
        is_placed=is_placed,
    ),
    "inference": Layout("this project's inference", find_own, read_channels),
    "files": Layout("one file per class", find_per_class, read_per_class),
    "channels": Layout("one channel per class", find_channels, read_channels),
    "folders": Layout("one folder per case, one file per class", find_folders, read_per_class),
}


def recognized(folder: Path, names: Collection[str]) -> tuple[Layout, list[Prediction]]:
    """The layout of a folder, and its cases.

    Args:
        folder: The folder of the predictions.
        names: The names of the label maps.

    Raises:
        InputError: If there is no such folder, if it holds label maps, an image that cannot be read, or
            nothing that is known, or a case twice.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; give the folder of the predictions")
    for layout in LAYOUTS.values():
        predictions = layout.find(folder, names)
        if predictions:
            named_once((prediction.case, prediction.file) for prediction in predictions)
            return layout, predictions
    if files := images_in(folder):
        for file in files:
            stored_as(file)  # one that cannot be read says so
        raise labels_instead(folder)  # volumes of whole numbers
    raise InputError(
        f"{folder}: holds no probabilities in a known layout; give a folder with nnU-Net's npz files, "
        "or with images that have a channel or a file per class"
    )


def check_one_layout(folder: Path, predictions: Sequence[Prediction], channels: Channels) -> None:
    """Refuses probabilities of one case in two layouts, of which only the first would be read.

    Args:
        folder: The folder of the predictions.
        predictions: Its cases, from `recognized`.
        channels: What the channels mean; a file for each of them is a layout.

    Raises:
        InputError: If there are both a file with all channels of a case and others of them.
    """
    by_start: dict[str, dict[str, Path]] = defaultdict(dict)
    for stem, file in ((stem_of(file), file) for file in images_in(folder)):
        for start in _starts(stem):
            by_start[start][stem[len(start) + 1 :]] = file
    for prediction in predictions:
        if "" not in prediction.files:
            continue
        file = prediction.file
        case = stem_of(file).removesuffix(_OWN)
        beside = {**by_start.get(case, {})}
        own = beside.pop(_OWN[1:], file)
        below = {stem_of(image): image for image in images_in(folder / case)}
        rivals = [own] if own != file else []
        for files in filter(None, (beside, below)):
            with suppress(InputError):
                rivals += in_order(Prediction(case, files), channels).files.values()
        if rivals:
            raise InputError(
                f"{file}: {rivals[0]} holds probabilities of the same case; move one of them into a "
                "folder of its own"
            )


def labels_instead(place: Path) -> InputError:
    """The error for label maps in place of probabilities."""
    return InputError(
        f"{place}: these are labels; probabilities are needed: nnUNetv2_predict --save_probabilities"
    )


def count_files(prediction: Prediction) -> int:
    """The number of classes where no file names them.

    Raises:
        InputError: If the files of the case are not called 0, 1, 2, …
    """
    names = sorted(prediction.files)
    numbers = sorted(int(name) for name in names if name.isdecimal())
    if numbers != list(range(len(names))):
        raise InputError(
            f"{prediction.file}: the files of a case are {', '.join(names)}, and nothing says which "
            "labels they stand for; give --dataset dataset.json with their names"
        )
    return len(names)


def in_order(prediction: Prediction, channels: Channels) -> Prediction:
    """A case with its files in the order of the classes; one with a single file stays as it is.

    Files with numbers for names are those of label values, or else names are those of the classes.

    Raises:
        InputError: If a class has no file, or two, or if a file is of none.
    """
    files = prediction.files
    if "" in files:
        return prediction
    keys = [name.lower() for name in channels.names]
    renamed: Callable[[str], str] = str.lower
    if not channels.overlapping and all(map(str.isdecimal, files)):
        keys = [str(values[0]) for values in channels.values.values()]
        renamed = lambda name: str(int(name))  # noqa: E731
    by_key = named_once((renamed(name), file) for name, file in files.items())
    if by_key.keys() != set(keys):
        raise InputError(
            f"{prediction.file}: the files of this case are {', '.join(sorted(files))}, but there are "
            f"{channels.describe()}: {', '.join(channels.names)}; give one file for each"
        )
    return replace(prediction, files={key: by_key[key] for key in keys})
