"""The cases with the largest errors, while cases arrive one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from nacl_monai.audits.measuring import Measured, Settings
from nacl_monai.audits.sums import summed
from nacl_monai.reports.page import DRAWN, error_region
from nacl_monai.training.case_table import error_columns

# Decimals of the table of cases, by which the page orders them.
_DECIMALS = 6


class WorstCases:
    """Keeps the pictures of the cases that the page of an audit shows, and forgets all others.

    Args:
        settings: The audit's settings.
        most: So many are kept.
    """

    def __init__(self, settings: Settings, most: int = DRAWN) -> None:
        self.settings = settings
        self.most = most
        self._kept: list[tuple[float, str, Mapping[str, Any]]] = []

    @property
    def pictures(self) -> dict[str, Mapping[str, Any]]:
        """Case → picture, the worst first."""
        return {case: picture for _, case, picture in self._kept}

    def keep(self, case: str, measured: Measured) -> Measured:
        """Takes the picture of a case out of its numbers; among equal cases, the first stay."""
        if measured.picture is None:
            return measured
        columns = error_columns(summed(self.settings, [measured]))
        region = error_region(self.settings.regions, columns)
        error = round(float(columns[f"ece_{region}"]), _DECIMALS)
        if not np.isnan(error):
            kept = [*self._kept, (error, case, measured.picture)]
            self._kept = sorted(kept, key=lambda one: -one[0])[: self.most]
        return replace(measured, picture=None)
