from .base import ComposedLoss, ForeignLoss, Penalty, SegmentationLoss
from .crac import CRaCLoss, CRaCPenalty, LearnedPenalty, crac_loss, crac_penalty
from .cross_entropy import CrossEntropyLoss, cross_entropy
from .dca import DCALoss, DCAPenalty, dca_loss, dca_penalty
from .deep_supervision import DeepSupervisionLoss
from .dice_ce import DiceCELoss, dice_ce_loss, soft_dice_loss
from .dice_plus_plus import DicePlusPlusLoss, dice_plus_plus_loss
from .ecp import ECPLoss, EntropyPenalty, ecp_loss, entropy_penalty
from .focal import FocalLoss, focal_loss
from .label_smoothing import LabelSmoothingLoss, label_smoothing_loss
from .mbls import MarginPenalty, MbLSLoss, margin_penalty, mbls_loss
from .ml1ace import ML1ACELoss, ML1ACEPenalty, ml1ace_loss, ml1ace_penalty
from .nacl import NACLLoss, NeighborhoodPenalty, log_barrier, nacl_loss, neighborhood_penalty
from .neighborhood import neighborhood_proportions
from .sdc import (
    DistancePenalty,
    MorphologyPenalty,
    SDCLoss,
    distance_penalty,
    morphology_penalty,
    sdc_loss,
)
from .svls import SVLSLoss, svls_loss

__all__ = [
    "CRaCLoss",
    "CRaCPenalty",
    "ComposedLoss",
    "CrossEntropyLoss",
    "DCALoss",
    "DCAPenalty",
    "DeepSupervisionLoss",
    "DiceCELoss",
    "DicePlusPlusLoss",
    "DistancePenalty",
    "ECPLoss",
    "EntropyPenalty",
    "FocalLoss",
    "ForeignLoss",
    "LabelSmoothingLoss",
    "LearnedPenalty",
    "ML1ACELoss",
    "ML1ACEPenalty",
    "MarginPenalty",
    "MbLSLoss",
    "MorphologyPenalty",
    "NACLLoss",
    "NeighborhoodPenalty",
    "Penalty",
    "SDCLoss",
    "SVLSLoss",
    "SegmentationLoss",
    "crac_loss",
    "crac_penalty",
    "cross_entropy",
    "dca_loss",
    "dca_penalty",
    "dice_ce_loss",
    "dice_plus_plus_loss",
    "distance_penalty",
    "ecp_loss",
    "entropy_penalty",
    "focal_loss",
    "label_smoothing_loss",
    "log_barrier",
    "margin_penalty",
    "mbls_loss",
    "ml1ace_loss",
    "ml1ace_penalty",
    "morphology_penalty",
    "nacl_loss",
    "neighborhood_penalty",
    "neighborhood_proportions",
    "sdc_loss",
    "soft_dice_loss",
    "svls_loss",
]
