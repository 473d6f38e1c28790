from .priors import Prior, RatedMasks, bilateral, blur, hard, logistic, mean, svls
from .scores import Fit, PriorScores, fit_width, score_priors

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
