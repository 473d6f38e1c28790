"""A small application of MONAI Deploy, without a GPU: deploy_app.py BUNDLE IMAGE PROBABILITIES LABEL.

It runs where the App SDK is, and this package is not.
"""

import sys
from pathlib import Path

import nibabel
import numpy as np
from monai.deploy.conditions import CountCondition
from monai.deploy.core import AppContext, Application, Image, Operator
from monai.deploy.core.io_type import IOType
from monai.deploy.operators.monai_bundle_inference_operator import (
    BundleConfigNames,
    IOMapping,
    MonaiBundleInferenceOperator,
)

BUNDLE, IMAGE, PROBABILITIES, LABEL = sys.argv[1:]


class Read(Operator):
    """Reads the image."""

    def setup(self, spec):
        spec.output("image")

    def compute(self, op_input, op_output, context):  # noqa: ARG002 - as the host calls it
        volume = nibabel.load(IMAGE)
        voxels = np.asarray(volume.dataobj, np.float32)
        op_output.emit(Image(voxels, {"affine": volume.affine}), "image")


class Infer(MonaiBundleInferenceOperator):
    """The host's operator, which keeps the probabilities that the label follows from."""

    def post_process(self, *args, **kwargs):
        found = super().post_process(*args, **kwargs)
        np.save(PROBABILITIES, found["probabilities"].numpy())
        return found


class Save(Operator):
    """Saves the label, which the operator gives as (z, y, x)."""

    def setup(self, spec):
        spec.input("pred")

    def compute(self, op_input, op_output, context):  # noqa: ARG002 - as the host calls it
        np.save(LABEL, op_input.receive("pred").asnumpy().transpose())


class Segmentation(Application):
    """Image in, label map out."""

    def compose(self):
        read, save = Read(self, CountCondition(self, 1), name="read"), Save(self, name="save")
        infer = Infer(
            self,
            app_context=AppContext({}),
            bundle_path=Path(BUNDLE),
            name="infer",
            bundle_config_names=BundleConfigNames(config_names=["inference"]),
            input_mapping=[IOMapping("image", Image, IOType.IN_MEMORY)],
            output_mapping=[IOMapping("pred", Image, IOType.IN_MEMORY)],
        )
        self.add_flow(read, infer, {("image", "image")})
        self.add_flow(infer, save, {("pred", "pred")})


Segmentation().run()
