"""A page is a record, which programs read as JSON, and one template, which draws it and adds nothing.

One scrolls through its cases: small volumes that NiiVue shows without a network.

Each layer is a NIfTI file of uint8 with its scale, cropped to what matters, along right, anterior and
superior, so that a voxel of the page is one of the file that it is from. NiiVue (BSD-2-Clause) is in the
package, and in each page that has cases; ``viewer.js`` is all that is ours.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nibabel
import numpy as np
import torch
from markupsafe import Markup

from nacl_monai.errors import InputError, SettingError
from nacl_monai.evaluations.slices import confidence_of, doubt_near, doubtful_planes, thick_axis
from nacl_monai.files import record_text, write_text
from nacl_monai.inference.promised import Array
from nacl_monai.inference.records import (
    Condition,
    anything,
    boolean,
    each,
    keyed,
    mapped,
    maybe,
    string,
    whole,
)
from nacl_monai.predictions.arrays import ArrayStudy
from nacl_monai.predictions.names import images_of_cases
from nacl_monai.predictions.options import Options
from nacl_monai.predictions.reading import Reading
from nacl_monai.predictions.study import Study
from nacl_monai.reports.style import OKABE_ITO, gray_ends, page_template

#: So many cases of an audit are in its page.
SEEN = 6
#: So many are in any page.
MOST_VIEWED = 12
#: Around what is labeled, predicted or likely, so many mm are shown.
AROUND = 20.0
#: Cases beyond so many characters of a page have pages of their own; with NiiVue it is below 25 MB.
LIMIT = 22_000_000
#: Names of cases → their layers.
Viewed = Callable[[Sequence[str]], Iterable[Mapping[str, Any]]]
#: Names of cases → what is read of each, and its image, if it has one.
Read = Callable[[Sequence[str]], Iterable[tuple[Reading, "Array | None"]]]
_LIKELY = 0.05
_HERE = Path(__file__).parent
_NIIVUE = _HERE / "niivue"
LABEL, PREDICTION, OUTER_CONTOUR, INNER_CONTOUR = (
    "label",
    "prediction",
    "outer contour",
    "inner contour",
)
# Color of an outline, as in the figures of a promise, and its dashes, which tell it without color; the
# label is whole, and labels of raters take turns.
_LINES: Mapping[str, tuple[str, tuple[int, ...]]] = {
    PREDICTION: (OKABE_ITO["purple"], (7, 4)),
    OUTER_CONTOUR: (OKABE_ITO["orange"], (12, 3, 2, 3)),
    INNER_CONTOUR: (OKABE_ITO["sky"], (3, 3)),
}
_RATERS = [OKABE_ITO[name] for name in ("green", "yellow", "vermillion", "blue")]


@dataclass(frozen=True)
class Layers:
    """The layers of a structure of a case, beside its probability, label and prediction.

    Attributes:
        contours: "outer contour", "inner contour" → where, of the shape of the voxels.
        within: Where a threshold is lowered first, as by the family "within" of a promise; None for
            everywhere.
        mark: The threshold that makes the outer contour, where one does.
        meaning: What that contour promises.
    """

    contours: Mapping[str, Array] = field(default_factory=dict)
    within: Array | None = None
    mark: float | None = None
    meaning: str = ""


class _Frame:
    """Turns voxels ``(z, y, x)`` of a case to right, anterior, superior, and crops them.

    Attributes:
        affine: From cropped voxels to mm.
    """

    def __init__(self, reading: Reading) -> None:
        shape = reading.predicted.shape
        affine = np.eye(4) if reading.affine is None else reading.affine
        nib: Any = nibabel.orientations
        turn = nib.io_orientation(affine)
        if np.isnan(turn).any():
            affine, turn = np.eye(4), nib.io_orientation(np.eye(4))
        self._turn = None if reading.predicted.turned else turn
        stored = np.array(shape)
        if reading.predicted.turned:  # the affine is that of the file
            stored = stored[turn[:, 0].astype(int)]
        self.affine = affine @ nib.inv_ornt_aff(turn, stored)
        self._box: tuple[slice, ...] = (slice(None),) * 3

    def __call__(self, voxels: Array) -> Array:
        """The same voxels as ``(x, y, z)``."""
        nib: Any = nibabel.orientations
        turned = voxels.T if self._turn is None else nib.apply_orientation(voxels.T, self._turn)
        return np.ascontiguousarray(turned[self._box])

    def crop(self, inside: Array) -> None:
        """Keeps what is around a mask; all of it where the mask is empty."""
        box = []
        for axis, size in enumerate(np.linalg.norm(self.affine[:3, :3], axis=0)):
            where = np.flatnonzero(inside.any(tuple({0, 1, 2} - {axis})))
            first, last = (where[0], where[-1]) if len(where) else (0, inside.shape[axis])
            around = int(np.ceil(AROUND / max(size, 1e-3)))
            box.append(slice(max(0, int(first) - around), int(last) + around + 1))
        self._box = tuple(box)
        self.affine = self.affine.copy()
        self.affine[:3, 3] += self.affine[:3, :3] @ [part.start for part in box]


def viewed(
    reading: Reading,
    image: Array | None = None,
    seen: Mapping[str, Layers] | None = None,
    raters: Sequence[str] = (),
) -> dict[str, Any]:
    """The layers of a case.

    Args:
        reading: Its probabilities, with its labels where there are any.
        image: ``(z, y, x)``, on their grid.
        seen: Structure → what else is shown of it.
        raters: The names of several.

    Returns:
        The input of ``viewer.js``: "name", "shape" and "affine" of the cropped voxels, "image" and
        "confidence", the worst voxel of each of the "doubtful" planes, and for each of the "structures"
        its "probability", "masks", "within" and "mark".
        A volume is base64 of a compressed NIfTI file.
    """
    channels, probs = reading.channels, reading.probs.float()
    frame = _Frame(reading)
    structures = {
        name: _structure(reading, probs, name, (seen or {}).get(name, Layers()), raters)
        for name in channels.structures
    }
    matters = [
        frame(layer)
        for probability, masks, _ in structures.values()
        for layer in (probability >= _LIKELY, *masks.values())
    ]
    frame.crop(np.logical_or.reduce(matters))
    confidence = confidence_of(probs, channels.overlapping).numpy()
    shown = [
        {
            "name": name,
            "probability": _packed(frame, probability, (0, 1)),
            "masks": [
                {"name": kind, "line": _line(kind, masks), "voxels": _packed(frame, mask)}
                for kind, mask in masks.items()
            ],
            "within": None if more.within is None else _packed(frame, more.within),
            "mark": more.mark,
            "meaning": more.meaning,
        }
        for name, (probability, masks, more) in structures.items()
    ]
    return {
        "name": reading.case.name,
        "shape": list(frame(confidence).shape),
        "affine": frame.affine.tolist(),
        "image": None if image is None else _packed(frame, image, gray_ends(frame(image))),
        "blank": _blank(frame, image),
        "confidence": _packed(frame, confidence, (0, 1)),
        "doubtful": _doubtful(frame, confidence, [masks for _, masks, _ in structures.values()]),
        "structures": shown,
    }


def _doubtful(
    frame: _Frame, confidence: Array, structures: Sequence[Mapping[str, Array]]
) -> list[list[int]]:
    """The worst voxel of each plane that may have errors, of the plane with most of them first."""
    predicted = np.logical_or.reduce([masks[PREDICTION] for masks in structures])
    sizes = np.linalg.norm(frame.affine[:3, :3], axis=0).tolist()
    # A copy, since an axis of one voxel may run backwards and still be called contiguous.
    sure, inside = (torch.from_numpy(frame(part).copy()) for part in (confidence, predicted))
    doubt = doubt_near(sure, inside, sizes)
    return [place for *_, place in doubtful_planes(doubt.numpy(), thick_axis(sizes))]


def _structure(
    reading: Reading, probs: Any, name: str, more: Layers, raters: Sequence[str]
) -> tuple[Array, dict[str, Array], Layers]:
    """The probability of a structure, and its masks by name."""
    channels = reading.channels
    of_structure = list(channels.structures[name])
    probability = probs[of_structure].sum(0).clamp(max=1).numpy()
    most = None if channels.overlapping else probs.max(0).indices.numpy()
    masks = {PREDICTION: probability > 0.5 if most is None else np.isin(most, of_structure)}
    place = [*channels.structures].index(name)
    labels = [replace(reading, labels=[labels]).masks[place].numpy() for labels in reading.labels]
    names = [f"{LABEL} of {rater}" for rater in raters] or [LABEL] * len(labels)
    return probability, {**dict(zip(names, labels, strict=True)), **masks, **more.contours}, more


def _line(kind: str, masks: Mapping[str, Array]) -> dict[str, Any]:
    """How an outline is drawn."""
    rater = _RATERS[[*masks].index(kind) % len(_RATERS)]
    color, dashes = _LINES.get(kind, (rater, ()))
    return {"color": color, "dashes": list(dashes)}


def _blank(frame: _Frame, image: Array | None) -> str | None:
    """Where an image has no value that is a number, if anywhere."""
    missing = ~np.isfinite(0.0 if image is None else image)
    return _packed(frame, missing) if missing.any() else None


def _packed(frame: _Frame, voxels: Array, window: tuple[float, float] | None = None) -> str:
    """A layer as base64 of a compressed NIfTI file: a mask as 0 and 1, else 255 steps of a window."""
    low, high = window or (0.0, 255.0)
    step = (high - low) / 255
    numbers = frame(voxels)
    known = np.nan_to_num(numbers.astype(np.float32), nan=low)
    stored = np.rint((known.clip(low, high) - low) / step).astype(np.uint8)
    header = nibabel.Nifti1Header()  # type: ignore[no-untyped-call]
    header.set_data_shape(stored.shape)  # type: ignore[no-untyped-call]
    header.set_data_dtype(np.uint8)  # type: ignore[no-untyped-call]
    header.set_sform(frame.affine, 1)  # type: ignore[no-untyped-call]
    header["pixdim"][1:4] = np.linalg.norm(frame.affine[:3, :3], axis=0)
    header["scl_slope"], header["scl_inter"] = step, low
    header["cal_min"], header["cal_max"] = window or (0, 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    file = header.binaryblock + bytes(4) + stored.tobytes("F")
    return base64.b64encode(gzip.compress(file, 6, mtime=0)).decode()


def scripts(
    found: Sequence[Mapping[str, Any] | None] = (), page: Path | None = None
) -> dict[str, Any]:
    """The variables of a template for its head and its end.

    Args:
        found: From `viewed`, each with its "reason"; the page has NiiVue only where there are some.
        page: The file, beside which cases beyond `LIMIT` get pages of their own.

    Returns:
        "policy", that lets no request leave the page; "script"; and "viewer" with its "data" and
        "library" and the names of those pages "beside" it, or None.
    """
    cases, beside = _within_limit([case for case in found if case], page)
    texts = [_text("viewer.js"), *([niivue()] if cases else [])]
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "connect-src data:; base-uri 'none'; form-action 'none'"
    )
    # An end tag within the data would end their element.
    data = Markup(json.dumps(cases).replace("<", "\\u003c"))  # noqa: S704 - no element can be in it
    library = Markup(texts[-1])  # noqa: S704 - checked by its hash
    page_id = hashlib.sha256(data.encode()).hexdigest()[:16]
    viewer = {"data": data if cases else "", "library": library, "beside": beside, "page": page_id}
    return {
        "policy": policy,
        "script": Markup(texts[0]),  # noqa: S704 - ours
        "viewer": viewer if cases or beside else None,
    }


def _within_limit(
    found: Sequence[Mapping[str, Any]], page: Path | None
) -> tuple[list[Mapping[str, Any]], dict[str, str]]:
    """The cases of a page, all where it is no file; case → the page of each that is beside it."""
    cases: list[Mapping[str, Any]] = []
    beside: dict[str, str] = {}
    room = LIMIT
    for case in found:
        size = len(json.dumps(case))
        if size <= room or page is None:
            cases.append(case)
            room -= size
            continue
        file = page.with_name(f"{page.stem}_{case['name']}.html")
        text = page_template(file="view.html.j2").render(
            name=case["name"], count=case["reason"], command=page.name, **scripts([case])
        )
        write_text(file, text + "\n")
        beside[case["name"]] = quote(file.name)
    return cases, beside


@cache
def niivue() -> str:
    """The library, as its ``version.json`` says.

    Raises:
        InputError: If the file is another.
    """
    text, version = _text("niivue/niivue.umd.js"), json.loads(_text("niivue/version.json"))
    if hashlib.sha256(text.encode()).hexdigest() != version["sha256"]:
        raise InputError(
            f"{_NIIVUE}: is not NiiVue {version['version']}; install the package again"
        )
    return text


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def is_seen(options: Options) -> bool:
    """Whether pages have cases; not of parts that are merged, nor where names are hidden."""
    return options.shows_patients and options.viewer and options.shard is None


def check_images(study: Study) -> None:
    """Refuses images that have no effect, or are missing, before the first volume is read.

    Raises:
        InputError: If a case has none.
        SettingError: If pages have no cases.
    """
    options = study.options
    if options.images and not is_seen(options):
        raise SettingError("--images: are for the cases of the page, which has none; leave it out")
    if options.images:
        images_of_cases(options.images, [*study.patients])


def read_again(study: Study, names: Sequence[str]) -> Iterator[tuple[Reading, Array | None]]:
    """Some cases of a study, which are read once more, with their images where there are any.

    Raises:
        InputError: If one has no image where ``--images`` names a folder.
    """
    images = images_of_cases(study.options.images, names) if study.options.images else {}
    by_name = {case.name: case for case in study.cases}
    for name in names:
        reading = study.read(by_name[name])
        yield reading, reading.image(images[name]) if images else None


def viewed_cases(study: Study, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The layers of some cases of a study, which are read once more."""
    for reading, image in read_again(study, names):
        yield viewed(reading, image, raters=study.raters)


