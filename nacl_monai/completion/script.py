"""The script of a shell, and the options that it completes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from io import StringIO

from nacl_monai.cli import COMMANDS, main

#: Zsh reads functions of bash behind these two.
_AUTOLOAD = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"
_HEADS = {"bash": "", "zsh": _AUTOLOAD}
SHELLS = tuple(_HEADS)


def options_of(command: str) -> list[str]:
    """The options of a command, in the order of its own help.

    Example:
        >>> options_of("phantom")
        ['--help', '--cases', '--seed', '--full-size', '--annotator', '--deviation']
    """
    shown = StringIO()
    with redirect_stdout(shown), suppress(SystemExit):
        main([command, "--help"])
    options = re.findall(r"^  (?:-\w, )?(--[a-z][\w-]*)", shown.getvalue(), re.MULTILINE)
    return list(dict.fromkeys(options))


def script(shell: str) -> str:
    """The script that completes ``nacl-monai`` in a shell, ``bash`` or ``zsh``.

    Files are completed wherever no option begins.
    """
    cases = "\n".join(_case(f"*:{word}", options_of(word)) for word in COMMANDS)
    return f"""{_HEADS[shell]}_nacl_monai() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" choices=""
    COMPREPLY=()
    if [ "$COMP_CWORD" -gt 1 ] && [ "${{word#-}}" = "$word" ]; then
        return
    fi
    case "$COMP_CWORD:${{COMP_WORDS[1]}}" in
{_case("1:*", [*COMMANDS, "--help", "--verbose"])}
{cases}
    esac
    COMPREPLY=($(compgen -W "$choices" -- "$word"))
}}
complete -o default -F _nacl_monai nacl-monai
"""


def _case(pattern: str, words: Sequence[str]) -> str:
    return f'        {pattern}) choices="{" ".join(words)}" ;;'
