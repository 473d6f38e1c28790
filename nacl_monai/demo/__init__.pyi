from .steps import DATASET, Plan, plan, run

__all__ = ["DATASET", "Plan", "plan", "run"]
