"""Errors for people: one line that names the file or key at fault, and the remedy."""


class InputError(ValueError):
    """A file, a folder, a configuration key or a tensor cannot be used.

    The message is one line, "WHERE: what is wrong; what to do". Bundles end with this line and exit
    code 1 instead of a traceback (`nacl_monai.runtime`).
    """
