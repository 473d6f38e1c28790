"""The studies of the tests of predictions, and what audits them."""

from tests.predictions.conftest import (  # noqa: F401
    audited,
    fault_of,
    refused,
    regions,
    run,
    study,
    undrawn,
)
