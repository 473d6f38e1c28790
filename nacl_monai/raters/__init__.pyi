from .fitting import Fit, fit_width
from .masks import RatedMasks
from .priors import Prior, bilateral, blur, hard, logistic, mean, svls
from .scores import PriorScores, score_priors

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
