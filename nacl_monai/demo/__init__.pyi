from .planning import DATASET, Plan, plan
from .running import run

__all__ = ["DATASET", "Plan", "plan", "run"]
