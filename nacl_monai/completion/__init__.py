"""Completion of commands and options by a shell, from a script that is printed once.

The script holds every word, so that a completion costs no start of Python.
"""

from nacl_monai.completion.script import options_of, script

__all__ = ["options_of", "script"]