def array_readings(study: ArrayStudy, names: Sequence[str]) -> Iterator[tuple[Reading, None]]:
    """Some cases in memory, as if they were read."""
    for name in names:
        yield study.read(name).as_read(), None


def array_cases(study: ArrayStudy, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The layers of some cases in memory."""
    for reading, _ in array_readings(study, names):
        yield viewed(reading, raters=study.raters)


#: A page, and what it says.
PAGE, PAGE_RECORD = "page.html", "page.json"
_TEXTS = each(string)
_SECTION: dict[str, Condition] = {
    **dict.fromkeys(("title", "about", "whole"), string),
    **dict.fromkeys(("sentences", "notes", "pictures", "headings", "files"), _TEXTS),
    "rows": each(_TEXTS),
    "shown": maybe(whole()),
    "numbers": each(mapped(anything)),
    "viewer": boolean,
}
#: What a record of any page holds; each kind of page has more.
PAGES = _SECTION | {
    "sections": each(keyed(_SECTION, ["shown"])),
    "commands": mapped(string),
    "versions": mapped(string),
}


@dataclass(frozen=True)
class Section:
    """A part of a page: what it says, its pictures, one table, and the files behind it.

    Attributes:
        about: What it is about.
        sentences: Its answer.
        pictures: Caption → source.
        rows: Of the table, in text.
        shown: So many rows are on the page; by default all.
        whole: The file with all rows, if the page has fewer.
        notes: What the columns are, and what else one should know.
        files: Those behind it.
        numbers: Those behind the sentences, with intervals and units, for programs.
        viewer: Whether one scrolls through the cases here, in place of their pictures.
    """

    title: str = ""
    about: str = ""
    sentences: Sequence[str] = ()
    pictures: Mapping[str, str] = field(default_factory=dict)
    headings: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    shown: int | None = None
    whole: str = ""
    notes: Sequence[str] = ()
    files: Sequence[str] = ()
    numbers: Sequence[Mapping[Any, Any]] = ()
    viewer: bool = False

    @property
    def record(self) -> dict[str, Any]:
        """The section with the captions of its pictures alone."""
        return {**asdict(self), "pictures": [*self.pictures]}


def write_sections(
    file: Path,
    head: Section,
    sections: Sequence[Section],
    commands: Mapping[str, str],
    *,
    layers: Sequence[Mapping[str, Any] | None] = (),
    beside: str | None = PAGE_RECORD,
    **facts: Any,
) -> Path:
    """Writes a record, and the page that is drawn of it; returns the path of the page.

    Args:
        file: The page.
        head: How it begins.
        sections: What follows.
        commands: What a command is for → the command.
        layers: Of the cases that one scrolls through, from `nacl_monai.reports.viewer.viewed`.
        beside: The name of the record beside the page; None for a page alone.
        **facts: What else the record has, for programs.

    Raises:
        InputError: If they cannot be written.
    """
    records = [section.record for section in sections]
    text = record_text({**head.record, **facts, "sections": records, "commands": commands})
    if beside:
        write_text(file.with_name(beside), text)
    pictures = [[*section.pictures.values()] for section in (head, *sections)]
    drawn = page_template().render(
        page=json.loads(text), pictures=pictures, **scripts(layers, file)
    )
    return write_text(file, drawn + "\n")
