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

#: Moments within an iteration of a training, or of a validation or an evaluation, and what then comes:
#: a kill, Ctrl-C, or SIGTERM, as a cluster ends it.
SIGNALS = {
    "in_epoch": (SupervisedTrainer, signal.SIGKILL),
    "interrupted": (SupervisedTrainer, signal.SIGINT),
    "terminated": (SupervisedTrainer, signal.SIGTERM),
    "in_validation": (SupervisedEvaluator, signal.SIGKILL),
    "terminated_in_evaluation": (SupervisedEvaluator, signal.SIGTERM),
}


def in_iteration(number, owner, sent):
    """The iteration of that number sends the process a signal before it computes anything."""
    iterate, calls = owner._iteration, count(1)

    def iteration(*arguments):
        if next(calls) == number:
            os.kill(os.getpid(), sent)
        return iterate(*arguments)

    owner._iteration = iteration


def while_writing(number):
    """Kills while a checkpoint is written, which alone holds an optimizer."""
    save, calls = torch.save, count(1)

    def write(state, stream):
        if "optimizer" in state and next(calls) == number:
            stream.write(b"PK\x03\x04")
            stream.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        save(state, stream)

    torch.save = write


def damage():
    folder = Path(sys.argv[sys.argv.index("--output_dir") + 1])
    newest = max((folder / "checkpoints").glob("*.pt"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)


def prepare(moment):
    """Whatever is to happen at a moment, such as "in_epoch:8"."""
    name, _, number = moment.partition(":")
    if name in SIGNALS:
        in_iteration(int(number), *SIGNALS[name])
    elif name == "while_writing":
        while_writing(int(number))
    elif name == "damaged":
        damage()


def exit_code(moment):
    """That of a process to which it has happened."""
    name = moment.partition(":")[0]
    if name in ("damaged", "never"):
        return 0
    _, sent = SIGNALS.get(name, (None, signal.SIGKILL))
    return 128 + sent if sent == signal.SIGTERM else -sent


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(moment, args, rank, processes, port):
    """A child that runs the command; the first of several is the one to be killed."""
    process = os.fork()
    if process:
        return process
    if processes > 1:
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
        group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes}
        os.environ |= {name: str(value) for name, value in {**address, **group}.items()}
    sys.argv = ["monai.bundle", *args]
    # A shell lets what it starts in the background ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if rank == 0:
        prepare(moment)
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
    sys.exit()


def main(runs, processes=1):
    ComponentLocator().get_component_module_name("UNet")  # imports all of MONAI
    for moment, args, *own in runs:
        port, (number, *_) = free_port(), (*own, processes)
        first, *rest = (start(moment, args, rank, number, port) for rank in range(number))
        status = os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
        expected = exit_code(moment)
        if status != expected:
            sys.exit(f"{moment}: ended with {status}, not {expected}")
        for other in rest:
            if status < 0:
                os.kill(other, signal.SIGKILL)
            if os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) not in (status, -signal.SIGKILL):
                sys.exit(f"{moment}: another process did not end with {status}")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), *map(int, sys.argv[2:]))
