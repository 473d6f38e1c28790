"""The trainers, where nnU-Net looks for them; it imports this file by its bare name."""

from nacl_monai.nnunet import __getattr__

__all__ = ["__getattr__"]
