"""Neighbor-aware calibration of segmentation networks, as a MONAI application.

Packages, in the direction in which data flows; each imports only from those before it:
``data`` → ``networks`` → ``losses`` → ``metrics`` → ``handlers`` → ``reports`` → ``bundle``.
"""

__version__ = "0.1.0"
