"""Files on disk → cases → splits → cached volumes, their slices and patches."""

from nacl_monai.data.augmentation import random_augmentation
from nacl_monai.data.cases import Case
from nacl_monai.data.device_volumes import DeviceVolumes, training_volumes, workers_for
from nacl_monai.data.given_splits import complete_split, split_by_folds
from nacl_monai.data.layouts import (
    acdc_cases,
    brats_cases,
    decathlon_cases,
    flare_cases,
    kits_cases,
    mrbrains_cases,
)
from nacl_monai.data.loading import LoadCase
from nacl_monai.data.own_cases import listed_cases, paired_cases
from nacl_monai.data.patches import PatchDataset, slices_or_patches
from nacl_monai.data.patients import (
    hippocampus_patient,
    one_case_per_patient,
    patient_by_pattern,
    patient_by_table,
)
from nacl_monai.data.splits import is_drawn, leave_one_out, read_split, split_cases, split_patients
from nacl_monai.data.volumes import CachedVolumes, SliceDataset, check_distinct

__all__ = [
    "CachedVolumes",
    "Case",
    "DeviceVolumes",
    "LoadCase",
    "PatchDataset",
    "SliceDataset",
    "acdc_cases",
    "brats_cases",
    "check_distinct",
    "complete_split",
    "decathlon_cases",
    "flare_cases",
    "hippocampus_patient",
    "is_drawn",
    "kits_cases",
    "leave_one_out",
    "listed_cases",
    "mrbrains_cases",
    "one_case_per_patient",
    "paired_cases",
    "patient_by_pattern",
    "patient_by_table",
    "random_augmentation",
    "read_split",
    "slices_or_patches",
    "split_by_folds",
    "split_cases",
    "split_patients",
    "training_volumes",
    "workers_for",
]
