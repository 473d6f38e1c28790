"""What a border voxel's probability should be: priors, measured against raters who disagree.

One rater's mask, softened by a prior, is a probability of what another rater says of the same voxel. Its
calibration tells which prior, of which width in mm, a network should be held to.
"""

from nacl_monai.raters.fitting import Fit, fit_width
from nacl_monai.raters.masks import RatedMasks
from nacl_monai.raters.priors import Prior, bilateral, blur, hard, logistic, mean, svls
from nacl_monai.raters.scores import PriorScores, score_priors

__all__ = [
    "Fit",
    "Prior",
    "PriorScores",
    "RatedMasks",
    "bilateral",
    "blur",
    "fit_width",
    "hard",
    "logistic",
    "mean",
    "score_priors",
    "svls",
]
