"""The losses of the paper, its rivals since, and their parts.

Each method has a pure function, such as `nacl_loss(logits, labels, penalty_weight=0.1)`, and a module
around it, such as `NACLLoss(penalty_weight=0.1)(logits, labels)`.
"""

from nacl_monai.losses.base import SegmentationLoss
from nacl_monai.losses.composed import ComposedLoss, Penalty
from nacl_monai.losses.crac import CRaCLoss, CRaCPenalty, crac_loss, crac_penalty
from nacl_monai.losses.cross_entropy import CrossEntropyLoss, cross_entropy
from nacl_monai.losses.dca import DCALoss, DCAPenalty, dca_loss, dca_penalty
from nacl_monai.losses.deep_supervision import DeepSupervisionLoss
from nacl_monai.losses.dice_ce import DiceCELoss, dice_ce_loss, soft_dice_loss
from nacl_monai.losses.ecp import ECPLoss, EntropyPenalty, ecp_loss, entropy_penalty
from nacl_monai.losses.focal import FocalLoss, focal_loss
from nacl_monai.losses.foreign import ForeignLoss
from nacl_monai.losses.label_smoothing import LabelSmoothingLoss, label_smoothing_loss
from nacl_monai.losses.learned_penalty import LearnedPenalty
from nacl_monai.losses.mbls import MarginPenalty, MbLSLoss, margin_penalty, mbls_loss
from nacl_monai.losses.ml1ace import ML1ACELoss, ML1ACEPenalty, ml1ace_loss, ml1ace_penalty
from nacl_monai.losses.morphology import MorphologyPenalty, morphology_penalty
from nacl_monai.losses.nacl import NACLLoss, nacl_loss
from nacl_monai.losses.neighborhood import neighborhood_proportions
from nacl_monai.losses.neighborhood_penalty import NeighborhoodPenalty, neighborhood_penalty
from nacl_monai.losses.penalties import log_barrier
from nacl_monai.losses.sdc import SDCLoss, sdc_loss
from nacl_monai.losses.signed_distance import DistancePenalty, distance_penalty
from nacl_monai.losses.svls import SVLSLoss, svls_loss

__all__ = [
    "CRaCLoss",
    "CRaCPenalty",
    "ComposedLoss",
    "CrossEntropyLoss",
    "DCALoss",
    "DCAPenalty",
    "DeepSupervisionLoss",
    "DiceCELoss",
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
