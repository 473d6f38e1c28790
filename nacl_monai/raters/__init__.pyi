from .priors import Prior, RatedMasks, blur
from .scores import Fit, PriorScores, fit_width, score_priors

__all__ = [
    "Fit",
    "Prior",
    "PriorScores",
    "RatedMasks",
    "blur",
    "fit_width",
    "score_priors",
]
