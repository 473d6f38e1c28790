"""Additions to MONAI: TransUNet, one output from networks with many, and a check of image sizes."""

from nacl_monai.networks.adapters import SingleOutput, check_input_size
from nacl_monai.networks.transunet import TransUNet

__all__ = ["SingleOutput", "TransUNet", "check_input_size"]
