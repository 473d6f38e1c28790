"""The losses of the paper, its rivals since, and their parts.

Each method is a pure function, such as `nacl_loss(logits, labels, penalty_weight=0.1)`, and a module
with the same settings, `NACLLoss(penalty_weight=0.1)(logits, labels)`. The module of a penalty has a
``weight`` beside the settings of its function. All return a scalar, and share these arguments:

- ``logits``: ``(B, C, *spatial)`` before softmax, 2-D or 3-D; half precision is computed in float32.
- ``labels``: class indices of any dtype, ``(B, 1, *spatial)`` or ``(B, *spatial)``; or one-hot or soft
  labels, the shares of the classes, ``(B, C, *spatial)``, which sum to 1 in each voxel.
- ``ignore_index``: voxels with this label are ignored, also as neighbors; of soft labels, voxels that
  are wholly of this class, or have no shares.
- ``class_weights``: one weight per class, for the cross-entropy within the loss only.

Logits and labels may be MONAI's ``MetaTensor``. What does not fit is an ``InputError`` of one line.
"""

from nacl_monai.losses.base import ComposedLoss, ForeignLoss, Penalty, SegmentationLoss
from nacl_monai.losses.crac import (
    CRaCLoss,
    CRaCPenalty,
    LearnedPenalty,
    crac_loss,
    crac_penalty,
)
from nacl_monai.losses.cross_entropy import CrossEntropyLoss, cross_entropy
from nacl_monai.losses.dca import DCALoss, DCAPenalty, dca_loss, dca_penalty
from nacl_monai.losses.deep_supervision import DeepSupervisionLoss
from nacl_monai.losses.dice_ce import DiceCELoss, dice_ce_loss, soft_dice_loss
from nacl_monai.losses.ecp import ECPLoss, EntropyPenalty, ecp_loss, entropy_penalty
from nacl_monai.losses.focal import FocalLoss, focal_loss
from nacl_monai.losses.label_smoothing import LabelSmoothingLoss, label_smoothing_loss
from nacl_monai.losses.mbls import MarginPenalty, MbLSLoss, margin_penalty, mbls_loss
from nacl_monai.losses.ml1ace import ML1ACELoss, ML1ACEPenalty, ml1ace_loss, ml1ace_penalty
from nacl_monai.losses.nacl import (
    NACLLoss,
    NeighborhoodPenalty,
    log_barrier,
    nacl_loss,
    neighborhood_penalty,
)
from nacl_monai.losses.neighborhood import neighborhood_proportions
from nacl_monai.losses.sdc import (
    DistancePenalty,
    MorphologyPenalty,
    SDCLoss,
    distance_penalty,
    morphology_penalty,
    sdc_loss,
)
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
