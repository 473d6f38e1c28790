"""Errors for people: one line that names the file or key at fault and the remedy."""


class InputError(ValueError):
    """What cannot be used: a file, a folder, a configuration key or a tensor.

    The message is one line, names what is wrong and where, and says how to put it right. Bundles
    end with this line and exit code 1 instead of a traceback (`nacl_monai.runtime`).
    """
