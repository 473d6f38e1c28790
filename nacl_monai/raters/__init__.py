"""The right probability of a border voxel: priors, measured against raters who disagree.

One rater's mask, softened by a prior, is a probability of what another rater says of the same voxel. Its
calibration tells which prior, of which width in mm, a network should be held to.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
