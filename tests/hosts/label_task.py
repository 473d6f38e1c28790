"""MONAI Label's task of a bundle, as its server calls it: label_task.py BUNDLE IMAGE PROBABILITIES.

It runs where MONAI Label is, and this package is not.
"""

import sys

import numpy as np
from monailabel.tasks.infer.basic_infer import CallBackTypes
from monailabel.tasks.infer.bundle import BundleInferTask

BUNDLE, IMAGE, PROBABILITIES = sys.argv[1:]


def save(data):
    """Keeps the probabilities that the label follows from."""
    np.save(PROBABILITIES, data["probabilities"].numpy())
    return data


task = BundleInferTask(BUNDLE, {"zoo_source": "local"})
for _ in range(2):  # the second call has what the first one made
    task({"image": IMAGE, "device": "cpu"}, callbacks={CallBackTypes.POST_TRANSFORMS: save})
