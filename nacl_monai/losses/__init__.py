"""Losses of the paper and their parts, each called as ``loss(logits, labels)``."""

from nacl_monai.losses.base import SegmentationLoss
from nacl_monai.losses.composed import ComposedLoss, Penalty
from nacl_monai.losses.cross_entropy import CrossEntropyLoss, cross_entropy
from nacl_monai.losses.deep_supervision import DeepSupervisionLoss
from nacl_monai.losses.dice_ce import DiceCELoss, soft_dice_loss
from nacl_monai.losses.ecp import ECPLoss, EntropyPenalty
from nacl_monai.losses.focal import FocalLoss, focal_loss
from nacl_monai.losses.label_smoothing import LabelSmoothingLoss
from nacl_monai.losses.mbls import MarginPenalty, MbLSLoss
from nacl_monai.losses.nacl import NACLLoss, NeighborhoodPenalty, constraint_penalty, log_barrier
from nacl_monai.losses.neighborhood import neighborhood_proportions
from nacl_monai.losses.svls import SVLSLoss

__all__ = [
    "ComposedLoss",
    "CrossEntropyLoss",
    "DeepSupervisionLoss",
    "DiceCELoss",
    "ECPLoss",
    "EntropyPenalty",
    "FocalLoss",
    "LabelSmoothingLoss",
    "MarginPenalty",
    "MbLSLoss",
    "NACLLoss",
    "NeighborhoodPenalty",
    "Penalty",
    "SVLSLoss",
    "SegmentationLoss",
    "constraint_penalty",
    "cross_entropy",
    "focal_loss",
    "log_barrier",
    "neighborhood_proportions",
    "soft_dice_loss",
]
