"""The curves' public names; they are in `nacl_monai.metrics.curves`."""

from nacl_monai.metrics.curves import Curves as Curves  # noqa: PLC0414
from nacl_monai.metrics.curves import read_curves as read_curves  # noqa: PLC0414
