"""Runs commands in processes that are killed: ``python -m tests.bundles.killed_training JSON``.

The JSON is a list of ``[moment, words]``. Each process is killed by SIGKILL from inside at its
moment; "never" ends by itself, and "damaged" does so after a byte of the newest checkpoint was
changed. They are forks of one that has imported everything and computed nothing: their start is free.
"""

import json
import os
import runpy
import signal
import sys
from itertools import count
from pathlib import Path

import torch
from monai.bundle.config_item import ComponentLocator
from monai.engines import SupervisedEvaluator, SupervisedTrainer


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def dying_at(number, function):
    """``function``, but its call ``number`` kills the process."""
    calls = count(1)
    return lambda *arguments, **options: (
        die() if next(calls) == number else function(*arguments, **options)
    )


def in_epoch(number):
    SupervisedTrainer._iteration = dying_at(number, SupervisedTrainer._iteration)


def in_validation(number):
    SupervisedEvaluator._iteration = dying_at(number, SupervisedEvaluator._iteration)


def while_writing(number):
    """Of a checkpoint, which alone holds an optimizer."""
    save, calls = torch.save, count(1)

    def write(state, stream):
        if "optimizer" in state and next(calls) == number:
            stream.write(b"PK\x03\x04")
            stream.flush()
            die()
        save(state, stream)

    torch.save = write


def damaged(_):
    folder = Path(sys.argv[sys.argv.index("--output_dir") + 1])
    newest = max((folder / "checkpoints").glob("*.pt"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)


def never(_):
    pass


MOMENTS = {f.__name__: f for f in (in_epoch, in_validation, while_writing, damaged, never)}


def main(runs):
    ComponentLocator().get_component_module_name("UNet")  # imports all of MONAI
    for moment, words in runs:
        name, _, number = moment.partition(":")
        process = os.fork()
        if not process:
            sys.argv = ["monai.bundle", *words]
            MOMENTS[name](int(number or 0))
            runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
            sys.exit()
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        expected = -signal.SIGKILL if number else 0
        if status != expected:
            sys.exit(f"{moment}: ended with {status}, not {expected}")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
