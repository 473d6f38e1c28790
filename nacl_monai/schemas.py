"""The JSON schema of each file that a command hands to the next one, or to a program.

Each is made from the table by which the file is read, so that what a reader takes is valid. A reader
refuses more: an edited file by its checksum, and what no schema can say, such as a name that leads to
another folder.
"""

from __future__ import annotations

from typing import Any

from nacl_monai.errors import SettingError
from nacl_monai.evaluations.evaluation_files import EVALUATION, SUMMARY
from nacl_monai.inference.records import PROMISE, schema_of
from nacl_monai.posthoc.file import ENSEMBLES, FITS
from nacl_monai.posthoc.file import FILE as CALIBRATOR
from nacl_monai.posthoc.islands import ISLANDS, ISLANDS_FILE
from nacl_monai.promises.check import CHECKS, LOOKS
from nacl_monai.promises.record import PROMISE_FILE
from nacl_monai.promises.report import REPORT, REPORTS
from nacl_monai.promises.watch import LOG, LOGGED
from nacl_monai.reports.viewer import PAGE_RECORD, PAGES

_SCHEMAS: dict[str, Any] = {
    CALIBRATOR: {"anyOf": [schema_of(FITS), schema_of(ENSEMBLES)]},
    ISLANDS_FILE: schema_of(ISLANDS),
    PROMISE_FILE: schema_of(PROMISE),
    LOG: schema_of(LOGGED),
    CHECKS: LOOKS.schema,
    "evaluation.json": schema_of(EVALUATION),
    "summary.json": schema_of(SUMMARY),
    PAGE_RECORD: schema_of(PAGES),
    REPORT: schema_of(REPORTS),
}


def schema(file: str) -> dict[str, Any]:
    """The JSON schema of a file, of the draft 2020-12.

    Args:
        file: Its name, such as "promise.json".

    Raises:
        SettingError: If no file of that name has one.

    Example:
        >>> schema("promise.json")["properties"]["control"]
        {'enum': ['each', 'mean', 'most']}
    """
    if file not in _SCHEMAS:
        raise SettingError(f"{file}: has no schema; choose from {', '.join(_SCHEMAS)}")
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, "title": file, **_SCHEMAS[file]}
