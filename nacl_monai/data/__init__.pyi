from .augmentation import random_augmentation
from .cases import (
    LabeledCase,
    hippocampus_patient,
    one_case_per_patient,
    patient_by_pattern,
    patient_by_table,
)
from .layouts import (
    acdc_cases,
    brats_cases,
    decathlon_cases,
    flare_cases,
    kits_cases,
    listed_cases,
    mrbrains_cases,
    paired_cases,
)
from .loading import LoadCase
from .splits import (
    complete_split,
    is_drawn,
    leave_one_out,
    read_split,
    split_by_folds,
    split_cases,
    split_patients,
)
from .volumes import CachedVolumes, PatchDataset, SliceDataset, check_distinct, slices_or_patches

__all__ = [
    "CachedVolumes",
    "LabeledCase",
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
]
