"""Bundles of one's own, written from what their data hold: ``nacl-monai new``."""

from nacl_monai.data.new.bundle import NewBundle, new_bundle
from nacl_monai.data.new.choice import Choice, Options

__all__ = ["Choice", "NewBundle", "Options", "new_bundle"]
