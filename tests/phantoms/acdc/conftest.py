import nibabel as nib
import pytest

from nacl_monai.phantoms import PHANTOMS
from nacl_monai.phantoms.acdc.patient import draw_patient
from nacl_monai.phantoms.writing import request_case
from tests.phantoms.acdc.files import CASES, described


@pytest.fixture(scope="session")
def phantom(tmp_path_factory):
    """The phantom's first three patients."""
    return PHANTOMS["acdc"].write(tmp_path_factory.mktemp("phantom") / "acdc", cases=CASES, seed=0)


@pytest.fixture(scope="session")
def frames(phantom):
    """Per patient: ED image and label, ES image and label, as NIfTI."""
    return [
        [nib.load(patient / f"{patient.name}_frame{frame:02d}{suffix}.nii.gz")
         for frame in (int(info["ED"]), int(info["ES"])) for suffix in ("", "_gt")]
        for patient, info in described(phantom)
    ]  # fmt: skip


@pytest.fixture(scope="session", params=range(1, CASES + 1))
def patient(request):
    """One of the phantom's patients, drawn as for its files."""
    return draw_patient(request_case(0, request.param).anatomy, request.param)
