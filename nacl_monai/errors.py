"""Errors for people: one line that names the file or key at fault, and the remedy."""


class InputError(ValueError):
    """A file, a folder, a configuration key or a tensor cannot be used.

    The message is one line, "WHERE: what is wrong; what to do". Commands end with this line and
    ``exit_code`` instead of a traceback (`nacl_monai.training`).
    """

    exit_code = 1


class SettingError(InputError):
    """A word of a command, a key of a configuration or an argument of a component cannot be meant.

    Nothing has been done then. The exit code is argparse's, so that a script can tell a slip of its own
    from a fault of the data.
    """

    exit_code = 2
