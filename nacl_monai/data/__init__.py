"""Files on disk → cases → splits → cached volumes and their slices; and phantoms of such files."""

from nacl_monai.data.cases import Case, acdc_cases, decathlon_cases
from nacl_monai.data.loading import LoadCased
from nacl_monai.data.splits import read_split, split_cases, split_patients
from nacl_monai.data.volumes import CachedVolumes, SliceDataset

__all__ = [
    "CachedVolumes",
    "Case",
    "LoadCased",
    "SliceDataset",
    "acdc_cases",
    "decathlon_cases",
    "read_split",
    "split_cases",
    "split_patients",
]
