"""Hands the variables of make's command line to a program: LOSS=nacl is --loss nacl.

``words.py PROGRAM … VERB [PLACE …] [-UNUSED …]`` runs it in ``BIN``; PLACE is a variable, in capitals,
whose value comes first, and UNUSED one that says nothing here. A value is one word, whatever is in it;
ARGS are words of the shell. A wrong name is an option that the program refuses by itself.
"""

import os
import re
import shlex
import sys
from pathlib import Path


def given() -> dict[str, str]:
    """The variables as they were typed: make escapes blanks, and doubles dollars."""
    _, _, text = f" {os.environ.get('MAKEFLAGS', '')}".partition(" -- ")
    words = [re.sub(r"\\(.)", r"\1", word) for word in re.findall(r"(?:\\.|\S)+", text)]
    pairs = (word.replace("$$", "$").partition("=") for word in words)
    return {name: value for name, _, value in pairs}


variables = given()
asked, unused = (
    sys.argv[1:],
    {word[1:] for word in sys.argv if word.startswith("-") and word.isupper()},
)
places = [word for word in asked if word[1:] not in unused]
words = [
    variables.get(word, os.environ.get(word, "")) if word.isupper() else word for word in places
]
for name in sorted(variables.keys() - {"PYTHON", "BIN", "ARGS", *places} - unused):
    words += [f"--{name.lower()}", variables[name]]
words += shlex.split(variables.get("ARGS", ""))
program = str(Path(os.environ["BIN"], words[0]))
if "n" in os.environ.get("MAKEFLAGS", "").split(" ")[0]:  # make -n
    print(shlex.join([program, *words[1:]]))
else:
    os.execv(program, [program, *words[1:]])  # noqa: S606 - make waits for it
