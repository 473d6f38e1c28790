"""What the bundles ask of the package: strictness, errors in one line, weights."""

from nacl_monai.bundle.command_line import check_command_line
from nacl_monai.bundle.error_lines import one_line_errors
from nacl_monai.bundle.weights import load_weights, refuse_to_overwrite

__all__ = ["check_command_line", "load_weights", "one_line_errors", "refuse_to_overwrite"]
