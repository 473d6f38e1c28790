"""What MONAI lacks: TransUNet, one output from networks with many, and a check of image sizes."""

from nacl_monai.networks.input_size import check_input_size
from nacl_monai.networks.single_output import SingleOutput
from nacl_monai.networks.transunet import TransUNet

__all__ = ["SingleOutput", "TransUNet", "check_input_size"]
