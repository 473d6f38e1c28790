"""How many of what, in words."""


def counted(number: int, noun: str) -> str:
    """The number and the noun, in the plural unless there is one.

    Example:
        >>> counted(1, "patient"), counted(20, "sound case")
        ('1 patient', '20 sound cases')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
