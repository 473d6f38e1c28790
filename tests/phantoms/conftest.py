from functools import cache

import pytest

from nacl_monai.phantoms import PHANTOMS


@pytest.fixture(scope="session")
def full_size_of(tmp_path_factory):
    """Dataset's name → folder of a single case of the official size; read only."""

    @cache
    def write(name):
        folder = tmp_path_factory.mktemp("full_size") / name
        return PHANTOMS[name].write(folder, cases=1, full_size=True)

    return write
