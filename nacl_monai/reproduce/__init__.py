"""The paper's tables and figures from nothing: Snakemake runs the workflow of the package."""

from nacl_monai.reproduce.workflow import copy_workflow, snakemake_words, workflow_folder

__all__ = ["copy_workflow", "snakemake_words", "workflow_folder"]
