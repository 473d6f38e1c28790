"""The demo: from MRI that come with the package to a table and two pictures, in minutes."""

from nacl_monai.demo.planning import DATASET, Plan, plan
from nacl_monai.demo.running import run

__all__ = ["DATASET", "Plan", "plan", "run"]
