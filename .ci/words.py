"""Hands the variables of make's command line to a program: LOSS=nacl is --loss nacl.

``words.py PROGRAM … VERB [PLACE[=DEFAULT] …] [-UNUSED …]`` runs it in ``BIN``; PLACE is a variable, in
capitals, whose value comes first, and UNUSED one that says nothing here. A value is one word, whatever
is in it; ARGS are words of the shell. A wrong name is an option that the program refuses by itself.
"""

import os
import re
import shlex
import sys
from pathlib import Path


def given() -> dict[str, str]:
    """The variables as they were typed: make escapes blanks, and doubles dollars."""
    _, _, text = f" {os.environ.get('MAKEFLAGS', '')}".partition(" -- ")
    typed = [re.sub(r"\\(.)", r"\1", word) for word in re.findall(r"(?:\\.|\S)+", text)]
    pairs = (word.replace("$$", "$").partition("=") for word in typed)
    return {name: value for name, _, value in pairs}


variables, command, used = given(), list[str](), {"PYTHON", "BIN", "ARGS"}
for word in sys.argv[1:]:
    name, _, default = word.partition("=")
    if not name.lstrip("-").isupper():
        command.append(word)
        continue
    used.add(name.lstrip("-"))
    if not name.startswith("-"):
        command.append(variables.get(name, os.environ.get(name, default)))
for name in sorted(variables.keys() - used):
    command += [f"--{name.lower()}", variables[name]]
command += shlex.split(variables.get("ARGS", ""))
program = str(Path(os.environ["BIN"], command[0]))
if "n" in os.environ.get("MAKEFLAGS", "").split(" ")[0]:  # make -n
    print(shlex.join([program, *command[1:]]))
else:
    os.execv(program, [program, *command[1:]])  # noqa: S606 - make waits for it
