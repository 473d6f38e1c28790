"""Checking a download before anyone trains on it: ``python -m nacl_monai.data check acdc DIR``.

What is expected of a dataset stands once, in its ``bundles/*/configs/dataset.yaml``, and is read from
there, so that own datasets are checked by the same command. Of images only headers are read, of labels
all voxels. Hence two images with the same voxels are not seen as such, but two identical labels are.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pandas as pd
import SimpleITK as sitk
from monai.bundle import ConfigParser

from nacl_monai.data.cases import Case, image_files
from nacl_monai.data.loading import (
    AFFINE_TOLERANCE,
    check_file,
    check_label_values,
    not_numbers,
    readable,
)
from nacl_monai.errors import InputError
from nacl_monai.progress import progress_bar

_SPACE = 3  # a fourth axis holds channels


@dataclass
class Check:
    """What was found in a dataset.

    Attributes:
        dataset: Its name.
        classes: Names of the classes.
        label_values: For each class, the values on disk that become it.
        in_channels: Channels that an image must have.
        official_cases: How many cases the official download has.
        faults: What is wrong, each in one line that names the file.
        patients: The patient of each case.
        shapes: Voxels along each axis, of each case.
        spacings: Size of a voxel in mm, of each case.
        voxels: Number of voxels of each label value.
        holders: Number of cases that hold each class, by index.
        labels: The first file with each label map, by the hash of its shape and voxels.
    """

    dataset: str
    classes: list[str]
    label_values: list[list[int]]
    in_channels: int
    official_cases: int
    faults: list[InputError] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    spacings: list[tuple[float, ...]] = field(default_factory=list)
    voxels: Counter[float] = field(default_factory=Counter)
    holders: Counter[int] = field(default_factory=Counter)
    labels: dict[str, str] = field(default_factory=dict)

    def add(self, case: Case) -> None:
        """Reads one case; appends whatever is wrong with it to ``faults``."""
        before = len(self.faults)
        headers: dict[str, _Header] = {}
        for file in (*image_files(case), case["label"]):
            with self._noting():
                headers[file] = _Header.read(file)
                headers[file].check_grid(file, *next(iter(headers.items())))
        label = headers.pop(case["label"], None)
        with self._noting():
            self._check_channels(case, headers)
        if label is None:
            return
        with self._noting():
            found = self._read_label(case["label"])
        if len(self.faults) > before:
            return
        self.patients.append(case["patient"])
        self.shapes.append(label.shape)
        self.spacings.append(label.spacing)
        self.voxels.update(found)
        self.holders.update(k for k, own in enumerate(self.label_values) if set(own) & set(found))

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except InputError as fault:
            self.faults.append(fault)

    def _check_channels(self, case: Case, headers: Mapping[str, _Header]) -> None:
        channels = sum(header.channels for header in headers.values())
        if channels != self.in_channels and len(headers) == len(image_files(case)):
            file = max(headers, key=lambda file: headers[file].channels)
            raise InputError(
                f"{file}: the image has {channels} channel(s); expected {self.in_channels}"
            )

    def _read_label(self, file: str) -> dict[float, int]:
        """The number of voxels of each value."""
        check_file(file)
        with readable(file):  # by nibabel, since SimpleITK fills a truncated file up with zeros
            label: Any = nibabel.load(file)
            voxels = np.asarray(label.dataobj)
        channels = int(np.prod(voxels.shape[_SPACE:]))
        if channels != 1:
            raise InputError(f"{file}: has {channels} channels; a label map has one")
        values, counts = np.unique(voxels, return_counts=True)
        check_label_values(values.tolist(), self.label_values, file)
        content = str(voxels.shape).encode() + voxels.astype(np.int16).tobytes()
        first = self.labels.setdefault(hashlib.sha256(content).hexdigest(), file)
        if first != file:
            raise InputError(f"{file}: is the same label map as {first}; remove one of the cases")
        return dict(zip(values.tolist(), counts.tolist(), strict=True))

    def check_number(self, dataset_dir: str | Path) -> None:
        """Fewer cases than the official download has are a fault, too."""
        if len(self.patients) < self.official_cases:
            self.faults.append(
                InputError(
                    f"{dataset_dir}: {len(self.patients)} sound cases, but the official download has "
                    f"{self.official_cases}; unpack it again, or accept a part of it with --subset"
                )
            )

    def table(self) -> str:
        """Number of cases, ranges of shape and spacing, and a row per class."""
        lines = [
            f"{self.dataset}: {len(self.patients)} sound cases of {len(set(self.patients))} "
            f"patients (official: {self.official_cases} cases), {self.in_channels} channel(s)"
        ]
        if self.patients:
            lines += [
                f"shape    {_range(self.shapes, '{:d}')}",
                f"spacing  {_range(self.spacings, '{:.2f}')} mm",
            ]
        total = max(1, sum(self.voxels.values()))
        voxels = [sum(self.voxels[value] for value in values) for values in self.label_values]
        rows = pd.DataFrame(
            {
                "class": self.classes,
                "values": [", ".join(map(str, values)) for values in self.label_values],
                "voxels": voxels,
                "%": [f"{100 * number / total:.3f}" for number in voxels],
                "cases": [self.holders[k] for k in range(len(self.classes))],
            }
        )
        return "\n".join([*lines, rows.to_string(index=False)])


def check_dataset(
    dataset: str,
    dataset_dir: str | Path,
    *,
    bundles: str | Path = "bundles",
    subset: bool = False,
) -> Check:
    """Reads all headers and labels of a dataset, and compares them with what its bundle expects.

    Args:
        dataset: Name of a folder in ``bundles``.
        dataset_dir: The unpacked download.
        bundles: Folder of the bundles.
        subset: Accept fewer cases than the official download has.

    Raises:
        InputError: There is no such bundle, or ``dataset_dir`` is missing or in another layout.
    """
    config = Path(bundles) / dataset / "configs" / "dataset.yaml"
    if not config.is_file():
        known = ", ".join(
            sorted(path.parts[-3] for path in Path(bundles).glob("*/configs/d*.yaml"))
        )
        raise InputError(
            f"{config}: no such dataset; choose from: {known}"
            if known
            else f"{bundles}: no bundles there; run this in the project's root, or name their folder: "
            "--bundles DIR"
        )
    parser = ConfigParser()
    parser.read_config(config)
    parser["dataset_dir"] = str(dataset_dir)
    parser["cases::_mode_"] = "callable"
    found = Check(
        dataset,
        **{
            key: parser.get_parsed_content(key)
            for key in ("classes", "label_values", "in_channels", "official_cases")
        },
    )
    cases = parser.get_parsed_content("cases")(on_fault=found.faults.append)
    for case in progress_bar(cases, description=f"Checking {dataset}", unit="case"):
        found.add(case)
    if not subset:
        found.check_number(dataset_dir)
    return found


@dataclass(frozen=True)
class _Header:
    """What a file says about its voxels without reading them."""

    shape: tuple[int, ...]
    channels: int
    spacing: tuple[float, ...]
    affine: npt.NDArray[np.float64]

    @classmethod
    def read(cls, file: str) -> _Header:
        reader: Any = sitk.ImageFileReader()  # type: ignore[no-untyped-call]
        reader.SetFileName(file)
        with readable(file):
            reader.ReadImageInformation()
        if reader.GetNumberOfComponents() != 1:
            kind = sitk.GetPixelIDValueAsString(reader.GetPixelIDValue())  # type: ignore[no-untyped-call]
            raise not_numbers(file, kind)
        size, dimension = reader.GetSize(), reader.GetDimension()
        if dimension not in (_SPACE, _SPACE + 1):
            raise InputError(f"{file}: has shape {size}; a 3-D volume is needed")
        spacing = reader.GetSpacing()[:_SPACE]
        direction = np.reshape(reader.GetDirection(), (dimension, dimension))[:_SPACE, :_SPACE]
        affine = np.column_stack([direction * spacing, reader.GetOrigin()[:_SPACE]])
        return cls(size[:_SPACE], int(np.prod(size[_SPACE:])), spacing, affine)

    def check_grid(self, file: str, first_file: str, first: _Header) -> None:
        if self.shape != first.shape:
            raise InputError(
                f"{file}: has shape {self.shape} but {first_file} {first.shape}; they must be equal"
            )
        if not np.allclose(self.affine, first.affine, rtol=0, atol=AFFINE_TOLERANCE):
            raise InputError(
                f"{file}: its affine differs from that of {first_file}; "
                "the two must describe the same grid"
            )


def _range(rows: list[tuple[Any, ...]], form: str) -> str:
    """The smallest and the largest value along each axis: ``154×154×6 to 428×512×18``."""
    ends = (
        "×".join(form.format(value) for value in end(np.array(rows), axis=0).tolist())
        for end in (np.min, np.max)
    )
    return " to ".join(ends)
