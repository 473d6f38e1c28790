"""What a dataset holds: the numbers that the check of a download prints."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from nacl_monai.counting import counted
from nacl_monai.data.cases import Case, split_unit
from nacl_monai.data.loading import LoadedCase
from nacl_monai.data.lost import LostVoxels
from nacl_monai.errors import InputError


@dataclass
class DatasetSummary:
    """The sound cases of a dataset, and what is wrong with the others.

    Attributes:
        dataset: The dataset's name.
        classes: Names of the classes.
        label_values: For each class, the values on disk that become it.
        in_channels: Channels that an image must have.
        official_cases: How many cases the official download has.
        ignore_index: The value on disk of voxels that nobody labeled; None where all are.
        faults: What is wrong, each in one line that names the file.
        units: What a split follows for each sound case: its patient, or itself.
        patients_known: Whether the patient of every case is known.
        shapes: Voxels along each axis, of each sound case.
        spacings: Size of a voxel in mm, of each sound case.
        voxels: Number of voxels of each label value, over all sound cases.
        holders: Number of sound cases that hold each class, by index.
        lost: What preprocessing and cropping take away, by case and class; None if nobody has looked.
    """

    dataset: str
    classes: list[str]
    label_values: list[list[int]]
    in_channels: int
    official_cases: int
    ignore_index: int | None = None
    faults: list[InputError] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    patients_known: bool = True
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    spacings: list[tuple[float, ...]] = field(default_factory=list)
    voxels: Counter[float] = field(default_factory=Counter)
    holders: Counter[int] = field(default_factory=Counter)
    lost: list[LostVoxels] | None = None

    def add(self, case: Case, loaded: LoadedCase) -> None:
        """Counts a sound case."""
        self.units.append(split_unit(case))
        self.patients_known &= "patient" in case
        self.shapes.append(tuple(loaded.label.shape[1:]))
        self.spacings.append(tuple(loaded.label.pixdim.tolist()))
        self.voxels.update(loaded.counts)
        self.holders.update(
            index
            for index, values in enumerate(self._rows().values())
            if set(values) & loaded.counts.keys()
        )

    def table(self) -> str:
        """Returns the number of cases, the ranges of shape and spacing, and a line per class.

        A second table has a line for each case and class of which preprocessing loses voxels.
        """
        people = counted(len(set(self.units)), "patient")
        patients = f" of {people}" if self.patients_known else ""
        lines = [
            f"{self.dataset}: {counted(len(self.units), 'sound case')}{patients} "
            f"(official: {self.official_cases} cases), {self.in_channels} channel(s)"
        ]
        if self.units:
            lines += [
                f"shape    {_range(self.shapes, '{:d}')}",
                f"spacing  {_range(self.spacings, '{:.2f}')} mm",
            ]
        return "\n".join([*lines, self._class_table().to_string(index=False), *self._lost_lines()])

    def _lost_lines(self) -> list[str]:
        if self.lost is None:
            return []
        if not self.lost:
            return ["preprocessing and cropping lose no voxel of any class"]
        table = pd.DataFrame(self.lost, columns=["case", "class", "voxels", "lost"])
        table["%"] = [f"{100 * one.lost / one.voxels:.3f}" for one in self.lost]
        return ["lost by preprocessing and cropping:", table.to_string(index=False)]

    def _rows(self) -> dict[str, list[int]]:
        """The values on disk of each class, and of what is none."""
        rows = dict(zip(self.classes, self.label_values, strict=False))
        return rows if self.ignore_index is None else {**rows, "(ignored)": [self.ignore_index]}

    def _class_table(self) -> pd.DataFrame:
        total = max(1, sum(self.voxels.values()))
        rows = self._rows()
        voxels = [sum(self.voxels[value] for value in values) for values in rows.values()]
        return pd.DataFrame(
            {
                "class": list(rows),
                "values": [", ".join(map(str, values)) for values in rows.values()],
                "voxels": voxels,
                "%": [f"{100 * number / total:.3f}" for number in voxels],
                "cases": [self.holders[index] for index in range(len(rows))],
            }
        )


def _range(values: list[tuple[Any, ...]], form: str) -> str:
    """The smallest and the largest value along each axis: ``154×154×6 to 428×512×18``."""
    ends = (
        "×".join(form.format(value) for value in end(np.array(values), axis=0).tolist())
        for end in (np.min, np.max)
    )
    return " to ".join(ends)
