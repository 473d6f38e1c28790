"""Kills processes: ``python -m tests.configurations.killed_training JSON [N]``.

The JSON is a list of ``[moment, words]`` or ``[moment, words, N]``. Each process is killed by a
signal from inside at its moment; "never" ends by itself, and "damaged" does so after a byte of the
newest checkpoint was changed. They are forks of one that has imported everything and computed nothing:
their start is free. With N, a command runs in N processes that find each other as those of torchrun do.
"""

import json
import os
import runpy
import signal
import socket
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


def terminating_at(number, function):
    """``function``, but its call ``number`` sends SIGTERM first."""
    calls = count(1)

    def call(*arguments):
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGTERM)
        return function(*arguments)

    return call


def in_epoch(number):
    SupervisedTrainer._iteration = dying_at(number, SupervisedTrainer._iteration)


def interrupted(number):
    """By Ctrl-C."""
    iterate, calls = SupervisedTrainer._iteration, count(1)

    def iteration(*arguments):
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGINT)
        return iterate(*arguments)

    SupervisedTrainer._iteration = iteration


def terminated(number):
    """By SIGTERM in an iteration of the training, as a cluster ends it."""
    SupervisedTrainer._iteration = terminating_at(number, SupervisedTrainer._iteration)


def terminated_in_evaluation(number):
    """By SIGTERM in an iteration of a validation or an evaluation."""
    SupervisedEvaluator._iteration = terminating_at(number, SupervisedEvaluator._iteration)


def in_validation(number):
    SupervisedEvaluator._iteration = dying_at(number, SupervisedEvaluator._iteration)


def while_writing(number):
    """Kills while a checkpoint is written, which alone holds an optimizer."""
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


MOMENTS = {
    function.__name__: function
    for function in (
        in_epoch,
        interrupted,
        terminated,
        terminated_in_evaluation,
        in_validation,
        while_writing,
        damaged,
        never,
    )
}
EXIT_CODES = {
    "interrupted": -signal.SIGINT,
    "terminated": 128 + signal.SIGTERM,
    "terminated_in_evaluation": 128 + signal.SIGTERM,
    "damaged": 0,
    "never": 0,
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(moment, words, rank, processes, port):
    """A child that runs the command; the first of several is the one to be killed."""
    process = os.fork()
    if process:
        return process
    if processes > 1:
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
        group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes}
        os.environ |= {name: str(value) for name, value in {**address, **group}.items()}
    sys.argv = ["monai.bundle", *words]
    # A shell lets what it starts in the background ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    name, _, number = moment.partition(":")
    if rank == 0:
        MOMENTS[name](int(number or 0))
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
    sys.exit()


def main(runs, processes=1):
    ComponentLocator().get_component_module_name("UNet")  # imports all of MONAI
    for moment, words, *own in runs:
        port, (number, *_) = free_port(), (*own, processes)
        first, *others = (start(moment, words, rank, number, port) for rank in range(number))
        status = os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
        expected = EXIT_CODES.get(moment.partition(":")[0], -signal.SIGKILL)
        if status != expected:
            sys.exit(f"{moment}: ended with {status}, not {expected}")
        for other in others:
            if status < 0:
                os.kill(other, signal.SIGKILL)
            if os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) not in (status, -signal.SIGKILL):
                sys.exit(f"{moment}: another process did not end with {status}")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), *map(int, sys.argv[2:]))
