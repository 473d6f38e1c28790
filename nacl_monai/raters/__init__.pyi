from .priors import Prior, RatedMasks, blur
from .scores import FittedWidth, PriorScores, fit_width, score_priors

__all__ = ["FittedWidth", "Prior", "PriorScores", "RatedMasks", "blur", "fit_width", "score_priors"]
