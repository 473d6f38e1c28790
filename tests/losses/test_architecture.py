"""What a reader of a loss meets: few files, functions that make no modules, and torch alone."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import nacl_monai
from nacl_monai import losses

PACKAGE = Path(nacl_monai.__file__).parent
LOGITS, LABELS = torch.randn(1, 3, 6, 5), torch.randint(3, (1, 1, 6, 5))
ENDINGS = ("_loss", "_penalty", "cross_entropy")
FUNCTIONS = [name for name in losses.__all__ if name.endswith(ENDINGS)]


def entered(call):
    """The functions of the package that a call enters: their files and names, but for imports."""
    call()  # which imports what it needs
    codes = set()

    def note(frame, event, _):
        if event == "call":
            codes.add(frame.f_code)

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    ours = [code for code in codes if PACKAGE in Path(code.co_filename).parents]
    return {(code.co_filename, code.co_name) for code in ours}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_come_first(name):
    """A function enters at most five files beside the check of words, and makes no module."""
    inside = entered(lambda: getattr(losses, name)(LOGITS, LABELS))
    inside = {(file, function) for file, function in inside if Path(file).name != "words.py"}

    assert len({file for file, _ in inside}) <= 5
    assert "__init__" not in {function for _, function in inside}


def test_a_parameter_of_nacl_is_named_in_few_files():
    """Those that NACL alone has, in its module and the prior's."""
    alone = set(inspect.signature(losses.NACLLoss).parameters)
    alone -= {"ignore_index", "class_weights", "dice_weight", "penalty_weight"}
    alone -= {"kernel_size", "sigma", "border"}  # other losses have a window, too
    for name in alone:
        naming = {
            file.name
            for file in (PACKAGE / "losses").glob("*.py")
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.arg | ast.keyword) and node.arg == name
        }
        assert naming <= {"nacl.py", "neighborhood.py"}, name


def test_losses_import_torch_alone():
    """MONAI, which takes seconds to import, is where a MetaTensor is; nothing else is needed."""
    code = (
        "import sys, nacl_monai.losses as losses, torch\n"
        "loss = losses.NACLLoss()(torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4))\n"
        "heavy = ['monai', 'ignite', 'pandas', 'matplotlib', 'scipy', 'nibabel']\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
